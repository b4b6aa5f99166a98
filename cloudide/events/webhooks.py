"""Webhooks: who is told of what. Of the site, of a workspace or of a team."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update

from cloudide.errors import InvalidInput, NotFound, PreconditionFailed, TooMany
from cloudide.events.addresses import Addresses
from cloudide.events.signing import new_secret
from cloudide.identity.sealing import Sealing
from cloudide.storage.database import Database
from cloudide.storage.outbox import PREFIX, TYPES, emit
from cloudide.storage.tables import deliveries, webhooks

LIMIT = 50  # webhooks of one workspace, of one team, of the site
DESCRIPTION_LIMIT = 200  # characters
TYPES_LIMIT = 50
OVERLAP = 24 * 3600.0  # seconds for which a former secret signs too


class Webhook(msgspec.Struct, frozen=True):
    """`types` []: all. `revision` counts changes. Times are seconds since the epoch."""

    id: str
    url: str
    description: str
    workspace: str
    team: str
    types: list[str]
    active: bool
    disabled_reason: str
    previous_until: float
    created_at: float
    created_by: str
    revision: int


class Webhooks:
    def __init__(self, database: Database, sealing: Sealing, addresses: Addresses) -> None:
        self._database = database
        self._sealing = sealing
        self._addresses = addresses

    async def create(
        self,
        url: str,
        types: Sequence[str],
        *,
        description: str = "",
        workspace: str = "",
        team: str = "",
        by: str = "",
    ) -> tuple[Webhook, str]:
        """Returns the webhook and its secret, which is not shown again.

        Raises:
            InvalidInput: the address or a type is none. TooMany: there are as many as may be.
        """
        id, secret = "whk_" + secrets.token_hex(8), new_secret()
        values: dict[str, Any] = {
            "id": id,
            "url": self._addresses.check_url(url),
            "description": _checked_description(description),
            "workspace": workspace,
            "team": team,
            "types": _checked_types(types),
            "active": True,
            "disabled_reason": "",
            "secret": self._sealing.seal(secret.encode(), _about(id)),
            "previous": None,
            "previous_until": 0.0,
            "created_at": time.time(),
            "created_by": by,
            "revision": 1,
        }
        async with self._database.begin() as db:
            await db.execute(insert(webhooks).values(**values))
            counted = await db.execute(
                select(func.count())
                .select_from(webhooks)
                .where(webhooks.c.workspace == workspace, webhooks.c.team == team)
            )
            if counted.scalar_one() > LIMIT:
                raise TooMany(f"There are {LIMIT} webhooks here, the limit. Delete one first.")
        return _webhook(values), secret

    async def list(self, *, workspace: str = "", team: str = "") -> list[Webhook]:
        """Those of a workspace, of a team, or of the site; the oldest first."""
        query = (
            select(webhooks)
            .where(webhooks.c.workspace == workspace, webhooks.c.team == team)
            .order_by(webhooks.c.created_at, webhooks.c.id)
        )
        async with self._database.begin() as db:
            return [_webhook(row._mapping) for row in await db.execute(query)]

    async def get(self, id: str) -> Webhook:
        """Raises: NotFound."""
        return _webhook(await self._row(id))

    async def change(
        self,
        id: str,
        *,
        url: str | None = None,
        description: str | None = None,
        types: Sequence[str] | None = None,
        active: bool | None = None,
        revision: int | None = None,
    ) -> Webhook:
        """Change what is given; switched on again, its deliveries begin anew.

        Raises:
            InvalidInput, NotFound. PreconditionFailed: it is not at `revision` any more.
        """
        values: dict[str, Any] = {"revision": webhooks.c.revision + 1}
        if url is not None:
            values["url"] = self._addresses.check_url(url)
        if description is not None:
            values["description"] = _checked_description(description)
        if types is not None:
            values["types"] = _checked_types(types)
        if active is not None:
            values |= {"active": active, "disabled_reason": ""}
        await self._update(id, values, revision, off=active is False)
        return await self.get(id)

    async def rotate(self, id: str, revision: int | None = None) -> tuple[Webhook, str]:
        """A new secret; the one before signs too for a day.

        Raises:
            NotFound. PreconditionFailed: it is not at `revision` any more.
        """
        secret = new_secret()
        values: dict[str, Any] = {
            "previous": webhooks.c.secret,
            "previous_until": time.time() + OVERLAP,
            "secret": self._sealing.seal(secret.encode(), _about(id)),
            "revision": webhooks.c.revision + 1,
        }
        await self._update(id, values, revision)
        return await self.get(id), secret

    async def delete(self, id: str, revision: int | None = None) -> None:
        """Delete it with its log. Raises: NotFound. PreconditionFailed: as in `change`."""
        query = delete(webhooks).where(webhooks.c.id == id)
        if revision is not None:
            query = query.where(webhooks.c.revision == revision)
        async with self._database.begin() as db:
            gone = await db.execute(query)
        if not gone.rowcount:
            await self.get(id)
            raise PreconditionFailed(_CHANGED)

    async def test(self, id: str) -> str:
        """Send it an event of its own; returns the event's id. Raises: NotFound."""
        webhook = await self.get(id)
        async with self._database.begin() as db:
            return await emit(
                db,
                "webhook.test",
                f"webhooks/{id}",
                {"webhook": id, "message": "Somebody tried this webhook."},
                workspace=webhook.workspace,
                team=webhook.team,
                needs="share",
                only=id,
            )

    async def keys(self, id: str) -> tuple[str, list[str]]:
        """Where to send to, and the secrets to sign with, the newest first. Raises: NotFound."""
        row = await self._row(id)
        found = [self._sealing.open(row["secret"], _about(id)).decode()]
        if row["previous"] is not None and row["previous_until"] > time.time():
            found.append(self._sealing.open(row["previous"], _about(id)).decode())
        return row["url"], found

    async def _row(self, id: str) -> Mapping[Any, Any]:
        async with self._database.begin() as db:
            row = (await db.execute(select(webhooks).where(webhooks.c.id == id))).first()
        if row is None:
            raise NotFound("There is no such webhook.")
        return row._mapping

    async def _update(
        self, id: str, values: dict[str, Any], revision: int | None, *, off: bool = False
    ) -> None:
        query = update(webhooks).where(webhooks.c.id == id)
        if revision is not None:
            query = query.where(webhooks.c.revision == revision)
        async with self._database.begin() as db:
            changed = await db.execute(query.values(**values))
            if changed.rowcount and off:
                # What waits is given up; it would keep its events for ever.
                await db.execute(
                    update(deliveries)
                    .where(deliveries.c.webhook == id, deliveries.c.state == "pending")
                    .values(state="failed", error="The webhook was switched off.")
                )
        if not changed.rowcount:
            await self.get(id)
            raise PreconditionFailed(_CHANGED)


