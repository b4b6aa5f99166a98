"""What people do is recorded: by whom, from where, with which outcome; and no secrets."""

from __future__ import annotations

import json
from typing import Any

from server import Api
from site_of_people import People

from cloudide.web import routes

# Changes of what is edited together, which its own history keeps, and of what only one person sees.
NOT_RECORDED = {
    ("POST", "/api/v1/invites/preview"),
    ("POST", "/api/v1/providers/{provider}/begin"),  # what comes of it is
    ("POST", "/api/v1/prebuilds/{prebuild}/hook"),  # a Git host's; what comes of it has its log
    ("POST", "/api/v1/device/authorize"),  # what comes of it is
    ("POST", f"{routes.WORKSPACE}/activity"),
    ("POST", f"{routes.WORKSPACE}/git/stage"),
    ("POST", f"{routes.WORKSPACE}/git/hunks"),
    ("POST", f"{routes.WORKSPACE}/search"),
    ("POST", f"{routes.WORKSPACE}/gather"),
    ("POST", f"{routes.WORKSPACE}/ports/{{port}}/ticket"),
}
HISTORY = (
    *("files", "move", "convert", "restore", "archive", "edits", "replace", "deleted"),
    *("chat", "comments"),  # which everybody there sees, with who said it
)


async def records(owner: Api, **query: str) -> list[dict[str, Any]]:
    found = await owner.get("/api/v1/audit", params=query)
    return found["records"]


def test_each_route_that_changes_something_is_recorded_or_named_here() -> None:
    missing = [
        f"{each.method} {each.path}"
        for each in routes.ENDPOINTS
        if each.method != "GET"
        and not each.records
        and (each.method, each.path) not in NOT_RECORDED
        and not each.path.removeprefix(f"{routes.WORKSPACE}/").startswith(HISTORY)
    ]
    assert missing == []


async def test_who_did_what(people: People) -> None:
    owner = people["admin"]
    ada, id = await people.join("Auditee", "terminal")
    token = await ada.post("/api/v1/tokens", json={"name": "ci", "scopes": ["exec"]})
    program = Api(people.server.url, headers={"Authorization": f"Bearer {token['token']}"})
    secret = "s3cret-argument"
    terminal = await program.post(
        f"{people.root}/terminals", json={"command": ["echo", f"--password={secret}"]}
    )
    refused = await program.request("POST", "/api/v1/workspaces", json={"name": "x", "image": "y"})
    assert refused.status_code == 403
    await program.delete(f"{people.root}/terminals/{terminal['id']}")
    await owner.delete(f"{people.root}/members/{id}")

    found = [each for each in await records(owner) if each["user"] == id]
    assert [(each["action"], each["outcome"]) for each in reversed(found)] == [
        ("invite.accept", "done"),
        ("token.create", "done"),
        ("terminal.open", "done"),
        ("workspace.create", "403 You may not do this"),
        ("terminal.close", "done"),
    ]
    assert {each["name"] for each in found} == {"Auditee"}
    assert {each["address"] for each in found} == {"127.0.0.1"}
    assert [bool(each["token"]) for each in reversed(found)] == [False, False, True, True, True]
    opened = next(each for each in found if each["action"] == "terminal.open")
    assert (opened["workspace"], opened["detail"]) == (people.workspace, {"program": "echo"})
    removed = (await records(owner, workspace=people.workspace))[0]
    assert (removed["action"], removed["detail"]) == ("member.remove", {"user": id})
    assert removed["user"] == people.ids["admin"]
    everything = json.dumps(await records(owner, limit="1000"))
    assert secret not in everything
    assert token["token"] not in everything
    await program.close()
    await ada.close()


async def test_signing_in_well_and_not(people: People) -> None:
    nobody = people.nobody()
    for email in ("eve@example.org", "not an address"):
        body = {"email": email, "password": "a wrong password"}
        assert (await nobody.request("POST", "/api/v1/session", json=body)).status_code == 401
    # What anybody may send as often as they like is not kept.
    assert (await nobody.request("POST", "/api/v1/session", json={})).status_code == 400
    assert (await nobody.request("POST", "/api/v1/workspaces", json={})).status_code == 401
    found = (await records(people["admin"]))[:2]
    assert [each["outcome"] for each in found] == ["401 Sign in first"] * 2
    assert {each["action"] for each in found} == {"session.begin"}
    assert {each["user"] for each in found} == {""}
    assert found[1]["detail"] == {"email": "eve@example.org"}
    assert "a wrong password" not in json.dumps(found)
    await nobody.close()


async def test_pages_of_records(people: People) -> None:
    owner = people["admin"]
    whole = await owner.get("/api/v1/audit?limit=1000")
    seen: list[int] = []
    before = ""
    while True:
        page = await owner.get(f"/api/v1/audit?limit=3{before}")
        seen += [each["seq"] for each in page["records"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert seen == [each["seq"] for each in whole["records"]]
    assert seen == list(range(len(seen), 0, -1))
    for query in ("limit=0", "limit=1001", "limit=x", "before=-1", "before=²"):
        assert (await owner.request("GET", f"/api/v1/audit?{query}")).status_code == 400
