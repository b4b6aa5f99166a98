"""Who may do what: one table, role to actions. Whatever is not in it is denied.

Every route and websocket names its action; a `Grant` is what the parts behind the edge get to see.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Role(StrEnum):
    VIEWER = "viewer"
    EDITOR = "editor"
    OWNER = "owner"


class Action(StrEnum):
    """What a member may do with a workspace."""

    READ = "read"  # see it, its files, its terminals and who is there
    WRITE = "write"  # change files
    EXECUTE = "execute"  # type in terminals, open and close them
    OPERATE = "operate"  # start, stop, restart
    SHARE = "share"  # invite and remove people
    DELETE = "delete"


ALLOWED: dict[Role, frozenset[Action]] = {
    Role.VIEWER: frozenset({Action.READ}),
    Role.EDITOR: frozenset({Action.READ, Action.WRITE, Action.EXECUTE, Action.OPERATE}),
    Role.OWNER: frozenset(Action),
}


class Person(msgspec.Struct, frozen=True):
    """A user as others see them. `color` is CSS."""

    id: str
    name: str
    color: str


class Grant(msgspec.Struct, frozen=True):
    """What one person may do in one workspace, decided once, at the edge."""

    person: Person
    workspace: str
    role: Role

    def allows(self, action: Action) -> bool:
        return action in ALLOWED[self.role]
