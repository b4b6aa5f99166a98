"""`/api/v1/builds`: what is built, how far it is, and what it says, from any offset on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cloudide.errors import CloudIDEError, InvalidInput
from cloudide.identity.permissions import TeamAction
from cloudide.images.builds import UNDER_WAY, Build
from cloudide.images.steps import Step
from cloudide.web.access import SignedIn, admit_live
from cloudide.web.bodies import json_body, json_response
from cloudide.web.images import allowed, known_to, readable, require_builder
from cloudide.web.openapi import Query, describe
from cloudide.web.services import services

HEARTBEAT_SECONDS = 15.0
OFFSET_HEADER = "Log-Offset"


class NewBuild(msgspec.Struct, forbid_unknown_fields=True):
    """`fresh`: nothing of earlier builds is used, so that it has the newest packages."""

    fresh: bool = False


class BuildView(msgspec.Struct):
    """`state`: queued, running, succeeded, failed, cancelled or interrupted. `version`: what came
    of it; `reused`: that was there already. `error`: why there is none, in a sentence. `log_size`:
    bytes."""

    id: str
    image: str
    version: int | None
    state: str
    reused: bool
    fresh: bool
    attempts: int
    steps: list[Step]
    error: str
    log_size: int
    created_at: datetime
    created_by: str
    started_at: datetime | None
    ended_at: datetime | None


class BuildList(msgspec.Struct):
    """The newest first."""

    builds: list[BuildView]


@describe(tag="images", body=NewBuild, HTTP_202=BuildView, HTTP_200=BuildView)
async def request_build(request: Request) -> Response:
    """Build an image as it is defined now; 200 with the build that is under way if it is of the
    same, or with one that has ended if there is nothing to be built."""
    definition = await allowed(request, TeamAction.CREATE)
    body = await json_body(request, NewBuild)
    user = request.state.caller.user
    builds = services(request).images.builds
    build, is_new = await builds.request(definition, user.id, fresh=body.fresh)
    request.state.audit["build"] = build.id
    headers = {"Location": f"/api/v1/builds/{build.id}"}
    status = 202 if is_new and build.state in UNDER_WAY else 200
    return json_response(_view(request, build), status, headers)


@describe(tag="images", HTTP_200=BuildList)
async def show_all(request: Request) -> Response:
    """The last builds of an image."""
    definition = await readable(request)
    found = await services(request).images.builds.of(definition.id)
    return json_response(BuildList([_view(request, each) for each in found]))


@describe(tag="images", HTTP_200=BuildView)
async def show(request: Request) -> Response:
    """A build: its state, its steps, and why it failed."""
    return json_response(_view(request, await _readable(request)))


@describe(tag="images", HTTP_200=BuildView)
async def cancel(request: Request) -> Response:
    """End a build that waits or runs."""
    build = await _readable(request)
    provided = services(request)
    await require_builder(request, await provided.images.definitions.get(build.image))
    return json_response(_view(request, await provided.images.builds.cancel(build.id)))


@describe(
    tag="images",
    query={"offset": Query("bytes to leave out", {"type": "integer", "minimum": 0})},
    headers={
        "Accept": "`text/event-stream` to follow it: events `log` and `build`",
        "Last-Event-ID": "as `offset`; a browser sends it by itself when it reconnects",
    },
    gives="text/plain",
    HTTP_200=None,
)
async def show_log(request: Request) -> Response:
    """What a build says, from an offset on; the header `Log-Offset` is where to go on. As
    server-sent events it goes on until the build has ended."""
    build = await _readable(request)
    logs = services(request).images.builds.logs
    offset = _offset(request)
    if "text/event-stream" in request.headers.get("accept", ""):
        return await _follow(request, build.id, offset)
    content = await asyncio.to_thread(logs.read, build.id, offset)
    headers = {OFFSET_HEADER: str(offset + len(content)), "Cache-Control": "no-store"}
    return Response(content, headers=headers, media_type="text/plain; charset=utf-8")


class _Ending:
    """The end of the caller's right to listen."""

    def __init__(self, wake: asyncio.Event) -> None:
        self.ended = False
        self._wake = wake

    def close(self, code: int = 0, reason: str = "") -> None:
        self.ended = True
        self._wake.set()


async def _follow(request: Request, id: str, offset: int) -> Response:
    logs = services(request).images.builds.logs
    wake = logs.watch(id)
    ending = _Ending(wake)
    try:
        live = await admit_live(request, SignedIn(), ending)
    except BaseException:
        logs.unwatch(id, wake)
        raise

    async def body() -> AsyncIterator[bytes]:
        try:
            async for chunk in _events(request, id, offset, wake, ending):
                yield chunk
        finally:
            services(request).live.remove(live)
            logs.unwatch(id, wake)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(body(), media_type="text/event-stream", headers=headers)


async def _events(
    request: Request, id: str, offset: int, wake: asyncio.Event, ending: _Ending
) -> AsyncIterator[bytes]:
    """`build`: as the resource; `log`: a JSON string, whose id is the offset after it."""
    logs = services(request).images.builds.logs
    told = b""
    while not ending.ended:
        wake.clear()
        try:
            build = await _readable(request)  # who may see it is asked again each time
        except CloudIDEError:
            return
        over = build.state not in UNDER_WAY
        view = _view(request, build)
        while content := await asyncio.to_thread(logs.read, id, offset):
            whole = content if over else _whole(content)
            if not whole:
                break
            offset += len(whole)
            text = msgspec.json.encode(whole.decode(errors="replace"))
            yield b"id: %d\nevent: log\ndata: %s\n\n" % (offset, text)
        now = msgspec.json.encode(msgspec.structs.replace(view, log_size=0))
        if now != told:
            told = now
            yield b"event: build\ndata: %s\n\n" % msgspec.json.encode(view)
        if over:
            return
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await wake.wait()
        except TimeoutError:
            yield b": still here\n\n"


def _whole(content: bytes) -> bytes:
    """Without a last character that has not come whole yet (RFC 3629: up to four bytes)."""
    for back in range(1, min(4, len(content)) + 1):
        lead = content[-back]
        if lead & 0xC0 == 0x80:
            continue  # not the first byte of a character
        length = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        return content[:-back] if length > back else content
    return content


def _offset(request: Request) -> int:
    text = request.headers.get("last-event-id") or request.query_params.get("offset", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 13):
        raise InvalidInput("offset is a number of bytes.")
    return int(text)


async def _readable(request: Request) -> Build:
    """The build in the path, if the caller may know of it. Raises: NotFound."""
    provided = services(request)
    build = await provided.images.builds.get(request.path_params["build"])
    await known_to(request, await provided.images.definitions.get(build.image))
    return build


def _view(request: Request, build: Build) -> BuildView:
    return BuildView(
        id=build.id,
        image=build.image,
        version=build.version,
        state=build.state,
        reused=build.reused,
        fresh=bool(build.fresh),
        attempts=build.attempts,
        steps=build.steps,
        error=build.error,
        log_size=services(request).images.builds.logs.size(build.id),
        created_at=_when(build.created_at),
        created_by=build.created_by,
        started_at=_when(build.started_at) if build.started_at else None,
        ended_at=_when(build.ended_at) if build.ended_at else None,
    )


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
