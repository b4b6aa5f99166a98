"""What a team says of its workspaces: when updates of their images may be forced.

A window is weekly. Its hours are those of its time zone, also when summer time begins or ends: one
at 02:30 opens at the first moment after it on a day that has no such time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from sqlalchemy import delete, insert, select

from cloudide.errors import InvalidInput
from cloudide.storage.database import Database
from cloudide.storage.tables import team_policies

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAYS: tuple[str, ...] = get_args(Day)


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every week: from `hour` (0 to 23) of `day`, `hours` (1 to 24) long, in `time_zone` (a name of
    the IANA database)."""

    day: Day
    hour: int
    hours: int = 2
    time_zone: str = "UTC"


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`maintenance`: when running workspaces are restarted that have an older version of their
    image than the one in use; None: they take it when people restart them."""

    maintenance: Window | None = None


def check(policy: Policy) -> Policy:
    """Raises: InvalidInput: it cannot be."""
    window = policy.maintenance
    if window is not None:
        if not 0 <= window.hour <= 23:
            raise InvalidInput("hour is a number from 0 to 23.", pointer="/maintenance/hour")
        if not 1 <= window.hours <= 24:
            raise InvalidInput("hours is a number from 1 to 24.", pointer="/maintenance/hours")
        if window.time_zone not in available_timezones():
            raise InvalidInput(
                f"{window.time_zone[:60]!r} is no time zone; write one such as Europe/Berlin.",
                pointer="/maintenance/time_zone",
            )
    return policy


def opening(window: Window, now: datetime) -> tuple[datetime, datetime]:
    """When it is open: now, or next. From (inclusive) and to (exclusive), in UTC."""
    zone = ZoneInfo(window.time_zone)
    local = now.astimezone(zone)
    # One that is open may have begun yesterday; the next may be a week away.
    first = local.date() - timedelta(days=1)
    for offset in range(9):
        date = first + timedelta(days=offset)
        if date.weekday() != DAYS.index(window.day):
            continue
        start = datetime(date.year, date.month, date.day, window.hour, tzinfo=zone).astimezone(UTC)
        end = start + timedelta(hours=window.hours)
        if now < end:
            return start, end
    raise AssertionError(window)


class PolicyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[str, Policy]:
        """By team."""
        async with self._database.begin() as db:
            rows = await db.execute(select(team_policies))
            return {row.team: msgspec.json.decode(row.policy, type=Policy) for row in rows}

    async def set(self, team: str, policy: Policy) -> None:
        async with self._database.begin() as db:
            await db.execute(delete(team_policies).where(team_policies.c.team == team))
            if policy != Policy():
                content = msgspec.json.encode(policy).decode()
                await db.execute(insert(team_policies).values(team=team, policy=content))
