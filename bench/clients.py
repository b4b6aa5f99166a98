"""The load client: a Node.js program on a core of its own, and what a server used meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from bench.contestants import Contestant
from bench.serving import BENCH, CLIENT_CORE, node

TIMEOUT = 180.0  # seconds for one run
OUTPUT_LIMIT = 256 * 1024 * 1024  # bytes of one line


class Usage(msgspec.Struct):
    """What a server used between the two marks of a run."""

    cpu: float  # seconds
    seconds: float
    grown: float  # MiB of resident memory

    @property
    def share(self) -> float:
        """Of one core."""
        return self.cpu / self.seconds


async def load(script: str, **arguments: Any) -> dict[str, Any]:
    """Run a load client; returns what it printed.

    Raises:
        RuntimeError: it failed, which it does when a document is not what was typed.
    """
    async with _client(script, arguments) as client:
        return json.loads(await _line(client, script))


async def load_and_watch(
    contestant: Contestant, script: str, **arguments: Any
) -> tuple[dict[str, Any], Usage]:
    """Run a load client that says `ready`, waits, and marks beginning and end of its measurement.

    Raises:
        RuntimeError: as `load`.
    """
    async with _client(script, arguments) as client:
        assert client.stdin is not None
        await _line(client, script, "ready")
        await contestant.joined()
        client.stdin.write(b"go\n")
        await _line(client, script, "mark")
        async with contestant.watched():
            before, began, resident = contestant.cpu(), time.monotonic(), contestant.resident()
            await _line(client, script, "mark")
            usage = Usage(
                contestant.cpu() - before,
                time.monotonic() - began,
                contestant.resident() - resident,
            )
        outcome = json.loads(await _line(client, script))
    return outcome, usage


async def _line(client: asyncio.subprocess.Process, script: str, word: str = "{") -> str:
    assert client.stdout is not None
    line = (await client.stdout.readline()).decode().strip()
    if not line.startswith(word):
        raise RuntimeError(line.removeprefix("failed: ") or f"{script} failed")
    return line


@asynccontextmanager
async def _client(
    script: str, arguments: dict[str, Any]
) -> AsyncIterator[asyncio.subprocess.Process]:
    client = await asyncio.create_subprocess_exec(
        *("taskset", "--cpu-list", str(CLIENT_CORE), node(), str(BENCH / script)),
        json.dumps(arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=OUTPUT_LIMIT,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            yield client
            if await client.wait():
                raise RuntimeError(f"{script} failed")
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
