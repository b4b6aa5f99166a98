"""Tasks over REST and their sockets, and who may."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from peer import Peer
from server import ADMIN_TOKEN, Api, Server
from site_of_people import People

DEFINITIONS = """
[tasks.hello]
command = "echo hello $WHO"
env = { WHO = "you" }

[tasks.slow]
command = "echo up; sleep 1000"

[tasks.loop]
command = "true"
depends_on = ["loop"]

[tasks.broken]
comand = "true"
"""


@pytest.fixture(scope="module")
async def owner(people: People) -> Api:
    api = people["owner"]
    await api.write(people.workspace, "cloudide.toml", DEFINITIONS)
    await api.write(people.workspace, "package.json", '{"scripts": {"lint/all": "true"}}')
    return api


@pytest.fixture
def root(people: People) -> str:
    return people.root


async def ended(api: Api, path: str) -> tuple[bytes, dict[str, Any]]:
    """Look at a run to its end."""
    output = b""
    async with asyncio.timeout(30), api.socket(path) as socket:
        while True:
            frame = await socket.recv()
            if isinstance(frame, bytes):
                output += frame
            elif (message := json.loads(frame))["type"] == "ended":
                return output, message["run"]


async def test_tasks_and_problems_are_listed(owner: Api, root: str) -> None:
    listed = await owner.get(f"{root}/tasks")
    tasks = {task["name"]: task for task in listed["tasks"]}
    assert list(tasks) == ["hello", "slow", "loop", "npm:lint/all"]
    assert tasks["npm:lint/all"]["command"] == ["npm", "run", "lint/all"]
    assert tasks["npm:lint/all"]["source"] == "package.json"
    problem, missing = listed["problems"]
    assert "command is missing" in missing["message"]
    assert (problem["file"], problem["line"]) == ("cloudide.toml", 14)
    assert "'comand'" in problem["message"]


async def test_a_run_from_beginning_to_end(owner: Api, root: str) -> None:
    run = await owner.post(f"{root}/tasks/hello/runs", json={})
    assert run["state"] == "waiting"
    output, after = await ended(owner, f"{root}/task-runs/{run['id']}")
    assert output == b"hello you\r\n"
    assert (after["state"], after["exit"], after["person"]) == ("passed", {"code": 0}, "Owner")
    kept = await owner.request("GET", f"{root}/task-runs/{run['id']}/output")
    assert (kept.content, kept.headers["output-lost"]) == (b"hello you\r\n", "0")
    assert "attachment" in kept.headers["content-disposition"]
    runs = (await owner.get(f"{root}/task-runs?task=hello"))["runs"]
    assert runs[0] == after
    assert (await owner.get(f"{root}/task-runs?task=none"))["runs"] == []


async def test_what_was_typed_last_is_what_runs(owner: Api, people: People, root: str) -> None:
    await owner.write(people.workspace, "typed.sh", "echo old\n")
    content = DEFINITIONS + '[tasks.typed]\ncommand = "sh typed.sh"\n'
    await owner.write(people.workspace, "cloudide.toml", content)
    url = f"{people.server.url}{root}/collab/typed.sh"
    async with Peer(url, additional_headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as peer:
        await peer.until(lambda: str(peer) == "echo old\n")
        await peer.append("echo typed\n")
        await peer.saved()
        run = await owner.post(f"{root}/tasks/typed/runs", json={})
        output, _ = await ended(owner, f"{root}/task-runs/{run['id']}")
    assert output == b"old\r\ntyped\r\n"


async def test_stopping(owner: Api, root: str) -> None:
    run = await owner.post(f"{root}/tasks/slow/runs", json={"cols": 90, "rows": 20})
    again = await owner.request("POST", f"{root}/tasks/slow/runs", json={})
    assert again.status_code == 409
    assert "running already" in again.json()["detail"]
    stopped = await owner.delete(f"{root}/task-runs/{run['id']}")
    assert stopped["state"] == "stopped"
    twice = await owner.request("DELETE", f"{root}/task-runs/{run['id']}")
    assert twice.status_code == 409


@pytest.mark.parametrize(
    ("task", "body", "status", "detail"),
    [
        ("nothing", {}, 404, "no task 'nothing'"),
        ("loop", {}, 400, "loop → loop"),
        ("broken", {}, 404, "'comand'"),
        ("hello", {"cols": 0}, 400, "cols and rows"),
        ("hello", {"rows": 1001}, 400, "cols and rows"),
        ("hello", {"force": "yes"}, 400, "force"),
        ("..%2F..%2Fetc", {}, 404, "no task"),
        ("%00", {}, 404, "no task"),
        ("x" * 3000, {}, 404, "no task"),
    ],
)
async def test_wrong_requests_say_why(
    owner: Api, root: str, task: str, body: dict[str, Any], status: int, detail: str
) -> None:
    answer = await owner.request("POST", f"{root}/tasks/{task}/runs", json=body)
    assert answer.status_code == status, answer.text
    assert detail in answer.json()["detail"]


async def test_runs_of_another_workspace_are_not_there(
    owner: Api, people: People, server: Server, root: str
) -> None:
    run = await owner.post(f"{root}/tasks/hello/runs", json={})
    await ended(owner, f"{root}/task-runs/{run['id']}")
    other = await server.api.create("another")
    for method, end in (("GET", "/output"), ("DELETE", "")):
        answer = await server.api.request(
            method, f"/api/v1/workspaces/{other}/task-runs/{run['id']}{end}"
        )
        assert answer.status_code == 404
    await server.api.remove(other)


async def test_viewers_look_and_do_not_run(people: People, owner: Api, root: str) -> None:
    viewer = people["viewer"]
    assert (await viewer.get(f"{root}/tasks"))["tasks"]
    assert (await viewer.request("POST", f"{root}/tasks/hello/runs", json={})).status_code == 403
    run = await owner.post(f"{root}/tasks/hello/runs", json={})
    output, _ = await ended(viewer, f"{root}/task-runs/{run['id']}")
    assert output == b"hello you\r\n"
    assert (await viewer.request("DELETE", f"{root}/task-runs/{run['id']}")).status_code == 403


async def test_activity_is_shown_and_kept(people: People, owner: Api, root: str) -> None:
    await owner.write(people.workspace, "note.txt", "x")
    for other in (await owner.get(f"{root}/terminals"))["terminals"]:  # of other tests
        await owner.delete(f"{root}/terminals/{other['id']}")
    shown = await owner.get(f"{root}/activity")
    assert shown["idle_minutes"] == 30
    assert "files" in shown["last"]
    assert (shown["holds"], shown["warning"]) == ([], False)
    assert shown["stops_at"] is not None
    run = await owner.post(f"{root}/tasks/slow/runs", json={})
    shown = await owner.get(f"{root}/activity")
    assert (shown["holds"], shown["stops_at"]) == ([{"kind": "task", "what": "slow"}], None)
    assert "command" in shown["last"]
    await owner.delete(f"{root}/task-runs/{run['id']}")
    terminal = (await owner.post(f"{root}/terminals", json={}))["id"]
    async with (
        asyncio.timeout(30),
        owner.socket("/api/v1/events") as events,
        owner.socket(f"{root}/terminals/{terminal}") as socket,
    ):
        await events.send(json.dumps({"type": "watch", "workspace": people.workspace}))
        await socket.send(b"sleep 1000\r")
        at_work = ""
        while at_work != "sleep 1000":
            message = json.loads(await events.recv())
            for each in message.get("terminals", []):
                at_work = each["foreground"] if each["id"] == terminal else at_work
    shown = await owner.get(f"{root}/activity")
    assert shown["holds"] == [{"kind": "terminal", "what": "sleep 1000"}]
    assert "typing" in shown["last"]
    await owner.delete(f"{root}/terminals/{terminal}")
    kept = await owner.post(f"{root}/activity")
    assert "kept" in kept["last"]
    assert (await people["viewer"].get(f"{root}/activity"))["stops_at"]
    assert (await people["viewer"].request("POST", f"{root}/activity")).status_code == 403
