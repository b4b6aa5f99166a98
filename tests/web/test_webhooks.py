"""Webhooks and the stream of events over the interface: who may, what comes, what survives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from receiver import Receiver, receiving
from server import Api, Server, serving
from site_of_people import People, people_of

WEBHOOKS = "/api/v1/webhooks"


@pytest.fixture(scope="module")
async def people(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[People]:
    """A site whose webhooks may lead to this machine."""
    folder = tmp_path_factory.mktemp("webhooks") / "data"
    async with (
        serving(folder, insecure_webhook_loopback="true") as server,
        people_of(server) as people,
    ):
        yield people


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


class Stream:
    """A reader of the stream of events."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> tuple[int, dict[str, Any]]:
        """The next event, with its position."""
        position = 0
        async with asyncio.timeout(30):
            async for line in self._lines:
                if line.startswith("id: "):
                    position = int(line.removeprefix("id: "))
                elif line.startswith("data: "):
                    return position, json.loads(line.removeprefix("data: "))
        raise EOFError

    async def rest(self) -> set[str]:
        """The types of what comes until the server ends the stream."""
        types: set[str] = set()
        with suppress(EOFError):
            while True:
                types.add((await self.next())[1]["type"])
        return types


@asynccontextmanager
async def stream(api: Api, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    async with api.http.stream("GET", f"/api/v1/events{query}", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.aiter_lines()
        assert (await anext(lines)).startswith(":")  # from here on nothing is missed
        yield Stream(lines)


async def share_port(people: People, port: int, visibility: str = "members") -> None:
    path = f"{people.root}/ports/{port}"
    response = await people["owner"].request("PATCH", path, json={"visibility": visibility})
    assert response.status_code == 200, response.text


async def test_a_webhook_of_a_workspace_is_its_owners(people: People, receiver: Receiver) -> None:
    owner = people["owner"]
    body = {"url": receiver.url, "workspace": people.workspace, "types": ["cloudide.port.*"]}
    response = await owner.request("POST", WEBHOOKS, json=body)
    assert response.status_code == 201
    made = response.json()
    path = response.headers["location"]
    assert made["secret"].startswith("whsec_")
    shown = await owner.request("GET", path)
    assert "secret" not in shown.json()
    assert shown.headers["etag"] == response.headers["etag"]
    for role, refused in (
        ("viewer", 403),
        ("editor", 403),
        ("other-team", 404),
        ("anonymous", 401),
    ):
        api = people[role]
        found = await api.request("GET", WEBHOOKS, params={"workspace": people.workspace})
        assert found.status_code == refused
        assert (await api.request("POST", WEBHOOKS, json=body)).status_code == refused
        for method, below in (
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/secret"),
            ("POST", "/test"),
            ("GET", "/deliveries"),
            ("POST", "/replay"),
        ):
            response = await api.request(method, path + below, json={})
            assert response.status_code == (401 if role == "anonymous" else 404), (role, below)
    await share_port(people, 4100)
    (message,) = await receiver.until(1)
    assert message.event["data"]["port"] == 4100
    changed = await owner.request("PATCH", path, json={"active": False})
    stale = {"If-Match": shown.headers["etag"]}
    again = await owner.request("PATCH", path, json={"active": True}, headers=stale)
    assert (changed.status_code, again.status_code) == (200, 412)
    fresh = {"If-Match": changed.headers["etag"]}
    assert (await owner.request("DELETE", path, headers=fresh)).status_code == 204
    assert (await owner.request("GET", path)).status_code == 404


async def test_pages_of_a_log(people: People, receiver: Receiver) -> None:
    owner = people["owner"]
    made = await owner.post(WEBHOOKS, json={"url": receiver.url, "workspace": people.workspace})
    path = f"{WEBHOOKS}/{made['id']}"
    sent = [(await owner.post(f"{path}/test"))["event"] for _ in range(5)]
    await receiver.until(5)
    seen: list[str] = []
    cursor = ""
    while True:
        page = await owner.get(f"{path}/deliveries?limit=2{cursor}")
        seen += [each["event"] for each in page["deliveries"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == sent[::-1]
    for query in ("limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=W10", "cursor=%00"):
        assert (await owner.request("GET", f"{path}/deliveries?{query}")).status_code == 400
    await owner.delete(path)


async def test_a_stream_is_resumed_where_it_ended(people: People) -> None:
    owner = people["owner"]
    async with stream(owner, "?type=cloudide.port.shared") as first:
        await share_port(people, 4201)
        position, event = await first.next()
        assert event["data"] == {
            "workspace": people.workspace,
            "port": 4201,
            "visibility": "members",
        }
    await share_port(people, 4202)
    await share_port(people, 4203)
    for query, headers in (
        (f"?after={position}", {}),
        ("", {"Last-Event-ID": str(position)}),
    ):
        async with stream(owner, query, **headers) as second:
            assert [(await second.next())[1]["data"]["port"] for _ in range(2)] == [4202, 4203]
    async with stream(owner, "?after=oldest") as whole:
        assert (await whole.next())[1]["type"] == "cloudide.account.created"
    for after, status in (("x", 400), ("-1", 400), ("²", 400), ("999999", 410)):
        refused = await owner.request("GET", f"/api/v1/events?after={after}")
        assert refused.status_code == status
        assert refused.headers["content-type"] == "application/problem+json"


async def test_who_hears_what(people: People) -> None:
    async with (
        stream(people["viewer"]) as viewer,
        stream(people["other-team"]) as stranger,
        stream(people["admin"]) as admin,
    ):
        await share_port(people, 4301)
        assert (await viewer.next())[1]["data"]["port"] == 4301
        assert (await admin.next())[1]["data"]["port"] == 4301
        await people["other-team"].request("PATCH", "/api/v1/account", json={"name": "Stranger"})
        # Nothing of the port came before it.
        assert (await stranger.next())[1]["type"] == "cloudide.account.changed"
        assert (await admin.next())[1]["type"] == "cloudide.account.changed"


async def test_a_stream_ends_with_the_right_to_it(people: People) -> None:
    api, id = await people.join("Leaver", "viewer")
    async with stream(api) as leaver:
        await share_port(people, 4401)
        await leaver.next()
        await people["owner"].delete(f"{people.root}/members/{id}")
        with pytest.raises(EOFError):
            await leaver.next()
    async with stream(api) as leaver:
        # They are back with what they may still see, which is not this.
        await share_port(people, 4402)
        await api.request("PATCH", "/api/v1/account", json={"name": "Gone"})
        assert (await leaver.next())[1]["type"] == "cloudide.account.changed"
    body = {"active": False}
    async with stream(api) as leaver:
        response = await people["admin"].request("PATCH", f"/api/v1/users/{id}", json=body)
        assert response.status_code == 200
        assert await leaver.rest() <= {"cloudide.account.changed"}
    await api.close()


async def test_a_killed_server_delivers_what_was_committed(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answer = None  # it never says that it has anything
    server = Server(tmp_path / "data", insecure_webhook_loopback="true")
    await server.start()
    try:
        await server.api.post(WEBHOOKS, json={"url": receiver.url})
        body = {"name": "soon killed", "image": "base"}
        made = await server.api.post("/api/v1/workspaces", json=body)
        (first,) = await receiver.until(1)
        await server.kill()
        receiver.answer = b"HTTP/1.1 204 Fine\r\n\r\n"
        await server.start()
        second = (await receiver.until(2))[1]
        assert first.event == second.event
        assert first.event["type"] == "cloudide.workspace.created"
        assert first.event["data"]["id"] == made["id"]
        async with stream(server.api, "?after=oldest") as events:
            assert (await events.next())[1] == first.event
    finally:
        await server.close()


async def test_two_who_change_a_members_role(people: People) -> None:
    api, id = await people.join("Changed", "viewer")
    path, owner = f"{people.root}/members/{id}", people["owner"]
    seen = {"If-Match": '"viewer"'}
    done = await owner.request("PATCH", path, json={"role": "editor"}, headers=seen)
    assert (done.status_code, done.headers["etag"]) == (204, '"editor"')
    late = await owner.request("PATCH", path, json={"role": "terminal"}, headers=seen)
    assert late.status_code == 412
    wrong = {"If-Match": '"nothing"'}
    refused = await owner.request("PATCH", path, json={"role": "viewer"}, headers=wrong)
    assert refused.status_code == 400
    roles = {
        each["id"]: each["role"] for each in (await owner.get(f"{people.root}/members"))["members"]
    }
    assert roles[id] == "editor"
    await api.close()


async def test_events_and_webhooks_of_a_team(people: People, receiver: Receiver) -> None:
    owner = people["owner"]
    team = (await owner.post("/api/v1/teams", json={"name": "Red"}))["id"]
    made = await owner.post(WEBHOOKS, json={"url": receiver.url, "team": team})
    async with stream(people["other-team"]) as stranger, stream(owner) as ada:
        response = await owner.request("PATCH", f"/api/v1/teams/{team}", json={"name": "Blue"})
        assert response.is_success
        (message,) = await receiver.until(1)
        assert message.event["type"] == "cloudide.team.changed"
        assert (await ada.next())[1] == message.event
        secret = {"name": "OF_TEAM", "value": "x", "team": team}
        await owner.post("/api/v1/secrets", json=secret)
        assert (await receiver.until(2))[1].event["type"] == "cloudide.secret.created"
        await people["other-team"].request("PATCH", "/api/v1/account", json={"name": "Stranger"})
        assert (await stranger.next())[1]["type"] == "cloudide.account.changed"
    refused = await people["other-team"].request("GET", f"{WEBHOOKS}/{made['id']}")
    assert refused.status_code == 404
    await owner.delete(f"{WEBHOOKS}/{made['id']}")


async def test_pages_of_lists_in_memory(people: People) -> None:
    admin = people["admin"]
    for path, name in (
        ("/api/v1/users", "users"),
        (f"{people.root}/members", "members"),
        ("/api/v1/workspaces", "workspaces"),
    ):
        whole = [each["id"] for each in (await admin.get(path))[name]]
        seen: list[str] = []
        cursor = ""
        while True:
            page = await admin.get(f"{path}?limit=1{cursor}")
            seen += [each["id"] for each in page[name]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert seen == whole, path
