"""The events that are kept, for whoever reads them in order, now or later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

import structlog
from sqlalchemy import delete, func, select

from cloudide.errors import CloudIDEError
from cloudide.events.deliveries import PENDING, Deliveries
from cloudide.storage.database import Database
from cloudide.storage.tables import deliveries, events

_log = structlog.get_logger(__name__)

PAGE = 100  # events that are read at a time
KEPT_LIMIT = 1_000_000  # events, whatever their age
CLEAN_EVERY = 3600.0  # seconds
DAY = 86400.0


class PositionGone(CloudIDEError):
    status, close_code, title = 410, 4410, "These events are no longer kept"


class EventLog:
    """Use as an async context manager; it owns the task that forgets what is too old."""

    def __init__(self, database: Database, deliveries: Deliveries, days: float) -> None:
        self._database = database
        self._deliveries = deliveries
        self._seconds = days * DAY
        self._waiting: set[asyncio.Event] = set()
        self._cleaning: asyncio.Task[None] | None = None

    async def __aenter__(self) -> EventLog:
        self._cleaning = asyncio.create_task(self._clean())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._cleaning is not None:
            self._cleaning.cancel()
            with suppress(asyncio.CancelledError):
                await self._cleaning

    def notify(self) -> None:
        """There are new events."""
        for event in self._waiting:
            event.set()

    def wait(self) -> asyncio.Event:
        """An event that is set when there may be more; give it back to `stop`."""
        event = asyncio.Event()
        self._waiting.add(event)
        return event

    def stop(self, event: asyncio.Event) -> None:
        self._waiting.discard(event)

    async def newest(self) -> int:
        """The number of the last event; 0: there has been none."""
        async with self._database.begin() as db:
            return (await db.execute(select(func.max(events.c.seq)))).scalar() or 0

    async def check(self, after: int) -> None:
        """Raises: PositionGone: events after that position have been forgotten, or it is none of
        this server's."""
        async with self._database.begin() as db:
            row = (await db.execute(select(func.min(events.c.seq), func.max(events.c.seq)))).one()
        oldest, newest = row[0] or 1, row[1] or 0
        if after < oldest - 1:
            raise PositionGone(
                f"The events after {after} are kept no longer; the oldest that is has the number "
                f"{oldest}. Look at the present state, then go on with ?after=oldest."
            )
        if after > newest:
            raise PositionGone(
                f"There has been no event {after} here yet; the newest has the number {newest}. "
                "The server was put back to an earlier state: look at the present one."
            )

    async def oldest(self) -> int:
        """The position before the oldest event that is kept."""
        async with self._database.begin() as db:
            return ((await db.execute(select(func.min(events.c.seq)))).scalar() or 1) - 1

    async def page(self, after: int) -> list[Mapping[Any, Any]]:
        """The next events after a number, in order."""
        query = select(events).where(events.c.seq > after).order_by(events.c.seq).limit(PAGE)
        async with self._database.begin() as db:
            return [row._mapping for row in await db.execute(query)]

    async def forget(self, before: float) -> None:
        """Forget events from before a time, up to the first that has still to be delivered, and
        never the last: whoever reads them finds out by the oldest number whether any are missing.
        """
        async with self._database.begin() as db:
            newest = (await db.execute(select(func.max(events.c.seq)))).scalar() or 0
            waiting = select(func.min(deliveries.c.event)).where(deliveries.c.state == PENDING)
            end = (await db.execute(waiting)).scalar()
            old = (events.c.at < before) | (events.c.seq <= newest - KEPT_LIMIT)
            until = newest if end is None else min(newest, end)
            await db.execute(delete(events).where(old, events.c.seq < until))
        await self._deliveries.forget_gone()

    async def _clean(self) -> None:
        while True:
            try:
                await self.forget(time.time() - self._seconds)
            except Exception:
                _log.exception("events.not_forgotten")
            await asyncio.sleep(CLEAN_EVERY)
