"""Commands for the whole interface, against a real server."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cli.running import Ran, run
from server import ADMIN_TOKEN, Server

from cloudide.cli.output import Format, Output


@pytest.fixture(scope="module")
async def workspace(server: Server) -> AsyncIterator[str]:
    made = await cloudide(server, "workspace", "create", "commands", "-o", "json")
    assert made.code == 0, made.errors
    yield json.loads(made.output)["id"]
    gone = await cloudide(server, "workspace", "delete", "commands", "--yes")
    assert gone.output == "commands is deleted.\n"


async def cloudide(server: Server, *arguments: str, input: bytes = b"") -> Ran:
    environment = {"CLOUDIDE_URL": server.url, "CLOUDIDE_TOKEN": ADMIN_TOKEN}
    return await run(*arguments, input=input, environment=environment)


async def test_the_life_of_a_workspace(server: Server, workspace: str) -> None:
    listed = await cloudide(server, "workspace", "list")
    head, *rows = listed.output.splitlines()
    assert head.split()[:4] == ["NAME", "ID", "STATE", "IMAGE"]
    assert ["commands", workspace, "running", "base"] in [row.split()[:4] for row in rows]
    for operation, state in (("restart", "running"), ("stop", "stopped"), ("start", "running")):
        done = await cloudide(server, "workspace", operation, "commands", "-o", "json")
        assert json.loads(done.output)["state"] == state
    refused = await cloudide(server, "workspace", "delete", "commands", input=b"n\n")
    assert refused.code == 1
    shown = await cloudide(server, "workspace", "show", workspace, "-o", "json")
    assert json.loads(shown.output)["state"] == "running"
    wrong = await cloudide(server, "workspace", "create", "x", "--image", "missing")
    assert (wrong.code, "cloudide: " in wrong.errors, wrong.output) == (1, True, "")


async def test_files_go_there_and_back(server: Server, workspace: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    (tmp_path / "data.bin").write_bytes(content)
    put = await cloudide(server, "file", "put", workspace, str(tmp_path / "data.bin"), "in/")
    assert (put.code, put.output) == (0, "in/data.bin is written.\n"), put.errors
    await cloudide(server, "file", "put", workspace, "-", "in/ä b.txt", input=b"piped")
    listed = await cloudide(server, "file", "ls", workspace, "in")
    assert [row.split()[-1] for row in listed.output.splitlines()[1:]] == ["in/data.bin", "b.txt"]
    got = await cloudide(server, "file", "get", workspace, "in/data.bin", str(tmp_path / "back"))
    assert (got.code, (tmp_path / "back").read_bytes()) == (0, content)
    piped = await cloudide(server, "file", "get", workspace, "in/ä b.txt", "-")
    assert piped.output == "piped"
    missing = await cloudide(server, "file", "get", workspace, "none", str(tmp_path / "none"))
    assert missing.code == 1
    assert sorted(os.listdir(tmp_path)) == ["back", "data.bin"]


async def test_people_ports_and_what_they_did(server: Server, workspace: str) -> None:
    for command in (
        ("user", "list"),
        ("image", "list"),
        ("port", "list", workspace),
        ("invite", "list", workspace),
        ("audit", "list", "--workspace", workspace),
    ):
        found = await cloudide(server, *command, "-o", "json")
        assert found.code == 0, (command, found.errors)
        assert isinstance(json.loads(found.output), list)
    shared = await cloudide(server, "port", "share", workspace, "3000", "members", "-o", "json")
    assert json.loads(shared.output)["visibility"] == "members"
    records = await cloudide(server, "audit", "list", "--workspace", "commands", "--limit", "1")
    assert "port.share" in records.output
    nobody = await cloudide(server, "user", "change", "nobody", "--admin")
    assert (nobody.code, "Nobody here is 'nobody'" in nobody.errors) == (1, True)
    nothing = await cloudide(server, "user", "change", "nobody")
    assert "Say what to change" in nothing.errors


async def test_secrets_and_webhooks(server: Server, workspace: str) -> None:
    of = ("--workspace", "commands")
    for version in (1, 2):
        kept = await cloudide(server, "secret", "set", "KEY", *of, input=b"canary-5150\n")
        assert kept.output == f"KEY has version {version} now.\n", kept.errors
    listed = await cloudide(server, "secret", "list", *of, "-o", "json")
    assert [each["latest"] for each in json.loads(listed.output)] == [2]
    assert "canary" not in listed.output
    assert (await cloudide(server, "secret", "uses", "KEY", *of)).output.split()[0] == "WORKSPACE"
    gone = await cloudide(server, "secret", "delete", "KEY", *of, "--yes")
    assert gone.output == "KEY is deleted.\n"
    again = await cloudide(server, "secret", "delete", "KEY", *of, "--yes")
    assert (again.code, "no secret 'KEY'" in again.errors) == (1, True)
    url = "https://hooks.example.org/cloudide"
    made = await cloudide(server, "webhook", "create", url, *of, "-o", "json")
    id = json.loads(made.output)["id"]
    listed = await cloudide(server, "webhook", "list", *of)
    assert url in listed.output
    assert "STATE" in (await cloudide(server, "webhook", "deliveries", id)).output
    assert (await cloudide(server, "webhook", "delete", id, "-y")).code == 0


async def test_teams(server: Server) -> None:
    made = await cloudide(server, "team", "create", "Engines", "-o", "json")
    assert made.code == 0, made.errors
    listed = await cloudide(server, "team", "list")
    assert "Engines" in [line.split()[0] for line in listed.output.splitlines()]
    members = await cloudide(server, "team", "members", "Engines", "-o", "json")
    [owner] = json.loads(members.output)
    assert owner["role"] == "owner"
    last = await cloudide(server, "team", "appoint", "Engines", owner["name"], "member")
    assert (last.code, last.output) == (1, "")  # it would have no owner
    assert (await cloudide(server, "team", "delete", "Engines", "--yes")).code == 0
    gone = await cloudide(server, "team", "members", "Engines")
    assert (gone.code, "no team 'Engines'" in gone.errors) == (1, True)


async def test_a_server_that_is_not_there_is_one_clear_sentence() -> None:
    for url, says in (("http://127.0.0.1:1", "cannot be reached"), ("ftp://x", "is not the addr")):
        found = await run("workspace", "list", "--url", url, "--token", "x")
        assert (found.code, says in found.errors) == (1, True), found
        assert "Traceback" not in found.errors


async def test_shells_complete_commands() -> None:
    asked = {"_CLOUDIDE_COMPLETE": "complete_bash", "COMP_WORDS": "cloudide wo", "COMP_CWORD": "1"}
    assert (await run(environment=asked)).output.split() == ["workspace"]


def test_a_table_is_aligned_and_says_nothing_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        {"name": "日本", "on": True, "at": None, "tags": ["a", "b"]},
        {"name": "\x1b[31mred\x07", "on": False, "at": "x", "tags": []},
    ]
    Output(Format.TABLE).rows(rows, "name", "on", "at", "tags")
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.startswith("NAME")
    assert first == "日本       yes  -   a,b"
    assert second == "\ufffd[31mred\ufffd  no   x   -"
    Output(Format.JSON).rows(rows, "name")
    assert json.loads(capsys.readouterr().out) == rows
