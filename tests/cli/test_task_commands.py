"""`cloudide task`, as a person types it, against a real server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
from browsing import TIMEOUT, until_linked
from promises.uncontained import WORKSPACE, Uncontained, uncontained
from server import ADMIN_TOKEN

DEFINITIONS = """
[tasks.hello]
command = "echo hello; echo there; exit 3"
[tasks.killed]
command = "kill -9 $$"
[tasks.slow]
command = "echo up; sleep 1000"
[tasks.same]
command = "echo ran"
inputs = ["cloudide.toml"]
[tasks.after]
command = "true"
depends_on = ["hello"]
[tasks.missing]
command = ["no-such-program"]
[tasks.bad]
comand = "x"
"""


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Uncontained]:
    async with uncontained(tmp_path_factory.mktemp("cli")) as server:
        await until_linked(server)
        (server.root / "cloudide.toml").write_text(DEFINITIONS)
        yield server


async def started(site: Uncontained, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloudide", "task", *arguments),
        env={**os.environ, "CLOUDIDE_URL": site.url, "CLOUDIDE_TOKEN": ADMIN_TOKEN},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ran(site: Uncontained, *arguments: str) -> tuple[int | None, str, str]:
    process = await started(site, *arguments)
    async with asyncio.timeout(TIMEOUT):
        stdout, stderr = await process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()


async def test_output_and_exit_code_are_passed_on(site: Uncontained) -> None:
    assert await ran(site, "run", WORKSPACE, "hello") == (3, "hello\nthere\n", "")
    assert (await ran(site, "run", WORKSPACE, "killed"))[0] == 128 + signal.SIGKILL


async def test_skipped_passes_and_force_runs(site: Uncontained) -> None:
    assert await ran(site, "run", WORKSPACE, "same") == (0, "ran\n", "")
    code, stdout, stderr = await ran(site, "run", WORKSPACE, "same")
    assert (code, stdout) == (0, "")
    assert "inputs have not changed" in stderr
    assert (await ran(site, "run", "--force", WORKSPACE, "same"))[:2] == (0, "ran\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("after", "'hello', which it depends on, failed"),
        ("missing", "'no-such-program' is not installed"),
        ("nothing", "no task 'nothing'"),
        ("bad", "no key 'comand'"),
    ],
)
async def test_what_does_not_run_says_why(site: Uncontained, name: str, message: str) -> None:
    code, stdout, stderr = await ran(site, "run", WORKSPACE, name)
    assert (code, stdout) == (1, "")
    assert message in stderr


async def test_an_interrupt_stops_the_task(site: Uncontained) -> None:
    process = await started(site, "run", WORKSPACE, "slow")
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT):
        assert await process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    code, stdout, _ = await ran(site, "list", WORKSPACE)
    assert code == 0
    assert next(line for line in stdout.splitlines() if line.startswith("slow")).split()[1] == (
        "stopped"
    )


async def test_the_list_tells_of_problems(site: Uncontained) -> None:
    code, stdout, stderr = await ran(site, "list", WORKSPACE)
    assert code == 0
    assert [line.split()[0] for line in stdout.splitlines()] == [
        *("hello", "killed", "slow", "same", "after", "missing"),
    ]
    assert "cloudide.toml:17: [tasks.bad]: There is no key 'comand'" in stderr
