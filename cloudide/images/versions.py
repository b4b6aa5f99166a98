"""The life of an image's version, as one transition function.

    draft ─BUILD─► building ─BUILT─► built ─CHECKED─► checked ─PROMOTE─► active
      ▲               │                                  ▲                 │
      └─────FAIL──────┘                                  └────REPLACED─────┘

and RETIRE leads from everything that rests, but what is active, to retired. A version is
immutable: what it was made from (`inputs`, a hash) never changes, nor does the engine's image, but
for one that vanished from the engine, which is built again from the same. A retired version is
used by nobody new; whoever has it keeps it until their next start.
"""

from __future__ import annotations

from enum import StrEnum

from cloudide.errors import Conflict


class VersionState(StrEnum):
    DRAFT = "draft"
    BUILDING = "building"
    BUILT = "built"
    CHECKED = "checked"
    ACTIVE = "active"
    RETIRED = "retired"


class Event(StrEnum):
    BUILD = "build"
    FAIL = "fail"
    BUILT = "built"
    CHECKED = "checked"
    PROMOTE = "promote"
    REPLACED = "replaced"
    RETIRE = "retire"


_S = VersionState
_TRANSITIONS: dict[tuple[VersionState, Event], VersionState] = {
    (_S.DRAFT, Event.BUILD): _S.BUILDING,
    (_S.BUILDING, Event.BUILD): _S.BUILDING,  # the server died in it; it is begun again
    (_S.BUILDING, Event.FAIL): _S.DRAFT,
    (_S.BUILDING, Event.BUILT): _S.BUILT,
    # Built again: its check failed, or the engine's image vanished.
    (_S.BUILT, Event.BUILD): _S.BUILDING,
    (_S.CHECKED, Event.BUILD): _S.BUILDING,
    (_S.RETIRED, Event.BUILD): _S.BUILDING,
    (_S.BUILT, Event.CHECKED): _S.CHECKED,
    (_S.CHECKED, Event.PROMOTE): _S.ACTIVE,
    (_S.ACTIVE, Event.PROMOTE): _S.ACTIVE,
    (_S.ACTIVE, Event.REPLACED): _S.CHECKED,
    (_S.DRAFT, Event.RETIRE): _S.RETIRED,
    (_S.BUILT, Event.RETIRE): _S.RETIRED,
    (_S.CHECKED, Event.RETIRE): _S.RETIRED,
    (_S.RETIRED, Event.RETIRE): _S.RETIRED,
}
USABLE = (VersionState.CHECKED, VersionState.ACTIVE)
_WHY_NOT = {
    (_S.ACTIVE, Event.RETIRE): "It is the one in use; promote another version first.",
    (_S.RETIRED, Event.PROMOTE): "It is retired; build it again first.",
    (_S.DRAFT, Event.PROMOTE): "It was never built.",
    (_S.BUILDING, Event.PROMOTE): "It is being built; wait for the end of the build.",
    (_S.BUILT, Event.PROMOTE): "Its check failed; its build's log says why.",
}


def after(state: VersionState, event: Event) -> VersionState:
    """The state that follows.

    Raises:
        Conflict: nothing does; the message says why.
    """
    following = _TRANSITIONS.get((state, event))
    if following is None:
        why = _WHY_NOT.get((state, event), f"A version that is {state} cannot do this ({event}).")
        raise Conflict(why)
    return following
