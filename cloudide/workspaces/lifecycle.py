"""The life of a workspace: what is wanted, what is there, and the one next step between them.

What is wanted (`Desired` and a generation) lives in the database. What is there (`Situation`) is
derived each time from the engine and the agent's link, never remembered. `next_step` is the one
transition function; `state_of` is what people are shown meanwhile.

    pending ─► building ─► creating ─► initializing ─► running ─► stopping ─► stopped
                                            ▲             │
                                            └─────────────┴─► interrupted     deleting ─► (gone)

A new generation is a new container: `restart` counts it up, and a container of an older one is
replaced. A caller may see any state at any time; a step that fails leaves the former state, an
`error` sentence, and is tried again.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Desired(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


class State(StrEnum):
    PENDING = "pending"
    BUILDING = "building"
    CREATING = "creating"
    INITIALIZING = "initializing"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"


class Step(StrEnum):
    """What the supervisor does next for one workspace."""

    NOTHING = "nothing"
    BUILD = "build"
    CREATE = "create"
    START = "start"
    WAIT_FOR_AGENT = "wait for agent"
    INITIALIZE = "initialize"
    STOP = "stop"
    REMOVE = "remove"
    DESTROY = "destroy"


class Container(StrEnum):
    """What the engine has; `EXITED` covers everything that was started and does not run."""

    ABSENT = "absent"
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    desired: Desired
    generation: int
    container: Container
    container_generation: int = 0
    image_ready: bool = True
    agent_connected: bool = False
    initialized: bool = False
    crashed: bool = False  # it ended by itself, soon after its start, and is not to be tried again


def next_step(now: Situation) -> Step:
    """The one thing to do. Pure: the same situation always gives the same step."""
    running = now.container is Container.RUNNING
    if now.desired is Desired.DELETED:
        return Step.STOP if running else Step.DESTROY
    if now.desired is Desired.STOPPED:
        if running:
            return Step.STOP
        return Step.NOTHING if now.container is Container.ABSENT else Step.REMOVE
    if now.container is not Container.ABSENT and now.container_generation != now.generation:
        return Step.STOP if running else Step.REMOVE
    if now.container is Container.EXITED:
        return Step.NOTHING if now.crashed else Step.REMOVE
    if now.container is Container.ABSENT:
        return Step.CREATE if now.image_ready else Step.BUILD
    if now.container is Container.CREATED:
        return Step.START
    if not now.agent_connected:
        return Step.WAIT_FOR_AGENT
    return Step.NOTHING if now.initialized else Step.INITIALIZE


def state_of(now: Situation) -> State:
    """What people are shown while `next_step(now)` is under way."""
    if now.desired is Desired.DELETED:
        return State.DELETING
    step = next_step(now)
    if now.desired is Desired.STOPPED:
        return State.STOPPED if step is Step.NOTHING else State.STOPPING
    match step:
        case Step.BUILD:
            return State.BUILDING
        case Step.CREATE | Step.START | Step.REMOVE:
            return State.CREATING
        case Step.STOP:
            return State.STOPPING
        case Step.WAIT_FOR_AGENT:
            # It ran before: the link is down, not the work.
            return State.INTERRUPTED if now.initialized else State.INITIALIZING
        case Step.INITIALIZE:
            return State.INITIALIZING
        case _:
            return State.INTERRUPTED if now.crashed else State.RUNNING
