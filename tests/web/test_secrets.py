"""Secrets over the interface, and in a real workspace: who gets them, and where they never are."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import docker
import pytest
from server import Api
from site_of_people import People

SECRETS = "/api/v1/secrets"
VALUE = "canary-5up3r/s3cr3t+value"
FILE_VALUE = "canary-line-one\ncanary-line-two\n"
TASKS = """
[tasks.deploy]
command = '''
echo "token=$DEPLOY_TOKEN"
printf %s "$DEPLOY_TOKEN" | base64
printf %s "$DEPLOY_TOKEN" | head -c9; sleep 0.1; printf %s "$DEPLOY_TOKEN" | cut -c10-
printf %s "$DEPLOY_TOKEN" | wc -c
cat "$KUBECONFIG_FILE"; stat -f -c %T "$KUBECONFIG_FILE"; stat -c %a "$KUBECONFIG_FILE"
echo "$KUBECONFIG_FILE" > /tmp/where
'''
secrets = ["DEPLOY_TOKEN", "file:KUBECONFIG"]

[tasks.other]
command = "env"
secrets = ["DEPLOY_TOKEN"]

[tasks.look]
command = "test -e $(cat /tmp/where) && echo there || echo gone; env | grep -c canary"
"""


async def finished(api: Api, root: str, task: str) -> dict[str, Any]:
    """Run a task; returns how it ended."""
    run = await api.post(f"{root}/tasks/{task}/runs", json={"force": True})
    async with asyncio.timeout(60), api.socket(f"{root}/task-runs/{run['id']}") as socket:
        while True:
            frame = await socket.recv()
            if isinstance(frame, str) and json.loads(frame)["type"] == "ended":
                return json.loads(frame)["run"]


async def test_a_value_goes_in_and_never_comes_out(people: People) -> None:
    owner = people["owner"]
    body = {"name": "WRITTEN_ONLY", "value": VALUE, "workspace": people.workspace}
    response = await owner.request("POST", SECRETS, json=body)
    assert response.status_code == 201
    path = response.headers["location"]
    tag = response.headers["etag"]
    await owner.post(f"{path}/versions", json={"value": VALUE + "2"})
    texts = [response.text]
    for below in ("", "/uses"):
        texts.append((await owner.request("GET", path + below)).text)
    listed = await owner.request("GET", f"{SECRETS}?workspace={people.workspace}")
    texts += [listed.text, json.dumps(await people["admin"].get("/api/v1/audit?limit=1000"))]
    assert not any("canary" in text for text in texts)
    [shown] = [
        each for each in json.loads(listed.text)["secrets"] if each["name"] == "WRITTEN_ONLY"
    ]
    assert shown["latest"] == 2
    known = {"If-None-Match": listed.headers["etag"]}
    again = await owner.request("GET", f"{SECRETS}?workspace={people.workspace}", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    stale = {"If-Match": tag}
    for method, below, change in (
        ("PATCH", "", {"description": "x"}),
        ("POST", "/versions", {"value": "x"}),
        ("DELETE", "", None),
    ):
        refused = await owner.request(method, path + below, json=change, headers=stale)
        assert refused.status_code == 412
    for role in ("viewer", "editor", "other-team"):
        api, status = people[role], 404 if role == "other-team" else 403
        found = await api.request("GET", SECRETS, params={"workspace": people.workspace})
        assert found.status_code == status
        assert (await api.request("POST", SECRETS, json=body)).status_code == status
        for method, below in (("GET", ""), ("GET", "/uses"), ("DELETE", ""), ("PATCH", "")):
            refused = await api.request(method, path + below, json={})
            assert refused.status_code == 404
    assert (await owner.request("DELETE", path)).status_code == 204


async def test_ones_own_are_ones_own(people: People) -> None:
    editor = people["terminal"]
    reader = {"workspace": people.workspace, "programs": True}
    body = {"name": "MINE", "value": VALUE, "readers": [reader]}
    made = await editor.post(SECRETS, json=body)
    for role in ("owner", "viewer", "admin"):
        listed = (await people[role].get(SECRETS))["secrets"]
        assert made["id"] not in [each["id"] for each in listed]
        refused = await people[role].request("GET", f"{SECRETS}/{made['id']}")
        assert refused.status_code == 404, role
    elsewhere = {**body, "name": "OTHER", "readers": [{"workspace": "wnowhere"}]}
    refused = await editor.request("POST", SECRETS, json=elsewhere)
    assert refused.json()["errors"][0]["pointer"] == "/readers/0/workspace"
    # A token for less than all does not reach them.
    token = await editor.post("/api/v1/tokens", json={"name": "ci", "scopes": ["read", "exec"]})
    program = Api(people.server.url, headers={"Authorization": f"Bearer {token['token']}"})
    assert (await program.request("GET", SECRETS)).status_code == 403
    await program.close()
    # A terminal that has them is typed in by nobody else.
    terminals = f"{people.root}/terminals"
    terminal = await editor.post(terminals, json={"command": ["cat"], "secrets": ["MINE"]})
    assert terminal["typing"] == "owner"
    await editor.delete(f"{terminals}/{terminal['id']}")
    for role in ("owner", "viewer"):
        asked = {"command": ["env"], "secrets": ["MINE"]}
        refused = await people[role].request("POST", terminals, json=asked)
        assert refused.status_code == 403
    await editor.delete(f"{SECRETS}/{made['id']}")


@pytest.fixture
async def defined(people: People) -> dict[str, str]:
    owner = people["owner"]
    await owner.write(people.workspace, "cloudide.toml", TASKS)
    ids: dict[str, str] = {}
    for name, value in (("DEPLOY_TOKEN", VALUE), ("KUBECONFIG", FILE_VALUE)):
        readers = [{"workspace": "", "tasks": ["deploy"]}]
        body = {"name": name, "value": value, "workspace": people.workspace, "readers": readers}
        ids[name] = (await owner.post(SECRETS, json=body))["id"]
    return ids


async def test_a_task_has_what_names_it_and_its_output_does_not(
    people: People, defined: dict[str, str]
) -> None:
    owner, editor = people["owner"], people["terminal"]
    run = await finished(editor, people.root, "deploy")
    output = (await owner.request("GET", f"{people.root}/task-runs/{run['id']}/output")).text
    assert run["state"] == "passed", (run, output)
    assert output.splitlines() == [
        "token=[secret DEPLOY_TOKEN]",
        "[secret DEPLOY_TOKEN]" + base64.b64encode(VALUE.encode()).decode()[-3:],
        "[secret DEPLOY_TOKEN]",
        str(len(VALUE)),
        "[secret KUBECONFIG]",
        "tmpfs",
        "600",
    ]
    refused = await finished(editor, people.root, "other")
    assert refused["state"] == "failed"
    assert "does not name the task 'other'" in refused["detail"]
    looked = await finished(editor, people.root, "look")
    output = (await owner.request("GET", f"{people.root}/task-runs/{looked['id']}/output")).text
    assert output.split() == ["gone", "0"]

    uses = (await owner.get(f"{SECRETS}/{defined['DEPLOY_TOKEN']}/uses"))["uses"]
    assert [(each["process"], each["user"]) for each in uses] == [
        ("task deploy", people.ids["terminal"])
    ]
    audit = (await people["admin"].get(f"/api/v1/audit?workspace={people.workspace}&limit=50"))[
        "records"
    ]
    accesses = [each for each in audit if each["detail"].get("process") == "task deploy"]
    assert {each["action"] for each in accesses} == {"secret.access"}
    assert {each["detail"]["name"] for each in accesses} == {"DEPLOY_TOKEN", "KUBECONFIG"}
    assert {each["user"] for each in accesses} == {people.ids["terminal"]}

    # Nowhere else is any of it: the engine, the server's log and data, the audit log.
    client = docker.from_env()
    try:
        containers = client.containers.list(filters={"name": people.workspace})
        assert containers
        inspected = json.dumps([each.attrs for each in containers])
        logged = b"".join(each.logs() for each in containers)
    finally:
        client.close()
    server = people.server
    kept = [file.read_bytes() for file in server.data_dir.rglob("*") if file.is_file()]
    for needle in ("canary-", base64.b64encode(VALUE.encode()).decode()[:20]):
        assert needle not in inspected
        assert needle.encode() not in logged
        assert needle not in server.log.read_text()
        assert needle not in json.dumps(audit)
        assert not any(needle.encode() in content for content in kept)


async def test_programs_ask_too(people: People) -> None:
    owner = people["owner"]
    readers = [{"workspace": "", "programs": True}]
    body = {"name": "FOR_EXEC", "value": VALUE, "workspace": people.workspace, "readers": readers}
    await owner.post(SECRETS, json=body)
    start = {
        "type": "start",
        "argv": ["sh", "-c", 'cat "$FOR_EXEC_FILE"'],
        "secrets": ["file:FOR_EXEC"],
    }
    async with owner.socket(f"{people.root}/exec") as socket:
        await socket.send(json.dumps(start))
        printed = b""
        while isinstance(frame := await socket.recv(), bytes):
            printed += frame[1:]
    assert printed.decode() == VALUE
    assert json.loads(frame) == {"type": "exit", "code": 0}
