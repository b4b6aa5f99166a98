"""Promise 10: clients that never read cost the server little, are closed, and delay nobody."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
from peer import Peer
from record import record
from server import ADMIN_TOKEN
from uncontained import Uncontained, uncontained

WAIT_SECONDS = 60.0
GROWTH = 30 * 1024 * 1024  # bytes
CHUNK = 32 * 1024
ROUNDS = 60


async def silent(server: Uncontained, path: str) -> socket.socket:
    """A plain client that has joined, and reads nothing more."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", server.port))
    request = (
        f"GET {server.collab(path).removeprefix(server.url)} HTTP/1.1\r\n"
        f"Host: localhost:{server.port}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n"
    )
    await loop.sock_sendall(connection, request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await loop.sock_recv(connection, 1)
    assert b" 101 " in answer
    return connection


async def connections(server: Uncontained) -> int:
    metrics = (await server.api.request("GET", "/metrics")).text
    found = re.search(r"^cloudide_room_connections (\d+)", metrics, re.MULTILINE)
    assert found is not None
    return int(found[1])


async def until_there_are(count: int, server: Uncontained) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if await connections(server) == count:
                return
            await asyncio.sleep(0.05)  # the server tells it to whoever asks, and to nobody else


async def a_lot(writer: Peer, reader: Peer, memory: Callable[[], int]) -> int:
    """Change much of the text, again and again; returns the most memory it took."""
    most = 0
    for number in range(ROUNDS):
        writer.text.insert(0, chr(ord("a") + number % 26) * CHUNK)
        await writer.flush()
        await reader.until(lambda: str(reader) == str(writer))
        del writer.text[:CHUNK]
        await writer.flush()
        most = max(most, memory())
    await writer.append(f"[{most}]")
    await writer.saved()
    await reader.until(lambda: str(reader) == str(writer))
    return most


async def test_clients_that_never_read(tmp_path: Path, soak: Callable[[int, int], int]) -> None:
    count = soak(100, 100)
    async with uncontained(tmp_path, stall_limit=soak(10, 1), sockets_per_user=200) as server:
        (server.root / "a.txt").write_text("first\n")
        process = psutil.Process(server.pid)
        writer, reader = await server.joined("a.txt"), await server.joined("a.txt")
        await a_lot(writer, reader, lambda: process.memory_info().rss)  # warms up
        before = process.memory_info().rss
        sockets = [await silent(server, "a.txt") for _ in range(count)]
        await until_there_are(count + 2, server)
        most = await a_lot(writer, reader, lambda: process.memory_info().rss)
        await until_there_are(2, server)
        assert writer.close_code is None
        assert reader.close_code is None
        await writer.append("and on\n")
        await reader.until(lambda: str(reader) == str(writer))
        for connection in sockets:
            connection.close()
        for peer in (writer, reader):
            await peer.close()
    assert most - before <= GROWTH
    record(
        10,
        f"{count} clients that never read: {(most - before) / 1024 / 1024:.1f} MiB more memory, "
        "all closed; the others had every edit.",
    )
