"""Every route, socket and message for every kind of person, beside `tests/permissions.csv`.

The table was written by hand and reviewed; it says what is promised, and is not made from the code.
"""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from pycrdt import Doc, Text
from server import Api
from site_of_people import ROLES, People, first_word
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.identity.permissions import MESSAGES
from cloudide.protocol import sync, terminal
from cloudide.protocol.varint import write_uint
from cloudide.web import events, routes

WORKSPACE = routes.WORKSPACE
TABLE = Path(__file__).parents[1] / "permissions.csv"
with TABLE.open(newline="") as file:
    ROWS = list(csv.DictReader(file))


def rows(kind: str) -> dict[str, dict[str, str]]:
    return {row["what"]: row for row in ROWS if row["kind"] == kind}


# A body for those who have to send one; it is well formed, and what it names is not there.
BODIES: dict[str, object] = {
    "PATCH /api/v1/account": {"name": ""},
    "PUT /api/v1/account/password": {"email": "", "password": ""},
    "POST /api/v1/session": {"token": "wrong"},
    "POST /api/v1/tokens": {"name": "", "scopes": []},
    "PATCH /api/v1/users/{user}": {},
    "POST /api/v1/providers/{provider}/begin": {},
    "POST /api/v1/git-credentials": {"address": "", "username": "", "secret": ""},
    "POST /api/v1/secrets": {"name": "", "value": ""},
    f"PATCH {routes.SECRET}": {},
    f"POST {routes.SECRET}/versions": {"value": "x"},
    "PUT /api/v1/git-profile": {"email": "nobody", "dotfiles": ""},
    f"POST {WORKSPACE}/git/stage": {"paths": [], "staged": True},
    f"POST {WORKSPACE}/git/hunks": {"path": "", "hunk": "", "staged": True},
    f"POST {WORKSPACE}/git/revert": {"paths": []},
    f"POST {WORKSPACE}/git/branches": {"branch": ""},
    f"POST {WORKSPACE}/git/actions": {"kind": "fetch", "remote": "", "url": ""},
    f"POST {WORKSPACE}/git/commits": {"message": ""},
    f"POST {WORKSPACE}/git/questions/{{question}}": {"answer": "deny"},
    "POST /api/v1/device/requests/{code}": {"allow": False},
    "POST /api/v1/webhooks": {"url": "https://10.0.0.1/"},
    f"PATCH {routes.WEBHOOK}": {},
    f"POST {routes.WEBHOOK}/replay": {"since": "2026-01-01T00:00:00Z"},
    "POST /api/v1/prebuilds": {"image": "missing", "git": {"url": "https://example.org/x"}},
    "PUT /api/v1/teams/{team}/policy": {},
    "PUT /api/v1/pools": {"image": "missing", "size": 1},
    "POST /api/v1/teams": {"name": ""},
    "PATCH /api/v1/teams/{team}": {"name": ""},
    "PATCH /api/v1/teams/{team}/members/{user}": {"role": "member"},
    "POST /api/v1/images": {"name": "", "kind": "dockerfile", "team": "{team}"},
    f"PATCH {routes.IMAGE}": {},
    f"PUT {routes.IMAGE}/secrets/{{name}}": {"value": "x"},
    f"POST {routes.IMAGE}/builds": {},
    f"POST {routes.VERSION}/promote": {},
    f"POST {WORKSPACE}/update": {},
    "POST /api/v1/workspaces": {"name": "x", "image": "missing"},
    f"PATCH {WORKSPACE}": {},
    f"POST {WORKSPACE}/move": {"from": "missing", "to": "there"},
    f"POST {WORKSPACE}/convert": {"path": "missing"},
    f"POST {WORKSPACE}/search": {"query": "x"},
    f"POST {WORKSPACE}/chat": {"text": "hello"},
    f"POST {WORKSPACE}/comments": {
        "place": {"path": "a", "start": "", "end": "", "line": 1, "quote": ""},
        "text": "hello",
    },
    f"POST {WORKSPACE}/comments/{{comment}}/replies": {"text": "hello"},
    f"PATCH {WORKSPACE}/comments/{{comment}}": {"resolved": True},
    f"POST {WORKSPACE}/replace": {"query": "x", "replacement": "y", "paths": ["missing"]},
    f"POST {WORKSPACE}/restore": {"path": "there.txt", "version": "1-1"},
    f"POST {WORKSPACE}/terminals": {"command": ["true"]},
    f"PATCH {WORKSPACE}/terminals/{{terminal}}": {"typing": "everyone"},
    f"POST {WORKSPACE}/tasks/{{task:path}}/runs": {},
    f"PATCH {WORKSPACE}/ports/{{port}}": {"visibility": "private"},
    f"PATCH {WORKSPACE}/members/{{user}}": {"role": "viewer"},
    f"POST {WORKSPACE}/requests/{{request}}": {"answer": "denied"},
    "POST /api/v1/invites": {"workspace": "{workspace}", "role": "viewer"},
    "POST /api/v1/invites/preview": {"token": "wrong"},
    "POST /api/v1/invites/accept": {"token": "wrong"},
}
NEW_IMAGE = "POST /api/v1/images"
# These end or replace the container, so that they are tried on a workspace of their own.
ENDING = {
    f"DELETE {WORKSPACE}",
    f"POST {WORKSPACE}/start",
    f"POST {WORKSPACE}/stop",
    f"POST {WORKSPACE}/restart",
}
# Whose refusal hides nothing, because they are of no workspace and of no team.
SITE_WIDE = {"/api/v1/workspaces", "/api/v1/teams", "/api/v1/audit", "/api/v1/users"}
SITE_WIDE |= {"/api/v1/users/{user}", "/api/v1/webhooks", "/api/v1/pools", "/api/v1/prebuilds"}
SITE_WIDE |= {"/api/v1/images/collection"}


