"""`GET /api/v1/events`: what happens, as server-sent events that can be resumed.

HTML Living Standard, section 9.2. The id of each is its number; a client that comes back with the
last it saw, in `Last-Event-ID` or `?after=`, misses nothing. What somebody may see is looked up
again for each page of events, so that a right that ended or began counts at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cloudide.errors import CloudIDEError, InvalidInput
from cloudide.events.cloudevents import cloud_event
from cloudide.identity.permissions import Action
from cloudide.identity.users import User
from cloudide.storage.outbox import SELF, SHARE, matches
from cloudide.web.access import Caller, SignedIn, admit_live, grant_of
from cloudide.web.openapi import describe
from cloudide.web.scopes import is_in_team, may_configure
from cloudide.web.services import services

HEARTBEAT_SECONDS = 15.0
TYPES_LIMIT = 1000  # characters of `?type=`
OLDEST = "oldest"


class _Ending:
    """The end of the caller's right to listen."""

    def __init__(self, wake: asyncio.Event) -> None:
        self.ended = False
        self._wake = wake

    def close(self, code: int = 0, reason: str = "") -> None:
        self.ended = True
        self._wake.set()


@describe(
    tag="events",
    query={
        "after": "a position: the id of an event, or `oldest`; default: from now on",
        "type": "types between commas; `prefix.*` for all that begin so",
    },
    headers={"Last-Event-ID": "as `after`; a browser sends it by itself when it reconnects"},
    gives="text/event-stream",
    HTTP_200=None,
)
async def stream(request: Request) -> Response:
    """What happens that you may know of, each as a CloudEvent, from a position on or from now."""
    log = services(request).event_log
    types = request.query_params.get("type", "")
    if len(types) > TYPES_LIMIT:
        raise InvalidInput(f"type has up to {TYPES_LIMIT} characters.")
    after = await _position(request)
    wake = log.wait()
    ending = _Ending(wake)
    try:
        live = await admit_live(request, SignedIn(), ending)
    except BaseException:
        log.stop(wake)
        raise

    async def body() -> AsyncIterator[bytes]:
        try:
            yield f": from {after} on\nid: {after}\n\n".encode()
            async for chunk in _follow(request, after, types, wake, ending):
                yield chunk
        finally:
            services(request).live.remove(live)
            log.stop(wake)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(body(), media_type="text/event-stream", headers=headers)


async def _follow(
    request: Request, after: int, types: str, wake: asyncio.Event, ending: _Ending
) -> AsyncIterator[bytes]:
    source = services(request).settings.origin
    while not ending.ended:
        wake.clear()
        page = await _page(request, after, types)
        for row in page.seen:
            if ending.ended:
                return
            data = msgspec.json.encode(cloud_event(row, source))
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (row["seq"], row["type"].encode(), data)
        if page.end > after or ending.ended:
            after = page.end
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await wake.wait()
                continue
        # The position moves on with what the client does not see, or it would be too old one day.
        yield b": still here\nid: %d\n\n" % after


class _Page(NamedTuple):
    """Events that the caller may see, up to the number `end`."""

    seen: list[Mapping[Any, Any]]
    end: int


async def _page(request: Request, after: int, types: str) -> _Page:
    rows = await services(request).event_log.page(after)
    seeing = _Seeing(request)
    seen = [row for row in rows if matches(types, row["type"]) and await seeing.may(row)]
    return _Page(seen, rows[-1]["seq"] if rows else after)


class _Seeing:
    """What the caller may see, looked up once for each workspace and team of a page."""

    def __init__(self, request: Request) -> None:
        caller: Caller = request.state.caller
        self._request = request
        self._user: User = caller.user
        self._workspaces: dict[tuple[str, str], bool] = {}
        self._teams: dict[tuple[str, str], bool] = {}

    async def may(self, row: Mapping[Any, Any]) -> bool:
        user, workspace, team = self._user, row["workspace"], row["team"]
        limit = user.limit
        if limit is not None and limit.workspace not in ("", workspace):
            return False
        if row["needs"] == SELF:
            return row["user"] == user.id
        if user.admin or (row["user"] and row["user"] == user.id):
            return True
        if row["readers"] is not None:
            return user.id in row["readers"].split(",")
        if workspace:
            return await self._in_workspace(workspace, row["needs"])
        if team:
            return await self._in_team(team, row["needs"])
        return False

    async def _in_team(self, team: str, needs: str) -> bool:
        key = (team, needs)
        if key not in self._teams:
            try:
                if needs == SHARE:
                    await may_configure(self._request, team)
                self._teams[key] = await is_in_team(self._request, team)
            except CloudIDEError:
                self._teams[key] = False
        return self._teams[key]

    async def _in_workspace(self, workspace: str, needs: str) -> bool:
        key = (workspace, needs)
        if key not in self._workspaces:
            action = Action.SHARE if needs == SHARE else Action.READ
            try:
                grant = await grant_of(services(self._request), self._user, workspace)
                self._workspaces[key] = grant.allows(action)
            except CloudIDEError:
                self._workspaces[key] = False
        return self._workspaces[key]


async def _position(request: Request) -> int:
    """Where to begin.

    Raises:
        InvalidInput: it is no position. PositionGone: it is too old.
    """
    log = services(request).event_log
    text = request.headers.get("last-event-id") or request.query_params.get("after", "")
    if not text:
        return await log.newest()
    if text == OLDEST:
        return await log.oldest()
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidInput("after is the id of an event, or `oldest`.")
    await log.check(int(text))
    return int(text)
