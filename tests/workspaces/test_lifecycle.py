"""Every situation has one next step, and the steps lead where they should."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from cloudide.workspaces.lifecycle import (
    Container,
    Desired,
    Situation,
    State,
    Step,
    next_step,
    state_of,
)

FLAGS = (False, True)
SITUATIONS = [
    Situation(
        desired=desired,
        generation=2,
        container=container,
        container_generation=generation if container is not Container.ABSENT else 0,
        image_ready=image or container is not Container.ABSENT,
        agent_connected=agent and container is Container.RUNNING,
        initialized=initialized,
        crashed=crashed,
    )
    for desired, container, generation in itertools.product(Desired, Container, (1, 2))
    for image, agent, initialized, crashed in itertools.product(FLAGS, FLAGS, FLAGS, FLAGS)
]


def after(now: Situation, step: Step) -> Situation:
    """What the world looks like when a step has succeeded."""
    changes = {
        Step.BUILD: {"image_ready": True},
        Step.CREATE: {"container": Container.CREATED, "container_generation": now.generation},
        Step.START: {"container": Container.RUNNING},
        Step.WAIT_FOR_AGENT: {"agent_connected": True},
        Step.INITIALIZE: {"initialized": True},
        Step.STOP: {"container": Container.EXITED, "agent_connected": False},
        Step.REMOVE: {"container": Container.ABSENT, "container_generation": 0},
    }
    return msgspec.structs.replace(now, **changes[step])


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_leads_to_what_is_wanted(situation: Situation) -> None:
    now = situation
    for _ in range(12):
        step = next_step(now)
        if step in (Step.NOTHING, Step.DESTROY):
            break
        now = after(now, step)
    else:
        pytest.fail(f"no end from {situation}")
    if now.desired is Desired.DELETED:
        assert step is Step.DESTROY
        assert now.container is not Container.RUNNING
    elif now.desired is Desired.STOPPED:
        assert now.container is Container.ABSENT
        assert state_of(now) is State.STOPPED
    elif state_of(now) is State.RUNNING:
        assert now.container is Container.RUNNING
        assert now.container_generation == now.generation
        assert now.agent_connected
        assert now.initialized
    else:
        assert now.crashed
        assert state_of(now) is State.INTERRUPTED


def test_a_running_container_is_never_removed_without_being_stopped() -> None:
    for situation in SITUATIONS:
        if situation.container is Container.RUNNING:
            assert next_step(situation) not in (Step.REMOVE, Step.DESTROY, Step.CREATE)


def test_a_lost_link_is_shown_as_interrupted_not_as_stopped() -> None:
    now = Situation(
        desired=Desired.RUNNING,
        generation=1,
        container=Container.RUNNING,
        container_generation=1,
        initialized=True,
    )
    assert state_of(now) is State.INTERRUPTED
    assert next_step(now) is Step.WAIT_FOR_AGENT
