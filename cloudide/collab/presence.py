"""Presence in one room: whose cursor is where, with names that cannot be forged.

A Yjs client id belongs to the user who first used it in the room; their newest connection takes it
over from an older, half-open one. Entries for somebody else's id are ignored, and the `user` field
of a state is always written here, from the grant. A state that its client does not renew (Yjs does
so every 15 s) expires.
"""

from __future__ import annotations

import time
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from cloudide.identity.permissions import Grant
from cloudide.protocol.sync import AwarenessEntry

EXPIRY_SECONDS = 30.0  # as `outdatedTimeout` of y-protocols' `awareness.js`


class Holder(Protocol):
    """A connection, as far as presence cares."""

    @property
    def grant(self) -> Grant: ...


H = TypeVar("H", bound=Holder)


class _State(msgspec.Struct, Generic[H]):
    holder: H
    clock: int
    state: dict[str, Any] | None
    renewed: float


class Presence(Generic[H]):
    def __init__(self) -> None:
        self._states: dict[int, _State[H]] = {}

    def update(self, holder: H, entries: list[AwarenessEntry]) -> list[AwarenessEntry]:
        """Take entries from a connection; returns those accepted, as everybody is to see them."""
        accepted: list[AwarenessEntry] = []
        for entry in entries:
            known = self._states.get(entry.client)
            if known is not None:
                if known.holder.grant.person.id != holder.grant.person.id:
                    continue
                # y-protocols: a removal counts at an equal clock, anything else needs a newer one.
                newer = entry.clock > known.clock
                if not newer and not (entry.clock == known.clock and entry.state is None):
                    continue
            elif entry.state is None:
                continue
            state = None if entry.state is None else {**entry.state, "user": _user(holder.grant)}
            self._states[entry.client] = _State(holder, entry.clock, state, time.monotonic())
            accepted.append(AwarenessEntry(entry.client, entry.clock, state))
        return accepted

    def remove(self, holder: H) -> list[AwarenessEntry]:
        """Forget a connection; returns the removals that the others must hear of."""
        removals: list[AwarenessEntry] = []
        for client, known in list(self._states.items()):
            if known.holder is holder:
                del self._states[client]
                if known.state is not None:
                    removals.append(AwarenessEntry(client, known.clock + 1, None))
        return removals

    def holder(self, client: int) -> H | None:
        """Whose a client id is, if it was ever used here."""
        known = self._states.get(client)
        return None if known is None else known.holder

    def expire(self) -> list[AwarenessEntry]:
        """Forget states that were not renewed in time; returns the removals to be told."""
        removals: list[AwarenessEntry] = []
        latest = time.monotonic() - EXPIRY_SECONDS
        for client, known in self._states.items():
            if known.state is not None and known.renewed < latest:
                # The id stays its owner's, who may come back to it with a higher clock.
                known.clock += 1
                known.state = None
                removals.append(AwarenessEntry(client, known.clock, None))
        return removals

    def entries(self) -> list[AwarenessEntry]:
        """Every state there is, for somebody who joins."""
        return [
            AwarenessEntry(client, known.clock, known.state)
            for client, known in self._states.items()
            if known.state is not None
        ]


def _user(grant: Grant) -> dict[str, str]:
    """The shape that y-codemirror.next draws a cursor from, with the id added."""
    person = grant.person
    return {
        "id": person.id,
        "name": person.name,
        "color": person.color,
        "colorLight": f"color-mix(in srgb, {person.color} 25%, transparent)",
    }
