"""A Git daemon on another host, which is a network namespace."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ADDRESS, GATEWAY = "10.215.77.2", "10.215.77.1"
IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")


async def run(*command: str, cwd: Path | None = None) -> None:
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd)
    assert await process.wait() == 0, command


async def repository(folder: Path) -> Path:
    """A folder with `demo.git`: the tag v1 has a.txt as "one", the branch after it as "two"."""
    bare, work = folder / "demo.git", folder / "work"
    await run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    await run("git", "clone", "--quiet", str(bare), str(work))
    for text in ("one", "two"):
        (work / "a.txt").write_text(f"{text}\n")
        await run("git", "add", "a.txt", cwd=work)
        await run("git", *IDENTITY, "commit", "--quiet", "--message", text, cwd=work)
        if text == "one":
            await run("git", "tag", "v1", cwd=work)
    await run("git", "push", "--quiet", "--tags", "origin", "HEAD:main", cwd=work)
    return folder


@asynccontextmanager
async def host(name: str) -> AsyncIterator[str]:
    """A network namespace with one address, as another machine would have; yields its name."""
    link = f"v{name}"
    await run("ip", "netns", "add", name)
    try:
        await run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        await run("ip", "address", "add", f"{GATEWAY}/24", "dev", link)
        await run("ip", "link", "set", link, "up")
        await run("ip", "-n", name, "address", "add", f"{ADDRESS}/24", "dev", "eth0")
        await run("ip", "-n", name, "link", "set", "eth0", "up")
        await run("ip", "-n", name, "route", "add", "default", "via", GATEWAY)
        yield name
    finally:
        await run("ip", "netns", "delete", name)  # the link goes with it


@asynccontextmanager
async def git_daemon(repository: Path) -> AsyncIterator[str]:
    """Serve the repositories of a folder; yields the address of `demo.git` there."""
    async with host(f"git{secrets.token_hex(3)}") as name:
        daemon = await asyncio.create_subprocess_exec(
            *("nsenter", f"--net=/run/netns/{name}"),
            *("git", "daemon", "--verbose", "--export-all", f"--base-path={repository}"),
            stderr=asyncio.subprocess.PIPE,
        )
        assert daemon.stderr is not None
        try:
            async with asyncio.timeout(10):
                while b"Ready" not in await daemon.stderr.readline():
                    assert daemon.returncode is None
            yield f"git://{ADDRESS}/demo.git"
        finally:
            daemon.terminate()
            # It may write more than a pipe holds; what is left is read to the end.
            await daemon.communicate()
