"""Who may do what: one table, role to actions. Whatever is not in it is denied.

Every route and websocket names its action; a `Grant` is what the parts behind the edge get to see.
"""

from __future__ import annotations

from collections.abc import Iterable
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


class Scope(StrEnum):
    """What an API token may be used for, whatever its owner may do besides."""

    READ = "read"
    WRITE = "write"
    EXEC = "exec"
    ADMIN = "admin"


SCOPES: dict[Scope, frozenset[Action]] = {
    Scope.READ: frozenset({Action.READ}),
    Scope.WRITE: frozenset({Action.READ, Action.WRITE}),
    Scope.EXEC: frozenset({Action.READ, Action.EXECUTE, Action.OPERATE}),
    Scope.ADMIN: frozenset(Action),
}


class Limit(msgspec.Struct, frozen=True):
    """What an API token narrows its owner's rights to.

    `workspace` "": any of theirs. `token` is its id; `expires_at` in seconds since the epoch.
    """

    actions: frozenset[Action]
    workspace: str
    token: str
    expires_at: float | None


def actions_of(scopes: Iterable[Scope]) -> frozenset[Action]:
    """What any of the scopes allows."""
    return frozenset[Action]().union(*(SCOPES[scope] for scope in scopes))


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
    limit: Limit | None = None

    def allows(self, action: Action) -> bool:
        if self.limit is not None and action not in self.limit.actions:
            return False
        return self.allows_person(action)

    def allows_person(self, action: Action) -> bool:
        """Whether the person may, whatever the API token is that they are known by."""
        return action in ALLOWED[self.role]
