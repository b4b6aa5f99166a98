"""Who may see a port: kept in the database, private unless somebody said otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec
from sqlalchemy import delete, insert, select

from cloudide.errors import TooMany
from cloudide.identity.credentials import digest, new_secret
from cloudide.identity.permissions import Action
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import ports

DAY = 86400
ROWS_LIMIT = 256  # ports of one workspace that are not private


class Visibility(StrEnum):
    PRIVATE = "private"  # who may type in the workspace's terminals
    MEMBERS = "members"  # everybody who may see the workspace
    TEAM = "team"  # these, and everybody in the team that owns it
    PUBLIC = "public"  # members, and whoever has the link, until it expires


NEEDED: dict[Visibility, Action] = {
    Visibility.PRIVATE: Action.EXECUTE,
    Visibility.MEMBERS: Action.READ,
    Visibility.TEAM: Action.READ,
    Visibility.PUBLIC: Action.READ,
}


class Sharing(msgspec.Struct, frozen=True):
    """How one port is shared. `link` is the digest of the public link's secret, or ""."""

    visibility: Visibility = Visibility.PRIVATE
    link: str = ""
    expires_at: float = 0.0

    def opens(self, link: str) -> bool:
        """Whether a link (its digest) leads in."""
        return (
            self.visibility is Visibility.PUBLIC
            and bool(link)
            and self.link == link
            and self.expires_at > time.time()
        )


class Visibilities:
    """`on_change` is called with the workspace's id when somebody may have lost their right."""

    def __init__(self, database: Database, link_days: int) -> None:
        self.on_change: Callable[[str], None] = lambda workspace: None
        self._database = database
        self._link_seconds = link_days * DAY
        self._shared: dict[str, dict[int, Sharing]] = {}  # of each workspace, by port

    async def start(self) -> None:
        """Read what there is; from then on the database follows."""
        async with self._database.begin() as db:
            for row in await db.execute(select(ports)):
                sharing = Sharing(Visibility(row.visibility), row.link, row.expires_at)
                self._shared.setdefault(row.workspace, {})[row.port] = sharing

    def get(self, workspace: str, port: int) -> Sharing:
        return self._shared.get(workspace, {}).get(port, Sharing())

    def all(self, workspace: str) -> Mapping[int, Sharing]:
        """The ports that are not private."""
        return self._shared.get(workspace, {})

    def forget(self, workspace: str) -> None:
        """The workspace is deleted, and with it its rows."""
        self._shared.pop(workspace, None)

    async def set(self, workspace: str, port: int, visibility: Visibility) -> tuple[Sharing, str]:
        """Share a port; returns how, and for a public one the new secret of its link.

        A former link ends.

        Raises:
            TooMany: so many ports are shared that there may be no more.
        """
        secret = new_secret() if visibility is Visibility.PUBLIC else ""
        expires_at = time.time() + self._link_seconds if secret else 0.0
        sharing = Sharing(visibility, digest(secret) if secret else "", expires_at)
        shared = self._shared.setdefault(workspace, {})
        if (
            visibility is not Visibility.PRIVATE
            and port not in shared
            and len(shared) >= ROWS_LIMIT
        ):
            raise TooMany(f"{ROWS_LIMIT} ports are shared here, the limit.")
        here = (ports.c.workspace == workspace, ports.c.port == port)
        async with self._database.begin() as db:
            await db.execute(delete(ports).where(*here))
            if visibility is not Visibility.PRIVATE:
                await db.execute(
                    insert(ports).values(
                        workspace=workspace,
                        port=port,
                        visibility=visibility,
                        link=sharing.link,
                        expires_at=expires_at,
                    )
                )
            about = {"workspace": workspace, "port": port, "visibility": visibility}
            subject = f"workspaces/{workspace}/ports/{port}"
            await emit(db, "port.shared", subject, about, workspace=workspace)
        if visibility is Visibility.PRIVATE:
            shared.pop(port, None)
        else:
            shared[port] = sharing
        self.on_change(workspace)
        return sharing, secret