_CHANGED = "Somebody changed this meanwhile. Look at it again, then repeat your change."


def _about(id: str) -> str:
    """What a sealed secret is bound to."""
    return f"webhook {id}"


def _checked_description(text: str) -> str:
    if len(text) > DESCRIPTION_LIMIT:
        raise InvalidInput(
            f"description has up to {DESCRIPTION_LIMIT} characters.", pointer="/description"
        )
    return text


def _checked_types(types: Sequence[str]) -> str:
    """Types between commas. Raises: InvalidInput: there is no such type."""
    if len(types) > TYPES_LIMIT:
        raise InvalidInput(f"At most {TYPES_LIMIT} types can be named.", pointer="/types")
    known = {PREFIX + type for type in TYPES}
    for index, type in enumerate(types):
        family = type.endswith(".*") and any(each.startswith(type[:-1]) for each in known)
        if type not in known and not family:
            raise InvalidInput(
                f"{type[:100]!r} is no type of event; there are {', '.join(sorted(known))}, and "
                f"{PREFIX}workspace.* for all that begin so.",
                pointer=f"/types/{index}",
            )
    return ",".join(sorted(set(types)))


def _webhook(row: Mapping[Any, Any]) -> Webhook:
    values = {name: row[name] for name in Webhook.__struct_fields__}
    values["types"] = row["types"].split(",") if row["types"] else []
    return Webhook(**values)
