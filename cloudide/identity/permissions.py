"""Who may do what: one table, role to actions. Whatever is not in it is denied.

Every route, websocket and message names its action; a `Grant` is what the parts behind the edge get
to see.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Role(StrEnum):
    """What somebody is in a workspace; each may do what those before it may."""

    VIEWER = "viewer"
    EDITOR = "editor"
    TERMINAL = "terminal"  # may run programs, which is as good as being there
    OWNER = "owner"


class Action(StrEnum):
    """What a member may do with a workspace."""

    READ = "read"  # see it, its files, its terminals and who is there
    WRITE = "write"  # change files
    OPERATE = "operate"  # start, stop, restart
    EXECUTE = "execute"  # type in terminals, run tasks, reach its ports
    SHARE = "share"  # invite and remove people, let them in, change what they may
    DELETE = "delete"


ALLOWED: dict[Role, frozenset[Action]] = {
    Role.VIEWER: frozenset({Action.READ}),
    Role.EDITOR: frozenset({Action.READ, Action.WRITE, Action.OPERATE}),
    Role.TERMINAL: frozenset({Action.READ, Action.WRITE, Action.OPERATE, Action.EXECUTE}),
    Role.OWNER: frozenset(Action),
}

# What clients send over each kind of websocket, and what it needs of them.
MESSAGES: dict[str, dict[str, Action]] = {
    "collab": {
        "step 1": Action.READ,
        "step 2": Action.WRITE,
        "update": Action.WRITE,
        "awareness": Action.READ,
        "query awareness": Action.READ,
    },
    "terminal": {
        "bytes": Action.EXECUTE,
        "resize": Action.READ,
        "visible": Action.READ,
        "control": Action.EXECUTE,
        "ack": Action.READ,
        "ping": Action.READ,
    },
    "languages": {"question": Action.READ, "edit": Action.WRITE},
    "events": {
        "watch": Action.READ,
        "unwatch": Action.READ,
        "here": Action.READ,
        "ping": Action.READ,
    },
    "exec": {
        "start": Action.EXECUTE,
        "bytes": Action.EXECUTE,
        "eof": Action.EXECUTE,
        "signal": Action.EXECUTE,
    },
    "tunnel": {"bytes": Action.EXECUTE, "eof": Action.EXECUTE},
}


class TeamRole(StrEnum):
    MEMBER = "member"
    MAINTAINER = "maintainer"
    OWNER = "owner"


class TeamAction(StrEnum):
    """What a member may do with a team."""

    SEE = "see"  # it and its members
    CREATE = "create"  # workspaces that are the team's
    CONFIGURE = "configure"  # its name, images, secrets and webhooks
    INVITE = "invite"  # people as members, and remove members
    APPOINT = "appoint"  # owners and maintainers
    DISBAND = "disband"


TEAM_ALLOWED: dict[TeamRole, frozenset[TeamAction]] = {
    TeamRole.MEMBER: frozenset({TeamAction.SEE, TeamAction.CREATE}),
    TeamRole.MAINTAINER: frozenset(
        {TeamAction.SEE, TeamAction.CREATE, TeamAction.CONFIGURE, TeamAction.INVITE}
    ),
    TeamRole.OWNER: frozenset(TeamAction),
}


def role_in_workspace(team_role: TeamRole, plain: str) -> Role | None:
    """What a member of the team that owns a workspace is in it; `plain`: what members are, "" for
    nothing."""
    if team_role is not TeamRole.MEMBER:
        return Role.OWNER
    return Role(plain) if plain else None


def strongest(roles: Iterable[Role | None]) -> Role | None:
    """The one of them that may do the most."""
    order = list(Role)
    return max((role for role in roles if role), key=order.index, default=None)


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

    def sends(self, socket: str, message: str) -> bool:
        """Whether what they send over a websocket of that kind is taken."""
        return self.allows(MESSAGES[socket][message])

    def allows_person(self, action: Action) -> bool:
        """Whether the person may, whatever the API token is that they are known by."""
        return action in ALLOWED[self.role]


class TeamGrant(msgspec.Struct, frozen=True):
    """What one person may do in one team, decided once, at the edge."""

    person: Person
    team: str
    role: TeamRole

    def allows(self, action: TeamAction) -> bool:
        return action in TEAM_ALLOWED[self.role]
