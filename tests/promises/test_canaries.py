"""Promise 21: what people keep secret is nowhere but where they wanted it."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import docker
import httpx
import pytest
from record import record
from server import Api, Server, serving
from websockets.exceptions import ConnectionClosed

MARK = f"canary{secrets.token_hex(4)}"
TASK = """
[tasks.tell]
command = 'echo "$TOLD"; echo "$TOLD" >&2; exit 3'
secrets = ["TOLD"]
"""


class Site:
    """A person in a browser with a workspace, and all that they were answered."""

    def __init__(self, server: Server, api: Api, workspace: str) -> None:
        self.server = server
        self.api = api
        self.workspace = workspace
        self.root = f"/api/v1/workspaces/{workspace}"
        self.answers: list[str] = []

    async def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        """One request, whatever comes of it."""
        response = await self.api.request(method, path, **options)
        self.answers.append(f"{response.headers} {response.text}")
        return response

    async def stranger(self, path: str, canary: str) -> None:
        """Somebody who tries `canary` as a session, as a token, and on a socket."""
        async with httpx.AsyncClient(base_url=self.server.url) as nobody:
            for headers in (
                {"Authorization": f"Bearer {canary}"},
                {"Authorization": f"Basic {canary}"},
                {"Cookie": f"cloudide={canary}"},
            ):
                answer = await nobody.get(path, headers=headers)
                self.answers.append(f"{answer.headers} {answer.text}")
        api = Api(self.server.url, headers={"Authorization": f"Bearer {canary}"})
        async with api.socket("/api/v1/events") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        self.answers.append(str(closed.value))
        await api.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serving(tmp_path / "data") as server:
        api = Api(server.url, headers={"Origin": server.url})
        token = server.sign_in_url.partition("token=")[2]
        await api.post("/api/v1/session", json={"token": token, "name": "Ada"})
        site = Site(server, api, await api.create("canaries"))
        await api.write(site.workspace, "cloudide.toml", TASK)
        yield site
        await api.close()


async def a_secret_of_ones_own(site: Site, canary: str) -> None:
    body = {"name": "MINE", "value": canary}
    made = (await site.ask("POST", "/api/v1/secrets", json=body)).json()
    path = f"/api/v1/secrets/{made['id']}"
    await site.ask("POST", f"{path}/versions", json={"value": f"{canary}2"})
    await site.ask("POST", "/api/v1/secrets", json=body)  # there is one of that name
    await site.ask("POST", "/api/v1/secrets", json={**body, "name": canary * 100})
    await site.ask("POST", "/api/v1/secrets", json={**body, "value": [canary]})
    await site.ask("PATCH", path, json={"value": canary, "readers": canary})
    await site.ask("GET", path)
    await site.ask("DELETE", path)


async def a_secret_that_a_task_tells(site: Site, canary: str) -> None:
    readers = [{"workspace": "", "tasks": ["tell"]}]
    body = {"name": "TOLD", "value": canary, "workspace": site.workspace, "readers": readers}
    made = (await site.ask("POST", "/api/v1/secrets", json=body)).json()
    path = f"{site.root}/tasks/tell/runs"
    run = (await site.ask("POST", path, json={"force": True})).json()
    async with site.api.socket(f"{site.root}/task-runs/{run['id']}") as socket:
        async for frame in socket:
            text = frame if isinstance(frame, str) else frame.decode()
            site.answers.append(text)
            if isinstance(frame, str) and json.loads(frame)["type"] == "ended":
                assert json.loads(frame)["run"]["state"] == "failed", text
                break
    output = await site.ask("GET", f"{site.root}/task-runs/{run['id']}/output")
    assert output.text.count("[secret TOLD]") == 2
    await site.ask("DELETE", f"/api/v1/secrets/{made['id']}")


async def a_password(site: Site, canary: str) -> None:
    email = f"{secrets.token_hex(4)}@example.org"
    body = {"email": email, "password": f"long enough {canary}"}
    await site.ask("PUT", "/api/v1/account/password", json={**body, "current": canary})
    await site.ask("PUT", "/api/v1/account/password", json={"email": canary, "password": canary})
    await site.ask("POST", "/api/v1/session", json={"email": email, "password": canary})
    await site.ask("POST", "/api/v1/session", json={"token": canary, "name": "Eve"})


async def a_token_of_somebody(site: Site, canary: str) -> None:
    await site.stranger("/api/v1/workspaces", canary)


async def a_link(site: Site, canary: str) -> None:
    body = {"token": canary, "name": "Guest"}
    await site.ask("POST", "/api/v1/invites/accept", json=body)


async def a_credential_of_git(site: Site, canary: str) -> None:
    body = {"address": "github.com", "username": "ada", "secret": canary}
    made = (await site.ask("POST", "/api/v1/git-credentials", json=body)).json()
    await site.ask("POST", "/api/v1/git-credentials", json={**body, "address": f"x://{canary}@y"})
    await site.ask("GET", "/api/v1/git-credentials")
    await site.ask("DELETE", f"/api/v1/git-credentials/{made['id']}")
    git = {"url": f"https://ada:{canary}@127.0.0.1:1/x.git"}
    await site.ask("POST", "/api/v1/workspaces", json={"name": "x", "image": "base", "git": git})


async def what_a_program_is_given(site: Site, canary: str) -> None:
    start = {"type": "start", "argv": ["sh", "-c", "exit 3", canary], "env": {"GIVEN": canary}}
    async with site.api.socket(f"{site.root}/exec") as socket:
        await socket.send(json.dumps(start))
        await socket.send(canary.encode())
        async for frame in socket:
            site.answers.append(str(frame))


async def what_is_typed(site: Site, canary: str) -> None:
    body = {"command": ["sh", "-c", "stty -echo; echo now; read hidden; echo done"]}
    made = (await site.ask("POST", f"{site.root}/terminals", json=body)).json()
    seen = b""
    async with site.api.socket(f"{site.root}/terminals/{made['id']}") as socket:
        async for frame in socket:
            if isinstance(frame, str):
                continue
            if b"now" in frame:
                await socket.send(f"{canary}\n".encode())
            seen += frame
    assert b"done" in seen
    site.answers.append(seen.decode())
    await site.ask("GET", f"{site.root}/terminals")
    await site.ask("DELETE", f"{site.root}/terminals/{made['id']}")


async def what_no_endpoint_understands(site: Site, canary: str) -> None:
    for path in ("/api/v1/session", "/api/v1/secrets", "/api/v1/tokens", "/api/v1/workspaces"):
        for body in (f'{{"password": "{canary}', f'"{canary}"', f'{{"name": {{"{canary}": 1}}}}'):
            await site.ask("POST", path, content=body, headers={"X-Secret": canary})


Way = Callable[[Site, str], Awaitable[None]]
WAYS: list[Way] = [
    a_secret_of_ones_own,
    a_secret_that_a_task_tells,
    a_password,
    a_token_of_somebody,
    a_link,
    a_credential_of_git,
    what_a_program_is_given,
    what_is_typed,
    what_no_endpoint_understands,
]


@pytest.mark.timeout(600)
async def test_canaries_are_nowhere(site: Site, soak: Callable[[int, int], int]) -> None:
    count = soak(200, 2 * len(WAYS))
    for number in range(count):
        way = WAYS[number % len(WAYS)]
        site.answers.clear()
        await way(site, f"{MARK}-{number}-x")
        found = [answer for answer in site.answers if MARK in answer]
        assert found == [], way.__name__

    places: dict[str, str] = {"the log": site.server.log.read_text()}
    audit = (await site.server.api.get("/api/v1/audit?limit=1000"))["records"]
    assert any(each["action"] == "secret.access" for each in audit)
    places["the audit log"] = json.dumps(audit)
    places["the metrics"] = (await site.server.api.request("GET", "/metrics")).text
    client = docker.from_env()
    try:
        containers = client.containers.list(filters={"name": site.workspace})
        assert containers
        for each in containers:
            history = client.api.history(each.attrs["Image"])
            places["inspect"] = json.dumps([each.attrs, history])
            places["the container's log"] = each.logs().decode()
    finally:
        client.close()
    for name in ("the log", "the audit log", "inspect"):
        assert site.workspace in places[name]  # it is what it is taken for
    for file in site.server.data_dir.rglob("*"):
        if file.is_file():
            places[str(file)] = file.read_bytes().decode("latin-1")
    assert [name for name, text in places.items() if MARK in text] == []
    record(21, f"{count} canaries of {len(WAYS)} kinds: in no answer, log, record or inspect.")
