"""The command line, as a person types it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from server import Api, Server, serving

from cloudide.settings import describe


async def cloudide(*arguments: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloudide", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server of its own: a new sign-in URL ends the former one."""
    async with serving(tmp_path / "data") as server:
        yield server


async def test_a_new_sign_in_url_works_while_the_server_runs(own_server: Server) -> None:
    server = own_server
    code, output = await cloudide(
        "user", "sign-in", "--data-dir", str(server.data_dir), "--public-url", server.url
    )
    assert code == 0
    found = re.search(re.escape(server.url) + r"/signin#token=(\S+)", output)
    assert found, output
    api = Api(server.url, headers={"Origin": server.url})
    try:
        answer = await api.post("/api/v1/session", json={"token": found[1], "name": "Owner"})
        assert answer["user"]["admin"]
        again = await api.request("POST", "/api/v1/session", json={"token": found[1]})
        assert again.status_code == 401
    finally:
        await api.close()


async def test_images_are_built_and_listed(server: Server) -> None:
    async with asyncio.timeout(300):  # the server builds them as well
        code, output = await cloudide("images", "build")
    assert (code, output.splitlines()[-1]) == (0, "All stock images are built.")
    code, output = await cloudide("images", "list")
    assert code == 0
    assert re.search(r"^base +built +Debian$", output, re.MULTILINE)
    assert "not built" not in output


async def test_no_engine_is_one_clear_sentence(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none.sock"
    code, output = await cloudide("images", "list", CLOUDIDE_DOCKER_HOST=host)
    assert code == 1
    assert "cloudide: The container engine does not answer." in output
    assert "Traceback" not in output


async def test_no_data_is_one_clear_sentence(tmp_path: Path) -> None:
    code, output = await cloudide("user", "sign-in", "--data-dir", str(tmp_path / "none"))
    assert code == 1
    assert output.strip().startswith("cloudide: No server has kept its data in")
    assert "Traceback" not in output


async def test_a_taken_address_is_one_clear_sentence(server: Server, tmp_path: Path) -> None:
    code, output = await cloudide(
        "serve", "--listen", f"127.0.0.1:{server.port}", "--data-dir", str(tmp_path)
    )
    assert code == 1
    assert f"Cannot listen on 127.0.0.1:{server.port}" in output
    assert "Traceback" not in output


async def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    code, output = await cloudide("serve", CLOUDIDE_WORKSPACE_CPUS="many")
    assert code == 1
    assert "workspace_cpus" in output


async def test_every_setting_is_listed() -> None:
    code, output = await cloudide("settings")
    assert code == 0
    for name, *_ in describe():
        assert f"CLOUDIDE_{name.upper()} " in output


async def test_the_log_is_checked_and_exported_beside_the_server(server: Server) -> None:
    folder = str(server.data_dir)
    code, output = await cloudide("audit", "verify", "--data-dir", folder)
    assert (code, output.startswith("The audit log is whole: ")) == (0, True)
    code, output = await cloudide("audit", "export", "--data-dir", folder)
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert lines[0]["action"] == "audit.begin"
    assert [each["seq"] for each in lines] == list(range(1, len(lines) + 1))
    code, output = await cloudide("audit", "verify", "--data-dir", f"{folder}/none")
    assert (code, "No server has kept an audit log" in output) == (1, True)
