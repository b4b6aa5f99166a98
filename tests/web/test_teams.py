"""Teams and sharing over the wire: links, approval, changes that hold at once, giving away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from peer import WAIT_SECONDS
from server import Api
from site_of_people import People
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed


async def closed(socket: ClientConnection) -> int | None:
    """Read until the server closes; returns its code."""
    async with asyncio.timeout(WAIT_SECONDS):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed:
            return socket.close_code


async def heard(socket: ClientConnection, type: str) -> dict[str, object]:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == type:
                return message


@pytest.fixture
async def newcomer(people: People) -> AsyncIterator[tuple[Api, str]]:
    """Somebody with an account, who is in nothing."""
    made = await people.account("Newcomer")
    yield made
    await made[0].close()


async def test_a_team_from_its_making_to_its_end(people: People, newcomer: tuple[Api, str]) -> None:
    api, id = newcomer
    team = await api.post("/api/v1/teams", json={"name": "  Sail  "})
    assert (team["name"], team["role"], team["members"]) == ("Sail", "owner", 1)
    path = f"/api/v1/teams/{team['id']}"
    assert (await api.get("/api/v1/teams"))["teams"] == [team]
    assert (await api.request("PATCH", path, json={"name": "Row"})).json()["name"] == "Row"
    body = {"team": team["id"], "role": "member"}
    made = await api.post("/api/v1/invites", json=body)
    token = {"token": made["url"].partition("#")[2]}
    viewed = await people.by_role["anonymous"].post("/api/v1/invites/preview", json=token)
    assert (viewed["place"], viewed["name"], viewed["role"]) == ("team", "Row", "member")
    guest, guest_id = await people.join("Rower", "viewer")
    refused = await guest.request("POST", "/api/v1/teams", json={"name": "Mine"})
    assert refused.status_code == 403
    assert "Guests" in refused.json()["detail"]
    await guest.post("/api/v1/invites/accept", json=token)
    # Whoever is in a team is no guest.
    mine = await guest.post("/api/v1/teams", json={"name": "Mine"})
    await guest.delete(f"/api/v1/teams/{mine['id']}")
    members = (await guest.get(f"{path}/members"))["members"]
    assert [(each["name"], each["role"]) for each in members] == [
        ("Newcomer", "owner"),
        ("Rower", "member"),
    ]
    denied = await guest.request("DELETE", f"{path}/members/{id}")
    assert denied.status_code == 403
    assert (await api.request("DELETE", f"{path}/members/{id}")).status_code == 409
    await guest.delete(f"{path}/members/{guest_id}")
    assert (await guest.request("GET", path)).status_code == 404
    assert (await api.request("DELETE", path)).status_code == 204
    assert (await api.request("GET", path)).status_code == 404
    # The links of what is gone lead nowhere.
    gone = await guest.request("POST", "/api/v1/invites/accept", json=token)
    assert gone.status_code == 404
    await guest.close()


async def test_leaving_a_team_cuts_everything_of_it_at_once(people: People) -> None:
    token = await people.link(team=people.team, role="member")
    api, id = await people.follow("Leaver", token)
    owner = people["owner"]
    await owner.write(people.workspace, "left.txt", "text")
    terminal = await owner.post(f"{people.root}/terminals", json={"command": ["cat"]})
    async with (
        api.socket(f"{people.root}/collab/left.txt") as room,
        api.socket(f"{people.root}/terminals/{terminal['id']}") as shell,
        api.socket("/api/v1/events") as page,
        owner.socket(f"{people.root}/collab/left.txt") as owners,
    ):
        for socket in (room, shell, owners):
            await socket.recv()
        await page.send(json.dumps({"type": "watch", "workspace": people.workspace}))
        await page.recv()
        await owner.delete(f"/api/v1/teams/{people.team}/members/{id}")
        assert await closed(room) == 4401
        assert await closed(shell) == 4401
        assert await closed(page) == 1012  # it comes back, and is told what it may still watch
        assert owners.close_code is None
    assert (await api.request("GET", people.root)).status_code == 404
    assert (await api.get("/api/v1/workspaces"))["workspaces"] == []
    await owner.delete(f"{people.root}/terminals/{terminal['id']}")
    await api.close()


async def test_another_role_holds_at_once(people: People) -> None:
    guest, id = await people.join("Promoted", "viewer")
    owner = people["owner"]
    await owner.write(people.workspace, "role.txt", "text")
    path = f"{people.root}/members/{id}"
    async with guest.socket(f"{people.root}/collab/role.txt") as room:
        await room.recv()
        await owner.request("PATCH", path, json={"role": "editor"})
        assert await closed(room) == 1012  # come back, and learn what you may
    await guest.write(people.workspace, "role.txt", "mine")
    assert (await owner.request("PATCH", path, json={"role": "owner"})).status_code == 400
    assert (await owner.request("PATCH", path, json={"role": "king"})).status_code == 400
    await owner.delete(path)
    await guest.close()


async def test_somebody_present_lets_a_guest_in(people: People) -> None:
    owner = people["owner"]
    token = await people.link(workspace=people.workspace, role="editor", approval=True)
    async with (
        owner.socket("/api/v1/events") as page,
        people["viewer"].socket("/api/v1/events") as viewers,
    ):
        for socket in (page, viewers):
            await socket.send(json.dumps({"type": "watch", "workspace": people.workspace}))
        assert (await heard(page, "requests"))["requests"] == []
        guest = people.nobody()
        body = {"token": token, "name": "Knocking"}
        asked = await guest.post("/api/v1/invites/accept", json=body)
        assert asked["request"]
        assert (await guest.request("GET", people.root)).status_code == 404
        (waiting,) = (await heard(page, "requests"))["requests"]  # type: ignore[misc]
        assert waiting["person"]["name"] == "Knocking"  # type: ignore[index]
        state = asyncio.create_task(guest.get(f"/api/v1/requests/{asked['request']}?wait=1"))
        other = await people["viewer"].request("GET", f"/api/v1/requests/{asked['request']}")
        assert other.status_code == 404
        answer = f"{people.root}/requests/{asked['request']}"
        elsewhere = await owner.request("POST", answer, json={"answer": "waiting"})
        assert elsewhere.status_code == 400
        await owner.post(answer, json={"answer": "accepted"})
        assert (await state)["answer"] == "accepted"
        assert (await heard(page, "requests"))["requests"] == []
        again = await owner.request("POST", answer, json={"answer": "denied"})
        assert again.status_code == 404
        # Only who may decide is told who waits.
        await viewers.send('{"type":"ping"}')
        while (said := json.loads(await viewers.recv()))["type"] != "pong":
            assert said["type"] != "requests"
    assert (await guest.get(people.root))["role"] == "editor"
    await owner.delete(f"{people.root}/members/{asked['user']['id']}")
    await guest.close()


async def test_a_denied_guest_and_a_link_taken_back(people: People) -> None:
    owner = people["owner"]
    body = {"workspace": people.workspace, "role": "viewer", "approval": True}
    made = await owner.post("/api/v1/invites", json=body)
    token = made["url"].partition("#")[2]
    guest = people.nobody()
    asked = await guest.post("/api/v1/invites/accept", json={"token": token, "name": "Nope"})
    await owner.post(f"{people.root}/requests/{asked['request']}", json={"answer": "denied"})
    state = await guest.get(f"/api/v1/requests/{asked['request']}?wait=1")
    assert state["answer"] == "denied"
    again = await guest.post("/api/v1/invites/accept", json={"token": token})
    waiting = asyncio.create_task(
        guest.request("GET", f"/api/v1/requests/{again['request']}?wait=1")
    )
    await owner.delete(f"/api/v1/invites/{made['id']}")
    assert (await waiting).status_code == 404
    assert (await owner.get(f"{people.root}/requests"))["requests"] == []
    await guest.close()


async def test_a_link_ends_with_its_makers_right(people: People) -> None:
    token = await people.link(team=people.team, role="maintainer")
    api, id = await people.follow("Former", token)
    body = {"workspace": people.workspace, "role": "terminal"}
    made = await api.post("/api/v1/invites", json=body)
    await people["owner"].delete(f"/api/v1/teams/{people.team}/members/{id}")
    listed = await people["owner"].get(f"/api/v1/invites?workspace={people.workspace}")
    assert made["id"] not in [each["id"] for each in listed["invites"]]
    token = {"token": made["url"].partition("#")[2]}
    refused = await people["other-team"].request("POST", "/api/v1/invites/accept", json=token)
    assert refused.status_code == 404
    await api.close()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"workspace": "w", "team": "t", "role": "viewer"}, 400),
        ({"role": "viewer"}, 400),
        ({"team": "{team}", "role": "viewer"}, 400),
        ({"team": "{team}", "role": "member", "approval": True}, 400),
        ({"workspace": "{workspace}", "role": ""}, 400),
        ({"workspace": "missing", "role": "viewer"}, 404),
        ({"team": "missing", "role": "member"}, 404),
        ({"team": "{team}", "role": "owner"}, 403),  # only owners invite owners
        ({}, 403),  # to the site: only administrators
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
async def test_links_that_cannot_be_made(
    people: People, body: dict[str, object], status: int
) -> None:
    names = {"{team}": people.team, "{workspace}": people.workspace}
    body = {key: names.get(value, value) for key, value in body.items()}  # type: ignore[call-overload]
    before = await people["owner"].get(f"/api/v1/invites?workspace={people.workspace}")
    refused = await people["maintainer"].request("POST", "/api/v1/invites", json=body)
    assert refused.status_code == status, refused.text
    assert refused.json()["detail"]
    after = await people["owner"].get(f"/api/v1/invites?workspace={people.workspace}")
    assert after == before


async def test_a_workspace_is_given_to_a_team_and_back(
    people: People, newcomer: tuple[Api, str]
) -> None:
    api, id = newcomer
    own = await api.create("mine")
    path = f"/api/v1/workspaces/{own}"
    member = people["member"]
    assert (await member.request("GET", path)).status_code == 404
    refused = await api.request("PATCH", path, json={"team": people.team})
    assert refused.status_code == 404  # not a team of theirs
    joined = {"token": await people.link(team=people.team, role="member")}
    await api.post("/api/v1/invites/accept", json=joined)
    given = (await api.request("PATCH", path, json={"team": people.team, "name": "ours"})).json()
    assert (given["team_name"], given["name"], given["role"]) == ("Crew", "ours", "terminal")
    assert (await member.get(path))["role"] == "terminal"
    # Who gave it away may not take it back; an owner of the team may give it to them.
    assert (await api.request("PATCH", path, json={"owner": id})).status_code == 403
    owner = people["owner"]
    hidden = await owner.request("PATCH", path, json={"team_role": ""})
    assert hidden.json()["team_role"] == ""
    assert (await member.request("GET", path)).status_code == 404
    nobody = await owner.request("PATCH", path, json={"owner": people.ids["other-team"]})
    assert nobody.status_code == 400
    returned = await owner.request("PATCH", path, json={"owner": id})
    assert returned.status_code == 204  # it is no longer theirs to see
    assert (await api.get(path))["role"] == "owner"
    assert (await api.get(path))["team"] == ""
    await api.remove(own)
    await owner.delete(f"/api/v1/teams/{people.team}/members/{id}")


async def test_a_token_that_is_for_less_creates_nothing(people: People) -> None:
    owner = people["owner"]
    body = {"name": "ci", "scopes": ["read", "write", "exec"]}
    made = await owner.post("/api/v1/tokens", json=body)
    program = Api(people.server.url, headers={"Authorization": f"Bearer {made['token']}"})
    for path, body in (
        ("/api/v1/teams", {"name": "x"}),
        ("/api/v1/workspaces", {"name": "x", "image": "base"}),
        ("/api/v1/invites", {"team": people.team, "role": "member"}),
        ("/api/v1/invites/accept", {"token": await people.link()}),
    ):
        refused = await program.request("POST", path, json=body)
        assert refused.status_code == 403, path
        assert "token" in refused.json()["detail"]
    await owner.delete(f"/api/v1/tokens/{made['id']}")
    await program.close()
