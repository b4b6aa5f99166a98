"""Every route and socket for every kind of person: who may, and who may not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from server import Api
from site_of_people import ROLES, People, first_word

from cloudide.web import routes

EVERYBODY: set[str] = set(ROLES)
SIGNED_IN = EVERYBODY - {"anonymous"}
IN_PERSON = SIGNED_IN - {"admin"}  # who is one by an API token
ADMINISTRATORS = {"owner", "admin"}  # the first to sign in is one
MEMBERS = SIGNED_IN - {"stranger"}
EDITORS = MEMBERS - {"viewer"}
OWNERS = EDITORS - {"editor"}
WORKSPACE = routes.WORKSPACE

# Who may do it, and a body for those who have to send one.
TABLE: dict[tuple[str, str], tuple[set[str], object]] = {
    ("GET", "/healthz"): (EVERYBODY, None),
    ("GET", "/readyz"): (EVERYBODY, None),
    ("GET", "/metrics"): (EVERYBODY, None),
    ("GET", "/api/openapi.json"): (EVERYBODY, None),
    ("GET", "/api/v1/session"): (SIGNED_IN, None),
    ("POST", "/api/v1/session"): (EVERYBODY, "wrong token"),
    ("DELETE", "/api/v1/session"): (EVERYBODY, None),
    ("GET", "/api/v1/providers"): (EVERYBODY, None),
    ("POST", "/api/v1/providers/{provider}/begin"): (EVERYBODY, {}),
    ("GET", "/api/v1/providers/{provider}/callback"): (EVERYBODY, None),
    ("GET", "/api/v1/identities"): (IN_PERSON, None),
    ("DELETE", "/api/v1/identities/{identity}"): (IN_PERSON, None),
    ("POST", "/api/v1/device/authorize"): (EVERYBODY, None),
    ("POST", "/api/v1/device/token"): (EVERYBODY, None),
    ("GET", "/api/v1/device/requests/{code}"): (IN_PERSON, None),
    ("POST", "/api/v1/device/requests/{code}"): (IN_PERSON, {"allow": False}),
    ("GET", "/api/v1/account"): (IN_PERSON, None),
    ("PATCH", "/api/v1/account"): (IN_PERSON, {"name": ""}),
    ("PUT", "/api/v1/account/password"): (IN_PERSON, {"email": "", "password": ""}),
    ("GET", "/api/v1/sessions"): (IN_PERSON, None),
    ("DELETE", "/api/v1/sessions"): (IN_PERSON, None),
    ("DELETE", "/api/v1/sessions/{session}"): (IN_PERSON, None),
    ("GET", "/api/v1/tokens"): (IN_PERSON, None),
    ("POST", "/api/v1/tokens"): (IN_PERSON, {"name": "", "scopes": []}),
    ("DELETE", "/api/v1/tokens/{token}"): (IN_PERSON, None),
    ("GET", "/api/v1/git-profile"): (IN_PERSON, None),
    ("PUT", "/api/v1/git-profile"): (IN_PERSON, {"email": "nobody", "dotfiles": ""}),
    ("GET", "/api/v1/git-credentials"): (IN_PERSON, None),
    ("POST", "/api/v1/git-credentials"): (IN_PERSON, {"address": "", "username": "", "secret": ""}),
    ("DELETE", "/api/v1/git-credentials/{credential}"): (IN_PERSON, None),
    ("GET", "/api/v1/audit"): (ADMINISTRATORS, None),
    ("GET", "/api/v1/users"): (ADMINISTRATORS, None),
    ("PATCH", "/api/v1/users/{user}"): (ADMINISTRATORS, {}),
    ("GET", "/api/v1/events"): (SIGNED_IN, None),
    # Of the site, where nothing else is named; of a workspace: tests/web/test_webhooks.py.
    ("GET", "/api/v1/webhooks"): (ADMINISTRATORS, None),
    ("POST", "/api/v1/webhooks"): (ADMINISTRATORS, {"url": "https://10.0.0.1/"}),
    ("GET", routes.WEBHOOK): (SIGNED_IN, None),
    ("PATCH", routes.WEBHOOK): (SIGNED_IN, {}),
    ("DELETE", routes.WEBHOOK): (SIGNED_IN, None),
    ("POST", f"{routes.WEBHOOK}/secret"): (SIGNED_IN, None),
    ("POST", f"{routes.WEBHOOK}/test"): (SIGNED_IN, None),
    ("GET", f"{routes.WEBHOOK}/deliveries"): (SIGNED_IN, None),
    ("POST", f"{routes.WEBHOOK}/replay"): (SIGNED_IN, {"since": "2026-01-01T00:00:00Z"}),
    ("POST", f"{routes.WEBHOOK}/deliveries/{{delivery}}/replay"): (SIGNED_IN, None),
    # One's own, where nothing else is named; of a workspace: tests/web/test_secrets.py.
    ("GET", "/api/v1/secrets"): (SIGNED_IN, None),
    ("POST", "/api/v1/secrets"): (SIGNED_IN, {"name": "", "value": ""}),
    ("GET", routes.SECRET): (SIGNED_IN, None),
    ("PATCH", routes.SECRET): (SIGNED_IN, {}),
    ("DELETE", routes.SECRET): (SIGNED_IN, None),
    ("POST", f"{routes.SECRET}/versions"): (SIGNED_IN, {"value": "x"}),
    ("DELETE", f"{routes.SECRET}/versions/{{version}}"): (SIGNED_IN, None),
    ("GET", f"{routes.SECRET}/uses"): (SIGNED_IN, None),
    ("GET", "/api/v1/images"): (SIGNED_IN, None),
    ("GET", "/api/v1/workspaces"): (SIGNED_IN, None),
    ("POST", "/api/v1/workspaces"): (OWNERS, {"name": "x", "image": "missing"}),
    ("GET", WORKSPACE): (MEMBERS, None),
    ("DELETE", WORKSPACE): (OWNERS, None),
    ("POST", f"{WORKSPACE}/start"): (EDITORS, None),
    ("POST", f"{WORKSPACE}/stop"): (EDITORS, None),
    ("POST", f"{WORKSPACE}/restart"): (EDITORS, None),
    ("GET", f"{WORKSPACE}/events"): (MEMBERS, None),
    ("GET", f"{WORKSPACE}/activity"): (MEMBERS, None),
    ("POST", f"{WORKSPACE}/activity"): (EDITORS, None),
    ("PUT", f"{WORKSPACE}/archive"): (EDITORS, None),
    ("GET", f"{WORKSPACE}/tree"): (MEMBERS, None),
    ("POST", f"{WORKSPACE}/move"): (EDITORS, {"from": "missing", "to": "there"}),
    ("POST", f"{WORKSPACE}/convert"): (EDITORS, {"path": "missing"}),
    ("GET", f"{WORKSPACE}/files/{{path:path}}"): (MEMBERS, None),
    ("PUT", f"{WORKSPACE}/files/{{path:path}}"): (EDITORS, None),
    ("DELETE", f"{WORKSPACE}/files/{{path:path}}"): (EDITORS, None),
    ("GET", f"{WORKSPACE}/history"): (MEMBERS, None),
    ("GET", f"{WORKSPACE}/history/{{version}}"): (MEMBERS, None),
    ("POST", f"{WORKSPACE}/restore"): (EDITORS, {"path": "there.txt", "version": "1-1"}),
    ("GET", f"{WORKSPACE}/blame"): (MEMBERS, None),
    ("GET", f"{WORKSPACE}/terminals"): (MEMBERS, None),
    ("POST", f"{WORKSPACE}/terminals"): (EDITORS, {"command": ["true"]}),
    # Of the editors, only who opened the terminal.
    ("PATCH", f"{WORKSPACE}/terminals/{{terminal}}"): (OWNERS, {"typing": "everyone"}),
    ("DELETE", f"{WORKSPACE}/terminals/{{terminal}}"): (EDITORS, None),
    ("GET", f"{WORKSPACE}/terminals/{{terminal}}/recording"): (MEMBERS, None),
    ("POST", f"{WORKSPACE}/terminals/{{terminal}}/recording"): (EDITORS, None),
    ("POST", f"{WORKSPACE}/terminals/{{terminal}}/recording/stop"): (EDITORS, None),
    ("DELETE", f"{WORKSPACE}/terminals/{{terminal}}/recording"): (EDITORS, None),
    ("GET", f"{WORKSPACE}/tasks"): (MEMBERS, None),
    ("POST", f"{WORKSPACE}/tasks/{{task:path}}/runs"): (EDITORS, {}),
    ("GET", f"{WORKSPACE}/task-runs"): (MEMBERS, None),
    ("GET", f"{WORKSPACE}/task-runs/{{run}}/output"): (MEMBERS, None),
    ("DELETE", f"{WORKSPACE}/task-runs/{{run}}"): (EDITORS, None),
    ("GET", f"{WORKSPACE}/git/actions"): (MEMBERS, None),
    ("POST", f"{WORKSPACE}/git/actions"): (EDITORS, {"kind": "fetch", "remote": "", "url": ""}),
    ("DELETE", f"{WORKSPACE}/git/actions/{{action}}"): (EDITORS, None),
    ("GET", f"{WORKSPACE}/git/co-authors"): (MEMBERS, None),
    ("POST", f"{WORKSPACE}/git/commits"): (EDITORS, {"message": ""}),
    ("GET", f"{WORKSPACE}/languages"): (MEMBERS, None),
    ("GET", f"{WORKSPACE}/languages/{{server}}/log"): (MEMBERS, None),
    ("POST", f"{WORKSPACE}/languages/{{server}}/restart"): (EDITORS, None),
    ("POST", f"{WORKSPACE}/edits/{{edit}}/undo"): (EDITORS, None),
    ("GET", f"{WORKSPACE}/ports"): (MEMBERS, None),
    ("PATCH", f"{WORKSPACE}/ports/{{port}}"): (EDITORS, {"visibility": "private"}),
    ("POST", f"{WORKSPACE}/ports/{{port}}/ticket"): (EDITORS, None),
    ("GET", f"{WORKSPACE}/ports/{{port}}/open"): (EDITORS | {"anonymous"}, None),
    ("GET", f"{WORKSPACE}/members"): (MEMBERS, None),
    ("DELETE", f"{WORKSPACE}/members/{{user}}"): (OWNERS, None),
    ("POST", "/api/v1/invites"): (OWNERS, "invite"),
    ("GET", "/api/v1/invites"): (OWNERS, None),
    ("DELETE", "/api/v1/invites/{invite}"): (OWNERS, None),
    ("POST", "/api/v1/invites/preview"): (EVERYBODY, {"token": "wrong"}),
    ("POST", "/api/v1/invites/accept"): (EVERYBODY, {"token": "wrong"}),
}
SOCKETS: dict[str, set[str]] = {
    "/api/v1/events": SIGNED_IN,
    f"{WORKSPACE}/collab": MEMBERS,
    f"{WORKSPACE}/collab/{{path:path}}": MEMBERS,
    f"{WORKSPACE}/lsp/{{language}}": MEMBERS,
    f"{WORKSPACE}/task-runs/{{run}}": MEMBERS,
    f"{WORKSPACE}/terminals/{{terminal}}": MEMBERS,
    f"{WORKSPACE}/ports/{{port}}/tunnel": EDITORS,
    f"{WORKSPACE}/exec": EDITORS,
}
# These end or replace the container, so that they are tried on a workspace of their own.
ENDING = {
    ("DELETE", WORKSPACE),
    ("POST", f"{WORKSPACE}/start"),
    ("POST", f"{WORKSPACE}/stop"),
    ("POST", f"{WORKSPACE}/restart"),
}
SIGNING = {("POST", "/api/v1/session"), ("DELETE", "/api/v1/session")}


def test_every_route_is_in_the_table() -> None:
    assert [(each.method, each.path) for each in routes.ENDPOINTS] == list(TABLE)
    assert [socket.path for socket in routes.SOCKETS] == list(SOCKETS)


# Of no workspace, so that there is nothing to be hidden.
SITE_WIDE = {
    "/api/v1/workspaces",
    "/api/v1/audit",
    "/api/v1/users",
    "/api/v1/users/{user}",
    "/api/v1/webhooks",
}


def expected(role: str, allowed: set[str], path: str) -> set[int] | None:
    """The statuses that refuse this person; None: they may."""
    if role in allowed:
        return None
    if role == "anonymous":
        return {401}
    # Who is not a member must not learn whether a workspace exists.
    return {404} if role == "stranger" and path not in SITE_WIDE else {403}


async def status_of(api: Api, method: str, path: str, body: object) -> int:
    """The status alone; the events never end, so nothing is read of them."""
    content = json.dumps(body).encode() if body is not None else b""
    headers = {"Content-Type": "application/json"}
    async with api.http.stream(method, path, content=content, headers=headers) as response:
        return response.status_code


@pytest.fixture(scope="module")
async def filled(people: People) -> AsyncIterator[dict[str, str]]:
    """What the paths name."""
    await people["owner"].write(people.workspace, "there.txt", "text")
    sleep = {"command": ["sleep", "infinity"]}
    terminal = await people["owner"].post(f"{people.root}/terminals", json=sleep)
    work = '[tasks.work]\ncommand = "sleep infinity"\n'
    await people["owner"].write(people.workspace, "cloudide.toml", work)
    run = await people["owner"].post(f"{people.root}/tasks/work/runs", json={})
    yield {
        "{workspace}": people.workspace,
        "{path:path}": "there.txt",
        "{version}": "1-1",
        "{terminal}": terminal["id"],
        "{task:path}": "missing",
        "{run}": run["id"],
        "{language}": "cloudide",
        "{server}": "cloudide",
        "{edit}": "missing",
        "{port}": "3000",
        "{user}": "somebody",
        "{invite}": "missing",
        "{session}": "missing",
        "{provider}": "missing",
        "{identity}": "missing",
        "{code}": "missing",
        "{token}": "missing",
        "{webhook}": "missing",
        "{secret}": "missing",
        "{delivery}": "missing",
    }
    # Nothing stays at work: other files of tests look at what is.
    await people["owner"].delete(f"{people.root}/task-runs/{run['id']}")
    await people["owner"].delete(f"{people.root}/terminals/{terminal['id']}")


@pytest.mark.parametrize("role", ROLES)
async def test_routes(people: People, filled: dict[str, str], role: str) -> None:
    wrong: list[str] = []
    own = await people["owner"].create(f"to be ended by {role}")
    if role in ("viewer", "editor"):
        token = {"token": await people.invite(role, own)}
        await people[role].post("/api/v1/invites/accept", json=token)
    body = {"workspace": people.workspace, "role": "viewer"}
    made = await people["owner"].post("/api/v1/invites", json=body)
    # The workspace is deleted last; a missing file or terminal is as good as one that is there.
    order = sorted(TABLE, key=lambda key: (key == ("DELETE", WORKSPACE), key in SIGNING))
    for method, path in order:
        allowed, content = TABLE[method, path]
        if content == "wrong token":
            content = {"token": "wrong"}
        elif content == "invite":
            content = body
        if (method, path) == ("DELETE", "/api/v1/session") and role != "anonymous":
            continue  # tested with the sessions; here it would end the person's own
        names = {**filled, "{invite}": made["id"]}
        if (method, path) in ENDING:
            names["{workspace}"] = own
        if method == "DELETE" and "terminals" in path:
            names["{terminal}"] = "missing"
        if method == "DELETE" and "task-runs" in path:
            names["{run}"] = "missing"
        if method == "DELETE" and path.endswith("{path:path}"):
            names["{path:path}"] = "missing"
        target = path
        for name, value in names.items():
            target = target.replace(name, value)
        if (method, path) == ("GET", "/api/v1/invites"):
            target += f"?workspace={people.workspace}"
        refusal = expected(role, allowed, path)
        if (method, path) == ("DELETE", WORKSPACE) and refusal is None:
            await people[role].remove(own)
            continue
        status = await status_of(people[role], method, target, content)
        if (method, path) == ("POST", "/api/v1/session"):
            right = status == 401  # the token is wrong, whoever sends it
        elif refusal is None:
            right = status not in (401, 403) and status < 500
        else:
            right = status in refusal
        if not right:
            wrong.append(f"{method} {path}: {status}")
    assert not wrong
    if role not in OWNERS:
        await people["owner"].remove(own)


@pytest.mark.parametrize("role", ROLES)
async def test_sockets(people: People, filled: dict[str, str], role: str) -> None:
    for path, allowed in SOCKETS.items():
        target = path
        for name, value in filled.items():
            target = target.replace(name, value)
        if path == "/api/v1/events" and role in allowed:
            async with people[role].socket(target) as socket:
                await socket.send('{"type":"ping"}')
                assert json.loads(await socket.recv()) == {"type": "pong"}
            continue
        if path.endswith("/collab") and role in allowed:
            async with people[role].socket(target) as socket:
                await socket.send(b"\x07missing\x02\x00\x00")  # a document, and any token
                assert (await socket.recv())[:10] == b"\x07missing\x02\x01"  # there is none
            continue
        if path.endswith("/exec") and role in allowed:
            async with people[role].socket(target) as socket:
                await socket.send('{"type":"start","argv":["true"]}')
                assert json.loads(await socket.recv()) == {"type": "exit", "code": 0}
            continue
        if path.endswith("{language}") and role in allowed:
            async with people[role].socket(target) as socket:
                await socket.send("not a message")
                assert json.loads(await socket.recv())["error"]["code"] == -32700
            continue
        code, said = await first_word(people[role], target)
        if path.endswith("/tunnel") and role in allowed:
            assert (code, said) == (4404, "Nothing listens on port 3000.")
        elif role in allowed:
            assert code is None, (path, said)
        else:
            refusal = {"anonymous": 4401, "stranger": 4404}.get(role, 4403)
            assert code == refusal, (path, said)


async def test_a_stranger_hears_nothing_of_a_workspace_over_the_pages_socket(
    people: People,
) -> None:
    async with people["stranger"].socket("/api/v1/events") as socket:
        await socket.send(json.dumps({"type": "watch", "workspace": people.workspace}))
        answer = json.loads(await socket.recv())
        assert answer["type"] == "error"
        await socket.send(json.dumps({"type": "watch", "workspaces": True}))
        listed = json.loads(await socket.recv())
        assert people.workspace not in [each["id"] for each in listed["workspaces"]]


async def test_unknown_addresses_of_the_interface(people: People) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        response = await people["owner"].request(method, "/api/v1/nothing")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
    assert (await first_word(people["owner"], "/api/v1/nothing"))[0] == 4404
