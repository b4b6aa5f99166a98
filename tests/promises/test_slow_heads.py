"""Promise 11: connections that never say what they want are closed, and delay nobody."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from record import record
from uncontained import Uncontained, uncontained

WAIT_SECONDS = 60.0
DESCRIPTORS = 8192


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """For this process, and the server that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(DESCRIPTORS, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def slow(server: Uncontained, pause: float) -> tuple[bytes, float]:
    """Send a head that never ends; returns what was answered, and after how many seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    began = time.monotonic()
    writer.write(f"GET / HTTP/1.1\r\nHost: localhost:{server.port}\r\nX-Slow: ".encode())
    reading = asyncio.create_task(reader.read())
    while not reading.done():
        writer.write(b"x")
        await asyncio.wait([reading], timeout=pause)
    writer.transport.abort()
    return await reading, time.monotonic() - began


async def silent(server: Uncontained) -> tuple[bytes, float]:
    """Connect, and say nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    began = time.monotonic()
    answer = await reader.read()
    writer.transport.abort()
    return answer, time.monotonic() - began


@pytest.mark.usefixtures("many_descriptors")
async def test_connections_that_never_ask(tmp_path: Path, soak: Callable[[int, int], int]) -> None:
    slows, silents, timeout = soak(1000, 100), soak(200, 20), soak(10, 1)
    async with uncontained(tmp_path, head_timeout=timeout) as server:
        async with asyncio.timeout(WAIT_SECONDS), asyncio.TaskGroup() as group:
            tasks = [group.create_task(slow(server, timeout / 10)) for _ in range(slows)]
            tasks += [group.create_task(silent(server)) for _ in range(silents)]
            await asyncio.wait(tasks, timeout=timeout / 2)
            assert (await server.api.request("GET", "/healthz")).status_code == 200
        answers = [task.result() for task in tasks]
    assert {answer[:12] for answer, _ in answers} == {b"HTTP/1.1 408"}
    longest = max(seconds for _, seconds in answers)
    if soak(1, 0):
        assert longest < timeout + 1
    record(
        11,
        f"{slows:,} connections with a head that never ends and {silents} silent ones: all closed "
        f"within {longest:.1f} s.",
    )


async def test_large_heads_and_later_ones(tmp_path: Path) -> None:
    async with uncontained(tmp_path, head_timeout=1) as server:
        line = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        endless = line + b"X-Large: " + b"x" * 200_000
        many = line + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 90) for n in range(1000)) + b"\r\n"
        for head in (endless, many):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(head)
            answer = b""
            async with asyncio.timeout(WAIT_SECONDS):
                with suppress(ConnectionResetError):  # the rest was not even read
                    while chunk := await reader.read(1000):
                        answer += chunk
            assert answer[9:12] in (b"", b"400", b"431")
            writer.transport.abort()
        # A body is no head, however much of it comes at once.
        body = b'{"token":"' + b"x" * 40_000 + b'"}'
        answer = await server.api.request("POST", "/api/v1/session", content=body)
        assert answer.status_code == 401
        # A connection that is used again is given the time anew.
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        ask = f"GET /healthz HTTP/1.1\r\nHost: localhost:{server.port}\r\n".encode()
        async with asyncio.timeout(WAIT_SECONDS):
            for _ in range(3):
                writer.write(ask + b"\r\n")
                assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
            writer.write(ask)  # and no end of it
            assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.transport.abort()
