"""Attendance: who has a workspace open just now, and which file each looks at."""

from __future__ import annotations

from typing import Any

from cloudide.identity.permissions import Grant
from cloudide.workspaces.feed import Feed


class Attendant:
    """One open page of one person."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.path: str | None = None


class Attendance:
    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._pages: dict[str, list[Attendant]] = {}

    def enter(self, grant: Grant) -> Attendant:
        attendant = Attendant(grant)
        self._pages.setdefault(grant.workspace, []).append(attendant)
        self._tell(grant.workspace)
        return attendant

    def move(self, attendant: Attendant, path: str | None) -> None:
        if attendant.path != path:
            attendant.path = path
            self._tell(attendant.grant.workspace)

    def leave(self, attendant: Attendant) -> None:
        workspace = attendant.grant.workspace
        pages = self._pages[workspace]
        pages.remove(attendant)
        if not pages:
            del self._pages[workspace]
        self._tell(workspace)

    def message(self, workspace: str) -> dict[str, Any]:
        """Everybody who is there, one entry a person, their latest page first in line."""
        people: dict[str, dict[str, Any]] = {}
        for attendant in self._pages.get(workspace, ()):
            person, role = attendant.grant.person, attendant.grant.role
            entry = {"id": person.id, "name": person.name, "color": person.color, "role": role}
            if attendant.path is not None or person.id not in people:
                people[person.id] = {**entry, "path": attendant.path}
        return {"type": "presence", "workspace": workspace, "people": list(people.values())}

    def _tell(self, workspace: str) -> None:
        self._feed.publish("presence", workspace, {"people": self.message(workspace)["people"]})
