"""Promise 12: a right that ends cuts everything that is open by it within two seconds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
import pytest
from browsing import Browser, head, program, until_linked
from record import record
from server import Api
from uncontained import WORKSPACE, Uncontained, uncontained
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

LIMIT = 2.0  # seconds, which is what is promised
PATIENCE = 30.0  # a failure is to say how long it took
ROOT = f"/api/v1/workspaces/{WORKSPACE}"
# What follows another role is a connection that may come back and do less.
OTHER_ROLE = "another role"


class Site:
    """A team that owns the workspace, a terminal, and a program behind a port that never ends."""

    def __init__(self, server: Uncontained, team: str, terminal: str, port: int) -> None:
        self.server = server
        self.team = team
        self.terminal = terminal
        self.port = port
        self._links: dict[str, str] = {}  # there may be only so many

    @property
    def admin(self) -> Api:
        return self.server.api

    async def follow(self, **to: str) -> tuple[Api, str]:
        """Somebody new who followed a link; with their id."""
        where = json.dumps(to)
        if where not in self._links:
            self._links[where] = (await self.admin.post("/api/v1/invites", json=to))["url"]
        api = Api(self.server.url, headers={"Origin": self.server.url})
        body = {"token": self._links[where].partition("#")[2], "name": "Gone Soon"}
        return api, (await api.post("/api/v1/invites/accept", json=body))["user"]["id"]

    async def change(self, path: str, body: dict[str, object]) -> None:
        response = await self.admin.request("PATCH", path, json=body)
        assert response.is_success, response.text

    async def member(self) -> tuple[Api, str]:
        return await self.follow(workspace=WORKSPACE, role="terminal")


Way = Callable[[Site], Awaitable[tuple[Api, Callable[[], Awaitable[object]]]]]


async def removed(site: Site) -> tuple[Api, Callable[[], Awaitable[object]]]:
    api, id = await site.member()
    return api, lambda: site.admin.delete(f"{ROOT}/members/{id}")


async def out_of_the_team(site: Site) -> tuple[Api, Callable[[], Awaitable[object]]]:
    api, id = await site.follow(team=site.team, role="member")
    return api, lambda: site.admin.delete(f"/api/v1/teams/{site.team}/members/{id}")


async def left(site: Site) -> tuple[Api, Callable[[], Awaitable[object]]]:
    api, id = await site.member()
    return api, lambda: api.delete(f"{ROOT}/members/{id}")


async def deactivated(site: Site) -> tuple[Api, Callable[[], Awaitable[object]]]:
    api, id = await site.member()
    return api, lambda: site.change(f"/api/v1/users/{id}", {"active": False})


async def signed_out(site: Site) -> tuple[Api, Callable[[], Awaitable[object]]]:
    api, _ = await site.member()
    return api, lambda: api.delete("/api/v1/session")


async def token_revoked(site: Site) -> tuple[Api, Callable[[], Awaitable[object]]]:
    api, _ = await site.member()
    made = await api.post("/api/v1/tokens", json={"name": "ci", "scopes": ["write", "exec"]})
    own = Api(site.server.url, headers={"Authorization": f"Bearer {made['token']}"})
    return own, lambda: api.delete(f"/api/v1/tokens/{made['id']}")


async def another_role(site: Site) -> tuple[Api, Callable[[], Awaitable[object]]]:
    api, id = await site.member()
    return api, lambda: site.change(f"{ROOT}/members/{id}", {"role": "viewer"})


WAYS: dict[str, Way] = {
    "removed": removed,
    "out of the team": out_of_the_team,
    "left": left,
    "deactivated": deactivated,
    "signed out": signed_out,
    "token revoked": token_revoked,
    OTHER_ROLE: another_role,
}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()

    async with uncontained(tmp_path) as server, program(endless) as port:
        await until_linked(server)
        # Somebody has to stay who administers the site.
        token = server.sign_in_url.partition("token=")[2]
        first = Api(server.url, headers={"Origin": server.url})
        await first.post("/api/v1/session", json={"token": token, "name": "Ada"})
        await first.close()
        team = (await server.api.post("/api/v1/teams", json={"name": "Crew"}))["id"]
        await server.api.request("PATCH", ROOT, json={"team": team})
        await server.api.write(WORKSPACE, "shared.txt", "text\n")
        cat = {"command": ["cat"]}
        terminal = (await server.api.post(f"{ROOT}/terminals", json=cat))["id"]
        yield Site(server, team, terminal, port)


async def cut(socket: ClientConnection, *codes: int) -> float:
    """When the server closed it, with one of these codes."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as closed:
        if closed.rcvd is None or closed.rcvd.code not in codes:
            raise
    return time.monotonic()


