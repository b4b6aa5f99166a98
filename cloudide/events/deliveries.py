"""Deliveries: events on their way to webhooks, and how each went."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import and_, delete, exists, func, insert, or_, select, update

from cloudide.errors import NotFound
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit, new_delivery
from cloudide.storage.tables import deliveries, events, webhooks, workspaces

REPLAY_LIMIT = 1000  # events that are replayed in one go
PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"


class Delivery(msgspec.Struct, frozen=True):
    """One event for one webhook. The results are those of the last attempt; times are seconds
    since the epoch, `seconds` how long it took, `response` the beginning of what was answered."""

    id: str
    webhook: str
    event: str
    type: str
    state: str
    attempts: int
    created_at: float
    due_at: float
    attempted_at: float | None
    status: int | None
    seconds: float | None
    response: str
    error: str


class Result(msgspec.Struct, frozen=True):
    """How an attempt went. `status` None: there was no answer."""

    status: int | None
    seconds: float
    response: str = ""
    error: str = ""

    @property
    def good(self) -> bool:
        return not self.error


class Deliveries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(
        self, now: float, busy: Collection[str], limit: int
    ) -> tuple[Sequence[Mapping[Any, Any]], float | None]:
        """Deliveries that are to be tried, with their events, but none of the webhooks that are
        `busy`; and when the next one will be due."""
        pending = (deliveries.c.state == PENDING, deliveries.c.webhook.not_in(busy))
        active = exists().where(webhooks.c.id == deliveries.c.webhook, webhooks.c.active)
        query = (
            select(
                deliveries.c.id.label("delivery"),
                deliveries.c.webhook,
                deliveries.c.attempts,
                deliveries.c.created_at,
                events,
            )
            .join(events, events.c.seq == deliveries.c.event)
            .where(*pending, active, deliveries.c.due_at <= now)
            .order_by(deliveries.c.due_at, deliveries.c.event)
            .limit(limit)
        )
        later = select(func.min(deliveries.c.due_at)).where(
            *pending, active, deliveries.c.due_at > now
        )
        async with self._database.begin() as db:
            found = [row._mapping for row in await db.execute(query)]
            return found, (await db.execute(later)).scalar()

    async def settle(
        self, id: str, result: Result, state: str, *, due_at: float, disable: str = ""
    ) -> None:
        """Keep how an attempt went. `disable`: why its webhook is switched off by it; what else
        waits for that is given up, and may be replayed."""
        async with self._database.begin() as db:
            await db.execute(
                update(deliveries)
                .where(deliveries.c.id == id)
                .values(
                    state=state,
                    attempts=deliveries.c.attempts + 1,
                    due_at=due_at,
                    attempted_at=time.time(),
                    status=result.status,
                    seconds=round(result.seconds, 3),
                    response=result.response,
                    error=result.error,
                )
            )
            if state == PENDING:
                # Its webhook may have been switched off while this was under way.
                off = exists().where(webhooks.c.id == deliveries.c.webhook, ~webhooks.c.active)
                await db.execute(
                    update(deliveries)
                    .where(deliveries.c.id == id, off)
                    .values(state=FAILED, error="The webhook was switched off.")
                )
            if not disable:
                return
            webhook = select(deliveries.c.webhook).where(deliveries.c.id == id).scalar_subquery()
            found = await db.execute(
                select(webhooks).where(webhooks.c.id == webhook, webhooks.c.active)
            )
            row = found.first()
            if row is None:
                return
            values = {"active": False, "disabled_reason": disable, "revision": row.revision + 1}
            await db.execute(update(webhooks).where(webhooks.c.id == row.id).values(**values))
            await db.execute(
                update(deliveries)
                .where(deliveries.c.webhook == row.id, deliveries.c.state == PENDING)
                .values(state=FAILED, error="The webhook was switched off.")
            )
            about = {"webhook": row.id, "url": row.url, "reason": disable}
            scope = {"workspace": row.workspace, "team": row.team}
            subject = f"webhooks/{row.id}"
            await emit(db, "webhook.disabled", subject, about, needs="share", **scope)

    async def page(
        self, webhook: str, before: tuple[float, str] | None, limit: int
    ) -> list[Delivery]:
        """The log of a webhook, the newest first; those before one (its time and id)."""
        query = (
            select(deliveries, events.c.id.label("event_id"), events.c.type)
            .join(events, events.c.seq == deliveries.c.event)
            .where(deliveries.c.webhook == webhook)
            .order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc())
            .limit(limit)
        )
        if before is not None:
            at, id = before
            query = query.where(
                or_(
                    deliveries.c.created_at < at,
                    and_(deliveries.c.created_at == at, deliveries.c.id < id),
                )
            )
        async with self._database.begin() as db:
            return [_delivery(row._mapping) for row in await db.execute(query)]

    async def replay(self, webhook: str, id: str) -> Delivery:
        """Send the event of a delivery once more, as a new one, at once.

        Raises:
            NotFound: there is no such delivery, or its event is no longer kept.
        """
        async with self._database.begin() as db:
            found = await db.execute(
                select(deliveries.c.event).where(
                    deliveries.c.webhook == webhook, deliveries.c.id == id
                )
            )
            row = found.first()
            if row is None:
                raise NotFound("There is no such delivery, or it is no longer kept.")
            fresh = new_delivery(webhook, row.event, time.time())
            await db.execute(insert(deliveries).values(**fresh))
            made = await db.execute(
                select(deliveries, events.c.id.label("event_id"), events.c.type)
                .join(events, events.c.seq == deliveries.c.event)
                .where(deliveries.c.id == fresh["id"])
            )
            return _delivery(made.one()._mapping)

    async def replay_since(self, webhook: str, since: float) -> int:
        """Send everything once more that was for this webhook since a time (seconds since the
        epoch), however it went; returns how many events that are, at most `REPLAY_LIMIT`."""
        async with self._database.begin() as db:
            found = await db.execute(
                select(deliveries.c.event)
                .join(events, events.c.seq == deliveries.c.event)
                .where(
                    deliveries.c.webhook == webhook,
                    deliveries.c.state != PENDING,
                    events.c.at >= since,
                )
                .distinct()
                .order_by(deliveries.c.event)
                .limit(REPLAY_LIMIT)
            )
            chosen = list(found.scalars())
            waiting = await db.execute(
                select(deliveries.c.event).where(
                    deliveries.c.webhook == webhook, deliveries.c.state == PENDING
                )
            )
            chosen = sorted(set(chosen) - set(waiting.scalars()))
            now = time.time()
            for event in chosen:
                await db.execute(insert(deliveries).values(**new_delivery(webhook, event, now)))
        return len(chosen)

    async def forget_gone(self) -> None:
        """Delete the webhooks of workspaces that are gone, once they were told so."""
        there = exists().where(workspaces.c.id == webhooks.c.workspace)
        waiting = exists().where(
            deliveries.c.webhook == webhooks.c.id, deliveries.c.state == PENDING
        )
        async with self._database.begin() as db:
            await db.execute(delete(webhooks).where(webhooks.c.workspace != "", ~there, ~waiting))


def _delivery(row: Mapping[Any, Any]) -> Delivery:
    values = {name: row[name] for name in Delivery.__struct_fields__}
    return Delivery(**{**values, "event": row["event_id"]})
