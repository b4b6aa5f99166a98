"""`cloudide image` and `cloudide build`: from a folder to a version in use."""

from __future__ import annotations

import json
from pathlib import Path

from cli.running import Ran, run
from server import ADMIN_TOKEN, Server


async def cloudide(server: Server, *arguments: str) -> Ran:
    environment = {"CLOUDIDE_URL": server.url, "CLOUDIDE_TOKEN": ADMIN_TOKEN}
    return await run(*arguments, environment=environment)


async def test_from_a_folder_to_a_version_in_use(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM cloudide/base\nCOPY data /data\n")
    (tmp_path / "data").write_bytes(bytes(700))  # not a whole number of a tar's blocks
    made = await cloudide(server, "image", "create", "by-command", "--context", str(tmp_path))
    assert made.code == 0, made.errors
    built = await cloudide(server, "image", "build", "site/by-command")
    assert built.code == 0, built.errors
    assert "Line 2: COPY data /data" in built.output
    assert built.output.splitlines()[-1] == "Version 1 is built."
    promoted = await cloudide(server, "image", "promote", "by-command", "1")
    assert promoted.code == 0, promoted.errors
    versions = await cloudide(server, "image", "versions", "by-command", "-o", "json")
    assert [each["state"] for each in json.loads(versions.output)] == ["active"]
    builds = await cloudide(server, "build", "list", "by-command", "-o", "json")
    shown = await cloudide(server, "build", "show", json.loads(builds.output)[0]["id"])
    assert "COPY data /data" in shown.output
    (tmp_path / "Dockerfile").write_text("FROM cloudide/base\nCOPY missing /\n")
    await cloudide(server, "image", "upload", "by-command", str(tmp_path))
    failed = await cloudide(server, "image", "build", "by-command")
    assert (failed.code, "Line 2 (COPY missing /) failed" in failed.errors) == (1, True)
    gone = await cloudide(server, "image", "delete", "by-command", "--yes")
    assert gone.code == 0, gone.errors