async def ended(lines: AsyncIterator[str]) -> float:
    """When a stream ended, well or cut in the middle."""
    with suppress(httpx.RemoteProtocolError):
        async for _ in lines:
            pass
    return time.monotonic()


async def revoke(site: Site, name: str) -> dict[str, float]:
    """Open everything as somebody, end their right; how many seconds each took to be cut."""
    api, end = await WAYS[name](site)
    browser = Browser(site.server, api)
    async with AsyncExitStack() as stack:
        sockets = {
            "room": await stack.enter_async_context(api.socket(f"{ROOT}/collab/shared.txt")),
            "terminal": await stack.enter_async_context(
                api.socket(f"{ROOT}/terminals/{site.terminal}")
            ),
            "page": await stack.enter_async_context(api.socket("/api/v1/events")),
            "exec": await stack.enter_async_context(api.socket(f"{ROOT}/exec")),
        }
        await sockets["page"].send(json.dumps({"type": "watch", "workspace": WORKSPACE}))
        await sockets["exec"].send('{"type":"start","argv":["sh","-c","echo on; exec cat"]}')
        for socket in sockets.values():
            await socket.recv()  # it is let in
        streams: dict[str, AsyncIterator[str]] = {}
        await browser.enter(site.port)
        for stream, http, url in (
            ("events", api.http, f"{ROOT}/events"),
            ("preview", browser.http, browser.url(site.port)),
        ):
            response = await stack.enter_async_context(http.stream("GET", url))
            assert response.status_code == 200, (stream, response.status_code)
            streams[stream] = response.aiter_lines()
            await anext(streams[stream])
        tasks = {
            what: asyncio.create_task(cut(socket, 1012, 4401)) for what, socket in sockets.items()
        }
        tasks |= {what: asyncio.create_task(ended(lines)) for what, lines in streams.items()}
        began = time.monotonic()
        await end()
        async with asyncio.timeout(PATIENCE):
            took = {what: await task - began for what, task in tasks.items()}
    # Nor does anything let them in again.
    if name == OTHER_ROLE:
        async with api.socket(f"{ROOT}/terminals/{site.terminal}") as socket:
            await socket.send(b"x")
            await cut(socket, 4403)
    else:
        assert (await api.request("GET", ROOT)).status_code in (401, 404)
    assert (await browser.get(site.port)).status_code in (401, 403)
    await browser.close()
    await api.close()
    return took


@pytest.mark.timeout(1800)
async def test_rights_that_end(site: Site, soak: Callable[[int, int], int]) -> None:
    times = soak(500, 50)
    names = list(WAYS)
    longest: dict[str, float] = {}
    for number in range(times):
        for what, seconds in (await revoke(site, names[number % len(names)])).items():
            assert seconds < LIMIT, f"{names[number % len(names)]}: {what} took {seconds:.2f} s"
            longest[what] = max(seconds, longest.get(what, 0.0))
    slowest = ", ".join(f"{what} {seconds * 1000:.0f}" for what, seconds in longest.items())
    record(
        12, f"{times:,} rights ended in {len(names)} ways; cut at the latest after ms: {slowest}"
    )
