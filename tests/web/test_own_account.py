"""What is somebody's own: password, sessions, API tokens; and accounts that are deactivated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from server import Api
from site_of_people import People
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

PASSWORD = "correct horse battery staple"
TIMEOUT = 30.0


@pytest.fixture
async def ada(people: People) -> AsyncIterator[tuple[Api, str]]:
    """Somebody who joined as an editor, and their id."""
    api, id = await people.join("Ada", "terminal")
    yield api, id
    await api.close()


async def closed(socket: ClientConnection) -> int | None:
    async with asyncio.timeout(TIMEOUT):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed:
            return socket.close_code


def with_token(people: People, token: str) -> Api:
    return Api(people.server.url, headers={"Authorization": f"Bearer {token}"})


async def test_a_password_signs_in_and_ends_the_other_sessions(
    people: People, ada: tuple[Api, str]
) -> None:
    api, id = ada
    email = f"{id}@example.org"
    assert (await api.get("/api/v1/account"))["has_password"] is False
    short = {"email": email, "password": "too short"}
    refused = await api.request("PUT", "/api/v1/account/password", json=short)
    assert (refused.status_code, "15 to 256" in refused.json()["detail"]) == (400, True)
    body = {"email": email, "password": PASSWORD}
    account = await api.put("/api/v1/account/password", json=body)
    assert (account["email"], account["has_password"]) == (email, True)

    other = people.nobody()
    signed_in = await other.post("/api/v1/session", json=body)
    assert signed_in["user"]["id"] == id
    sessions = (await api.get("/api/v1/sessions"))["sessions"]
    assert [each["current"] for each in sessions].count(True) == 1
    assert len(sessions) == 2
    async with other.socket("/api/v1/events") as socket:
        await socket.send('{"type":"ping"}')
        await socket.recv()
        renewed = {"email": email, "password": f"{PASSWORD} again", "current": PASSWORD}
        await api.put("/api/v1/account/password", json=renewed)
        assert await closed(socket) == 4401
    assert (await other.request("GET", "/api/v1/session")).status_code == 401
    refused = await people.nobody().request("POST", "/api/v1/session", json=body)
    assert refused.status_code == 401
    for wrong in ({}, {"email": email}, {"password": PASSWORD}):
        assert (await other.request("POST", "/api/v1/session", json=wrong)).status_code == 400
    log = people.server.log.read_text()
    assert PASSWORD not in log
    await other.close()


async def test_signing_in_anew_ends_the_session_before(
    people: People, ada: tuple[Api, str]
) -> None:
    api, id = ada
    body = {"email": f"{id}@example.org", "password": PASSWORD}
    await api.put("/api/v1/account/password", json=body)
    before = dict(api.http.cookies)
    await api.post("/api/v1/session", json=body)
    assert dict(api.http.cookies) != before
    assert len((await api.get("/api/v1/sessions"))["sessions"]) == 1


async def test_a_session_is_signed_out_from_another(people: People, ada: tuple[Api, str]) -> None:
    api, id = ada
    body = {"email": f"{id}@example.org", "password": PASSWORD}
    await api.put("/api/v1/account/password", json=body)
    others = [people.nobody() for _ in range(3)]
    for other in others:
        other.http.headers["User-Agent"] = "a browser"
        await other.post("/api/v1/session", json=body)
    sessions = (await api.get("/api/v1/sessions"))["sessions"]
    first = next(each for each in sessions if each["agent"] == "a browser")
    foreign = await people["viewer"].request("DELETE", f"/api/v1/sessions/{first['id']}")
    assert foreign.status_code == 404
    await api.delete(f"/api/v1/sessions/{first['id']}")
    statuses = [(await each.request("GET", "/api/v1/session")).status_code for each in others]
    assert sorted(statuses) == [200, 200, 401]
    await api.delete("/api/v1/sessions")
    statuses = [(await each.request("GET", "/api/v1/session")).status_code for each in others]
    assert statuses == [401, 401, 401]
    assert (await api.get("/api/v1/session"))["user"]["id"] == id
    for other in others:
        await other.close()


async def test_a_token_does_what_its_scopes_say(people: People, ada: tuple[Api, str]) -> None:
    api, _ = ada
    await people["owner"].write(people.workspace, "scoped.txt", "text")
    file = f"{people.root}/files/scoped.txt"
    may = {"read": (200, 403, 403), "write": (200, 200, 403), "exec": (200, 403, 201)}
    for scope, (read, write, execute) in may.items():
        made = await api.post("/api/v1/tokens", json={"name": scope, "scopes": [scope]})
        program = with_token(people, made["token"])
        assert (await program.request("GET", file)).status_code == read
        written = await program.request("PUT", file, content=b"new")
        assert written.status_code == write
        if write == 403:
            assert "scopes" in written.json()["detail"]
        opened = await program.request("POST", f"{people.root}/terminals", json={})
        assert opened.status_code == execute
        if execute == 201:
            await program.delete(f"{people.root}/terminals/{opened.json()['id']}")
        # Nothing of the account itself, and no more tokens.
        for path in ("account", "sessions", "tokens"):
            assert (await program.request("GET", f"/api/v1/{path}")).status_code == 403
        await program.close()
    listed = (await api.get("/api/v1/tokens"))["tokens"]
    assert [each["name"] for each in listed] == ["exec", "write", "read"]
    assert all(each["used_at"] and "token" not in each for each in listed)


async def test_a_token_for_one_workspace(people: People, ada: tuple[Api, str]) -> None:
    api, _ = ada
    other = await people["owner"].create("another")
    await api.post("/api/v1/invites/accept", json={"token": await people.invite("editor", other)})
    body = {"name": "one", "scopes": ["write"], "workspace": other}
    made = await api.post("/api/v1/tokens", json=body)
    program = with_token(people, made["token"])
    found = await program.get("/api/v1/workspaces")
    assert [each["id"] for each in found["workspaces"]] == [other]
    assert (await program.request("GET", people.root)).status_code == 404
    assert (await program.request("GET", f"/api/v1/workspaces/{other}")).status_code == 200
    foreign = {**body, "workspace": "w0000"}
    assert (await api.request("POST", "/api/v1/tokens", json=foreign)).status_code == 404
    await program.close()
    await people["owner"].remove(other)


async def test_revoking_a_token_cuts_its_sockets_only(people: People, ada: tuple[Api, str]) -> None:
    api, _ = ada
    tokens = [
        await api.post("/api/v1/tokens", json={"name": name, "scopes": ["read"]})
        for name in ("one", "two")
    ]
    programs = [with_token(people, each["token"]) for each in tokens]
    async with (
        programs[0].socket("/api/v1/events") as first,
        programs[1].socket("/api/v1/events") as second,
    ):
        for socket in (first, second):
            await socket.send('{"type":"ping"}')
            await socket.recv()
        await api.delete(f"/api/v1/tokens/{tokens[0]['id']}")
        assert await closed(first) == 4401
        await second.send('{"type":"ping"}')
        await second.recv()
    assert (await programs[0].request("GET", "/api/v1/workspaces")).status_code == 401
    again = await api.request("DELETE", f"/api/v1/tokens/{tokens[0]['id']}")
    assert again.status_code == 404
    for program in programs:
        await program.close()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"name": "", "scopes": ["read"]}, "name"),
        ({"name": "x", "scopes": []}, "scope"),
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "x", "scopes": ["read"], "days": 0}, "days"),
        ({"name": "x", "scopes": ["read"], "days": 10_000}, "days"),
        ({"name": "x"}, "scopes"),
    ],
)
async def test_tokens_that_are_none(
    ada: tuple[Api, str], body: dict[str, object], says: str
) -> None:
    api, _ = ada
    refused = await api.request("POST", "/api/v1/tokens", json=body)
    assert refused.status_code == 400
    assert says in refused.json()["detail"]
    assert (await api.get("/api/v1/tokens"))["tokens"] == []


async def test_a_deactivated_account_is_cut_off(people: People, ada: tuple[Api, str]) -> None:
    api, id = ada
    owner = people["admin"]
    listed = (await owner.get("/api/v1/users"))["users"]
    assert next(each for each in listed if each["id"] == id)["active"]
    async with api.socket("/api/v1/events") as socket:
        await socket.send('{"type":"ping"}')
        await socket.recv()
        changed = await owner.request("PATCH", f"/api/v1/users/{id}", json={"active": False})
        assert changed.json()["active"] is False
        assert await closed(socket) == 4401
    assert (await api.request("GET", "/api/v1/session")).status_code == 401
    own = f"/api/v1/users/{people.ids['admin']}"
    kept = await owner.request("PATCH", own, json={"admin": False})
    assert kept.status_code == 409
    missing = await owner.request("PATCH", "/api/v1/users/missing", json={"active": False})
    assert missing.status_code == 404
