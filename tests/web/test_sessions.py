"""Signing in, invitations, and rights that end while sockets are open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from peer import WAIT_SECONDS, Peer
from server import Server, serving
from site_of_people import People
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed


@pytest.fixture(scope="module")
async def fresh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that nobody has signed in to."""
    async with serving(tmp_path_factory.mktemp("fresh") / "data") as server:
        yield server


async def closed(socket: ClientConnection) -> int | None:
    """Read until the server closes; returns its code."""
    async with asyncio.timeout(WAIT_SECONDS):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed:
            return socket.close_code


async def test_the_first_sign_in(fresh: Server) -> None:
    browser = People(fresh).nobody()
    token = fresh.sign_in_url.partition("token=")[2]
    assert (await browser.request("GET", "/api/v1/session")).status_code == 401
    asked = await browser.request("POST", "/api/v1/session", json={"token": token})
    assert asked.json() == {"needs_name": True}
    assert "set-cookie" not in asked.headers
    bad = await browser.request(
        "POST", "/api/v1/session", json={"token": token, "name": "\u202eadA"}
    )
    assert bad.status_code == 400
    both = await asyncio.gather(
        *(
            browser.request("POST", "/api/v1/session", json={"token": token, "name": "Ada"})
            for _ in range(4)
        )
    )
    assert sorted(each.status_code for each in both) == [200, 401, 401, 401]
    (good,) = [each for each in both if each.status_code == 200]
    assert good.json()["user"] == {**good.json()["user"], "name": "Ada", "admin": True}
    cookie = good.headers["set-cookie"].lower()
    assert cookie.startswith("cloudide=")
    assert {"httponly", "samesite=lax", "path=/"} <= set(cookie.split("; "))
    assert "domain" not in cookie
    assert (await browser.get("/api/v1/session"))["user"]["name"] == "Ada"
    await browser.close()
    secret = good.headers["set-cookie"].partition("=")[2].partition(";")[0]
    log = fresh.log.read_text()
    assert token not in log
    assert secret not in log


async def test_bodies_that_are_none(people: People) -> None:
    nobody = people.nobody()
    for body in (b"", b"{", b"[]", b'{"token": 1}', b"\xff", b'{"token":"' + b"x" * 70_000):
        response = await nobody.request("POST", "/api/v1/session", content=body)
        assert response.status_code in (400, 413), body[:20]
        problem = response.json()
        assert response.headers["content-type"] == "application/problem+json"
        assert problem["detail"]
        assert problem["status"] == response.status_code
    await nobody.close()


async def test_signing_out_cuts_this_sessions_sockets_only(people: People) -> None:
    guest, _ = await people.join("Gus", "terminal")
    other, _ = await people.join("Other", "terminal")
    terminal = await people["owner"].post(f"{people.root}/terminals", json={"command": ["cat"]})
    path = f"{people.root}/terminals/{terminal['id']}"
    async with (
        guest.socket(path) as terminal_socket,
        guest.socket("/api/v1/events") as page,
        other.socket(path) as others,
    ):
        await terminal_socket.recv()
        await page.send('{"type":"ping"}')
        await page.recv()
        await guest.delete("/api/v1/session")
        assert await closed(terminal_socket) == 4401
        assert await closed(page) == 4401
        await others.send(b"still here\n")
        seen = b""
        while b"still here" not in seen:
            frame = await others.recv()
            seen += frame if isinstance(frame, bytes) else b""
    assert (await guest.request("GET", "/api/v1/session")).status_code == 401
    await people["owner"].delete(path)
    await guest.close()
    await other.close()


