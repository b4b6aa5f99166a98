"""Link → first passing test of a real project: with a prebuild, against a fresh clone and install.

The project is Flask, as published, in a repository on another host (a network namespace). Both ways
end when its basic tests have passed in the workspace.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tarfile
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from git_daemon import IDENTITY, git_daemon, run
from server import Server

from bench.figures import Report, Series
from bench.serving import cloudide

RUNS = 2
TIMEOUT = 240.0  # seconds
PROJECT = "flask==3.1.2"
IMAGE = "python"
TEST = ["/workspace/.venv/bin/python", "-m", "pytest", "-q", "-x", "/workspace/tests/test_basic.py"]


async def measure(options: Namespace) -> list[Report]:
    prepared = Series("with a prebuild", [[]])
    fresh = Series("fresh clone and install", [[]])
    runs = 1 if options.quick else RUNS
    with tempfile.TemporaryDirectory(prefix="cloudide-bench-") as folder:
        await _repository(Path(folder))
        async with git_daemon(Path(folder)) as url, cloudide() as server:
            for _ in range(runs):
                fresh.rounds[0].append(await _fresh(server, url))
            body = {"image": IMAGE, "git": {"url": url}}
            prebuild = await server.api.post("/api/v1/prebuilds", json=body)
            path = f"/api/v1/prebuilds/{prebuild['id']}"
            async with asyncio.timeout(TIMEOUT):
                # A prebuild is nobody's, so that nobody is told of it.
                while (state := await server.api.get(path))["state"] != "ready":
                    assert state["state"] != "failed", state["error"]
                    await asyncio.sleep(0.5)
            for _ in range(runs):
                prepared.rounds[0].append(await _prepared(server, url))
            await server.api.delete(path)
            # The server removes what no prebuild refers to; it is given the time for that.
            await server.api.remove(await server.api.create("last", image=IMAGE))
    return [
        Report(
            "Link → first passing test",
            f"{PROJECT} with its test tools; image `{IMAGE}`; target: ten times as fast.",
            [prepared, fresh],
            target=fresh.percentile(50) / 10,
        )
    ]


async def _fresh(server: Server, url: str) -> float:
    began = time.perf_counter()
    workspace = await server.api.create("fresh", image=IMAGE, git={"url": url})
    await _expect(server, workspace, ["sh", "-c", "cd /workspace && sh setup.sh"])
    return await _tested(server, workspace, began)


async def _prepared(server: Server, url: str) -> float:
    began = time.perf_counter()
    workspace = await server.api.create("prepared", image=IMAGE, git={"url": url})
    return await _tested(server, workspace, began)


async def _tested(server: Server, workspace: str, began: float) -> float:
    await _expect(server, workspace, TEST)
    milliseconds = (time.perf_counter() - began) * 1000
    await server.api.remove(workspace)
    return milliseconds


async def _expect(server: Server, workspace: str, command: list[str]) -> None:
    exit, output = await server.api.run(workspace, *command)
    assert exit == {"code": 0}, output[-2000:]


async def _repository(folder: Path) -> None:
    """`demo.git`: the project's sources, and how they are set up."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    await run(*pip, "--dest", str(folder), PROJECT)
    [archive] = folder.glob("*.tar.gz")  # noqa: ASYNC240
    work = folder / "work"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (folder / archive.name.removesuffix(".tar.gz")).rename(work)
    index = os.environ.get("PIP_INDEX_URL", "")
    option = f"--index-url '{index}'" if index else ""
    setup = f"python3 -m venv .venv && .venv/bin/pip install -q {option} -e . 'pytest<9'\n"
    (work / "setup.sh").write_text(setup)
    (work / "cloudide.toml").write_text('[prebuild]\ncommand = "sh setup.sh"\n')
    await run("git", "init", "--quiet", "--initial-branch=main", cwd=work)
    await run("git", "add", "--all", cwd=work)
    await run("git", *IDENTITY, "commit", "--quiet", "--message", PROJECT, cwd=work)
    await run("git", "clone", "--quiet", "--bare", str(work), str(folder / "demo.git"))