def test_everything_is_in_the_table() -> None:
    assert sorted(f"{each.method} {each.path}" for each in routes.ENDPOINTS) == sorted(
        rows("route")
    )
    assert sorted(socket.path for socket in routes.SOCKETS) == sorted(rows("socket"))
    messages = [f"{socket}: {name}" for socket, names in MESSAGES.items() for name in names]
    assert sorted(messages) == sorted(rows("message"))
    assert {answer for row in ROWS for answer in list(row.values())[2:]} == {"yes", "no"}
    assert list(ROWS[0])[2:] == list(ROLES)


def test_each_control_message_names_its_action() -> None:
    def tags(decoder_of: object) -> set[str]:
        return {kind.__struct_config__.tag for kind in decoder_of.__args__}  # type: ignore[attr-defined]

    assert tags(events.Message) == set(MESSAGES["events"])
    assert tags(terminal.FromViewer) == set(MESSAGES["terminal"]) - {"bytes"}


def refusal(what: str, role: str, path: str) -> int | None:
    """The status that refuses this person; None: they may."""
    if rows("route")[what][role] == "yes":
        return None
    if role == "anonymous":
        return 401
    # Who is not a member must not learn whether a workspace or team exists.
    outside = role in ("ex-member", "other-team")
    if path.startswith(("/api/v1/teams/", routes.IMAGE, routes.BUILD)) or what == NEW_IMAGE:
        outside |= role in ("guest", "viewer", "editor", "terminal")
    return 404 if outside and path not in SITE_WIDE else 403


async def status_of(api: Api, method: str, path: str, body: object) -> int:
    """The status alone; the events never end, so nothing is read of them."""
    content = json.dumps(body).encode() if body is not None else b""
    headers = {"Content-Type": "application/json"}
    async with api.http.stream(method, path, content=content, headers=headers) as response:
        return response.status_code


@pytest.fixture(scope="module")
async def filled(people: People) -> AsyncIterator[dict[str, str]]:
    """What the paths name."""
    owner = people["owner"]
    await owner.write(people.workspace, "there.txt", "text")
    sleep = {"command": ["sleep", "infinity"]}
    terminal = await owner.post(f"{people.root}/terminals", json=sleep)
    work = '[tasks.work]\ncommand = "sleep infinity"\n'
    await owner.write(people.workspace, "cloudide.toml", work)
    run = await owner.post(f"{people.root}/tasks/work/runs", json={})
    yield {
        "{workspace}": people.workspace,
        "{team}": people.team,
        "{path:path}": "there.txt",
        "{version}": "1-1",
        "{terminal}": terminal["id"],
        "{task:path}": "missing",
        "{run}": run["id"],
        "{language}": "cloudide",
        "{server}": "cloudide",
        "{service}": "missing",
        "{edit}": "missing",
        "{port}": "3000",
        "{user}": "somebody",
        "{invite}": "missing",
        "{session}": "missing",
        "{token}": "missing",
        "{request}": "missing",
        "{webhook}": "missing",
        "{delivery}": "missing",
        "{provider}": "missing",
        "{identity}": "missing",
        "{code}": "missing",
        "{action}": "missing",
        "{commit}": "0" * 40,
        "{secret}": "missing",
        "{prebuild}": "missing",
        "{credential}": "missing",
    }
    # Nothing stays at work: other files of tests look at what is.
    await owner.delete(f"{people.root}/task-runs/{run['id']}")
    await owner.delete(f"{people.root}/terminals/{terminal['id']}")