async def test_an_invitation_from_preview_to_removal(people: People) -> None:
    owner = people["owner"]
    body = {"workspace": people.workspace, "role": "terminal"}
    made = await owner.post("/api/v1/invites", json=body)
    assert made["url"].startswith(f"{people.server.url}/invite#")
    token = made["url"].partition("#")[2]
    nobody = people.nobody()
    preview = await nobody.post("/api/v1/invites/preview", json={"token": token})
    assert preview == {
        "place": "workspace",
        "name": "of people",
        "role": "terminal",
        "invited_by": "Owner",
        "approval": False,
    }
    response = await nobody.request("POST", "/api/v1/invites/accept", json={"token": token})
    assert response.status_code == 400
    accepted = await nobody.post("/api/v1/invites/accept", json={"token": token, "name": "Bob"})
    assert accepted["to"] == people.workspace
    user = accepted["user"]["id"]
    again = await asyncio.gather(
        *(nobody.post("/api/v1/invites/accept", json={"token": token}) for _ in range(4))
    )
    assert {each["user"]["id"] for each in again} == {user}
    listed = await owner.get(f"/api/v1/invites?workspace={people.workspace}")
    assert token not in json.dumps(listed)
    assert made["id"] in [each["id"] for each in listed["invites"]]
    await owner.delete(f"/api/v1/invites/{made['id']}")
    response = await people["other-team"].request(
        "POST", "/api/v1/invites/accept", json={"token": token}
    )
    assert response.status_code == 404
    owns = {"workspace": people.workspace, "role": "owner"}
    assert (await owner.request("POST", "/api/v1/invites", json=owns)).status_code == 400

    await owner.write(people.workspace, "removed.txt", "text\n")
    terminal = await owner.post(f"{people.root}/terminals", json={"command": ["cat"]})
    collab = f"{people.root}/collab/removed.txt"
    events = f"{people.root}/events"
    async with (
        nobody.socket(f"{people.root}/terminals/{terminal['id']}") as shell,
        nobody.socket(collab) as room,
        nobody.http.stream("GET", events) as stream,
        owner.socket(collab) as owners,
    ):
        await shell.recv()
        await room.recv()
        await owners.recv()
        lines = stream.aiter_lines()
        await anext(lines)
        members = (await owner.get(f"{people.root}/members"))["members"]
        (member,) = [each for each in members if each["id"] == user]
        assert member["online"] is True
        await owner.delete(f"{people.root}/members/{user}")
        assert await closed(shell) == 4401
        assert await closed(room) == 4401
        async with asyncio.timeout(WAIT_SECONDS):
            async for _ in lines:  # the stream of events ends too
                pass
        assert owners.close_code is None
    assert (await nobody.request("GET", people.root)).status_code == 404
    await owner.delete(f"{people.root}/terminals/{terminal['id']}")
    assert token not in people.server.log.read_text()
    await nobody.close()


async def test_rights_that_end_while_sockets_open(people: People) -> None:
    """However the removal falls between the check and the first frame, no socket outlives it."""
    await people["owner"].write(people.workspace, "race.txt", "text\n")
    for _ in range(10):
        guest, user = await people.join("Racer", "editor")

        async def connect(guest=guest) -> int | None:
            async with guest.socket(f"{people.root}/collab/race.txt") as socket:
                return await closed(socket)

        sockets = [asyncio.create_task(connect()) for _ in range(4)]
        await people["owner"].delete(f"{people.root}/members/{user}")
        assert set(await asyncio.gather(*sockets)) <= {4401, 4404}
        await guest.close()


async def test_a_viewer_looks_and_cannot_touch(people: People) -> None:
    viewer = people["viewer"]
    await people["owner"].write(people.workspace, "looked-at.txt", "text\n")
    url = f"{people.server.url}{people.root}/collab/looked-at.txt"
    cookies = "; ".join(f"{name}={value}" for name, value in viewer.http.cookies.items())
    headers = {"Cookie": cookies, "Origin": people.server.url}
    async with Peer(url, additional_headers=headers) as peer:
        await peer.until(lambda: str(peer) == "text\n")
        assert peer.hello["read_only"]
        await peer.append("no\n")
        await peer.until(lambda: peer.close_code is not None)
        assert peer.close_code == 4403
    terminal = await people["owner"].post(f"{people.root}/terminals", json={"command": ["cat"]})
    path = f"{people.root}/terminals/{terminal['id']}"
    async with viewer.socket(path) as socket:
        while True:
            frame = await socket.recv()
            message = json.loads(frame) if isinstance(frame, str) else {}
            if message.get("type") == "ready":
                assert message["writable"] is False
                break
        await socket.send(b"rm -rf /\n")
        assert await closed(socket) == 4403
    await people["owner"].delete(path)
    assert await people["owner"].read(people.workspace, "looked-at.txt") == b"text\n"