def placed(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text


async def own_workspace(people: People, role: str) -> str:
    """One that may be ended, in which this person is the same."""
    own = await people["owner"].create(f"to be ended by {role}", team=people.team)
    if role in ("guest", "viewer", "editor", "terminal"):
        given = "editor" if role == "guest" else role
        token = {"token": await people.invite(given, own)}
        await people[role].post("/api/v1/invites/accept", json=token)
    return own


@pytest.mark.parametrize("role", ROLES)
async def test_routes(people: People, filled: dict[str, str], role: str) -> None:
    wrong: list[str] = []
    table = rows("route")
    own = people.workspace
    if table[f"POST {WORKSPACE}/start"][role] == "yes":
        own = await own_workspace(people, role)
    body = {"workspace": people.workspace, "role": "viewer"}
    made = await people["owner"].post("/api/v1/invites", json=body)
    image = {"name": f"of-{role}", "kind": "dockerfile", "team": people.team}
    image = await people["owner"].post("/api/v1/images", json=image)
    # It has nothing to be built from, so that the build ends at once.
    build = await people["owner"].post(f"/api/v1/images/{image['id']}/builds", json={})
    images = {"{image}": image["id"], "{build}": build["id"], "{name}": "MISSING"}
    # The workspace is deleted last; a missing file or terminal is as good as one that is there.
    last = (f"DELETE {WORKSPACE}", f"DELETE {routes.IMAGE}")
    order = sorted(table, key=lambda what: (what in last, "/session" in what))
    for what in order:
        if what == "DELETE /api/v1/session" and role != "anonymous":
            continue  # tested with the sessions; here it would end the person's own
        method, path = what.split(" ", 1)
        names = {**filled, **images, "{invite}": made["id"]}
        if what in ENDING:
            names["{workspace}"] = own
        if method == "DELETE":
            names |= dict.fromkeys(("{terminal}", "{run}", "{path:path}"), "missing")
        target = placed(path, names)
        if what == "GET /api/v1/invites":
            target += f"?workspace={people.workspace}"
        refused = refusal(what, role, path)
        if what == f"DELETE {WORKSPACE}" and refused is None:
            await people[role].remove(own)
            own = people.workspace
            continue
        content = BODIES.get(what)
        if content is not None:
            content = json.loads(placed(json.dumps(content), names))
        status = await status_of(people[role], method, target, content)
        if what == "POST /api/v1/session":
            right = status == 401  # the token is wrong, whoever sends it
        elif refused is None:
            right = status not in (401, 403) and status < 500
        else:
            right = status == refused
        if not right:
            wrong.append(f"{what}: {status}, not {refused or 'let in'}")
    if own != people.workspace:
        await people["owner"].remove(own)
    assert not wrong


@pytest.mark.parametrize("role", ROLES)
async def test_sockets(people: People, filled: dict[str, str], role: str) -> None:
    for path, row in rows("socket").items():
        target = placed(path, filled)
        allowed = row[role] == "yes"
        if allowed and path.endswith("/tunnel"):
            assert await first_word(people[role], target) == (
                4404,
                "Nothing listens on port 3000.",
            )
        elif allowed:
            async with people[role].socket(target) as socket:
                if path.endswith("/collab"):
                    await socket.send(b"\x07missing\x02\x00\x00")  # a document, and any token
                elif path.endswith("/exec"):
                    await socket.send('{"type":"start","argv":["true"]}')
                elif path.endswith("{language}"):
                    await socket.send("not a message")
                elif path == "/api/v1/events":
                    await socket.send('{"type":"ping"}')
                assert await socket.recv()
        else:
            code, said = await first_word(people[role], target)
            outside = {"anonymous": 4401, "ex-member": 4404, "other-team": 4404}
            assert code == outside.get(role, 4403), (path, said)


# ── messages ────────────────────────────────────────────────────────────────────────────────────

Send = Callable[[ClientConnection], Awaitable[bool]]


def edit() -> bytes:
    doc: Doc[Text] = Doc()
    doc.get("content", type=Text).insert(0, "somebody's ")
    return doc.get_update()


COLLAB: dict[str, Callable[[], bytes]] = {
    "step 1": lambda: sync.step_1(b"\x00"),
    "step 2": lambda: sync.step_2(edit()),
    "update": lambda: sync.update(edit()),
    "awareness": lambda: sync.EMPTY_AWARENESS,
    "query awareness": lambda: write_uint(3),
}
CONTROL: dict[str, dict[str, object]] = {
    "resize": {"type": "resize", "cols": 80, "rows": 24},
    "visible": {"type": "visible", "visible": True},
    "control": {"type": "control", "hold": False},
    "ack": {"type": "ack", "number": 1, "bytes": 0},
    "ping": {"type": "ping"},
}


async def collab_takes(people: People, role: str, name: str) -> bool:
    """Whether the room answers a question that comes behind the message."""
    path = f"{people.root}/collab/messages-{role}.txt"
    await people["owner"].write(people.workspace, f"messages-{role}.txt", "text")
    async with people[role].socket(path) as socket:
        await socket.send(COLLAB[name]())
        await socket.send(sync.step_1(b"\x00"))
        while (await socket.recv())[:2] != b"\x00\x01":
            pass
        # What was taken is there for everybody else.
        text = await people["owner"].read(people.workspace, f"messages-{role}.txt")
        assert (b"somebody's" in text) is (name in ("step 2", "update"))
        return True


async def terminal_takes(people: People, role: str, name: str, terminal: str) -> bool:
    async with people[role].socket(f"{people.root}/terminals/{terminal}") as socket:
        await socket.send(b"x" if name == "bytes" else json.dumps(CONTROL[name]))
        return await ponged(socket)


async def ponged(socket: ClientConnection) -> bool:
    await socket.send('{"type":"ping"}')
    while True:
        frame = await socket.recv()
        if isinstance(frame, str) and json.loads(frame).get("type") == "pong":
            return True


async def languages_take(people: People, role: str, name: str) -> bool:
    uri = "file:///workspace/cloudide.toml"
    asked = {
        "question": ("textDocument/documentSymbol", {}),
        "edit": ("textDocument/formatting", {"options": {"tabSize": 2, "insertSpaces": True}}),
    }
    method, params = asked[name]
    async with people[role].socket(f"{people.root}/lsp/cloudide") as socket:
        for id, (call, given) in enumerate(
            [
                ("initialize", {"capabilities": {}, "processId": None, "rootUri": None}),
                (method, {"textDocument": {"uri": uri}, **params}),
            ]
        ):
            message = {"jsonrpc": "2.0", "id": id, "method": call, "params": given}
            await socket.send(json.dumps(message))
        while True:
            answer = json.loads(await socket.recv())
            if answer.get("id") == 1:
                refused = answer.get("error", {}).get("message", "")
                return "look, but not edit" not in refused


async def events_take(people: People, role: str, name: str) -> bool:
    messages: dict[str, dict[str, object]] = {
        "watch": {"type": "watch", "workspace": people.workspace},
        "unwatch": {"type": "unwatch", "workspace": people.workspace},
        "here": {"type": "here", "workspace": people.workspace, "path": "there.txt"},
        "ping": {"type": "ping"},
    }
    async with people[role].socket("/api/v1/events") as socket:
        await socket.send(json.dumps(messages[name]))
        if name == "watch":
            return json.loads(await socket.recv())["type"] == "workspace"
        return await ponged(socket)


async def relay_takes(people: People, role: str, socket_name: str, name: str) -> bool:
    """A program that ends by what it is sent; a port is the same, and has no program here."""
    if socket_name == "tunnel":
        _, said = await first_word(people[role], f"{people.root}/ports/3000/tunnel")
        return said == "Nothing listens on port 3000."  # let in, and that is all there is
    async with people[role].socket(f"{people.root}/exec") as socket:
        await socket.send('{"type":"start","argv":["cat"]}')
        if name == "signal":
            await socket.send('{"type":"signal","number":15}')
        else:
            await socket.send(b"typed")
            await socket.send('{"type":"eof"}')
        while isinstance(frame := await socket.recv(), bytes):
            assert frame == b"\x01typed"
        return json.loads(frame)["type"] == "exit"


@pytest.mark.parametrize("role", ROLES)
async def test_messages(people: People, filled: dict[str, str], role: str) -> None:
    wrong: list[str] = []
    for what, row in rows("message").items():
        socket, name = what.split(": ")
        try:
            match socket:
                case "collab":
                    taken = await collab_takes(people, role, name)
                case "terminal":
                    taken = await terminal_takes(people, role, name, filled["{terminal}"])
                case "languages":
                    taken = await languages_take(people, role, name)
                case "events":
                    taken = await events_take(people, role, name)
                case _:
                    taken = await relay_takes(people, role, socket, name)
        except ConnectionClosed as closed:
            taken = not (closed.rcvd and 4401 <= closed.rcvd.code <= 4404)
        if taken is not (row[role] == "yes"):
            wrong.append(f"{what}: {'taken' if taken else 'refused'}")
    assert not wrong


async def test_a_stranger_hears_nothing_of_a_workspace_over_the_pages_socket(
    people: People,
) -> None:
    async with people["other-team"].socket("/api/v1/events") as socket:
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
