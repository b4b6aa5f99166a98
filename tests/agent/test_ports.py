"""Listening ports and tunnels, with a real agent and real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import closing

import pytest
from linked import TIMEOUT, Linked

from cloudide.agents.tunnels import Connection
from cloudide.errors import AgentUnavailable, InvalidInput, NotFound
from cloudide.protocol.agent import CHUNK, Port


def listen(host: str = "127.0.0.1", family: int = socket.AF_INET) -> socket.socket:
    listening = socket.socket(family)
    listening.bind((host, 0))
    listening.listen()
    return listening


def number_of(listening: socket.socket) -> int:
    return listening.getsockname()[1]


async def heard(link: Linked, number: int, *, open: bool) -> Port | None:
    """Wait until the port is told as open, or as closed."""

    def found() -> Port | None:
        ports = link.heard.ports if link.heard.ports is not None else link.agent.hello.ports
        return next((port for port in ports if port.port == number), None)

    await link.heard.until(lambda _: (found() is not None) is open)
    return found()


@pytest.mark.parametrize(
    ("host", "everywhere"),
    [("127.0.0.1", False), ("0.0.0.0", True), ("::1", False), ("::", True)],  # noqa: S104
)
async def test_a_port_is_told_with_its_program_when_it_opens_and_when_it_closes(
    link: Linked, host: str, everywhere: bool
) -> None:
    with closing(listen(host, socket.AF_INET6 if ":" in host else socket.AF_INET)) as listening:
        number = number_of(listening)
        port = await heard(link, number, open=True)
        assert port is not None
        assert (port.any, port.pid) == (everywhere, os.getpid())
        assert sys.executable in port.command
    await heard(link, number, open=False)


async def test_what_listens_before_the_agent_connects_is_in_its_hello(link: Linked) -> None:
    with closing(listen()) as listening:
        await link.stop()
        await link.start()
        assert number_of(listening) in [port.port for port in link.agent.hello.ports]


async def test_an_address_that_a_tunnel_cannot_reach_is_not_told(link: Linked) -> None:
    with closing(listen("127.0.0.2")) as hidden, closing(listen()) as shown:
        await heard(link, number_of(shown), open=True)
        assert number_of(hidden) not in [port.port for port in link.heard.ports or []]


# ── tunnels ─────────────────────────────────────────────────────────────────────────────────────


async def tunnel(link: Linked, server: asyncio.Server) -> Connection:
    return Connection(await link.agent.tunnel(server.sockets[0].getsockname()[1]))


async def received(connection: Connection) -> bytes:
    """All bytes to the end that the other side said."""
    data = b""
    async with asyncio.timeout(TIMEOUT):
        while chunk := await connection.read():
            data += chunk
    return data


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_tunnel_can_be_closed_in_one_direction(link: Linked, host: str) -> None:
    async def reverse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read())[::-1])  # all of it: the other side has ended
        writer.close()

    async with await asyncio.start_server(reverse, host, 0) as server:
        connection = await tunnel(link, server)
        data = os.urandom(3 * CHUNK + 17)
        await connection.write(data)
        connection.write_eof()
        assert await received(connection) == data[::-1]


async def test_the_other_direction_stays_open_when_the_port_ends_first(link: Linked) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"first")
        writer.write_eof()
        got.set_result(await reader.read())
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        connection = await tunnel(link, server)
        assert await received(connection) == b"first"
        await connection.write(b"afterwards")
        connection.write_eof()
        assert await asyncio.wait_for(got, TIMEOUT) == b"afterwards"


async def test_a_connection_that_breaks_is_no_end(link: Linked) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        connection = await tunnel(link, server)
        await connection.write(b"x")
        with pytest.raises(AgentUnavailable):
            await received(connection)


async def test_a_reader_that_stops_holds_the_program_back(link: Linked) -> None:
    written = 0
    full = asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.transport.set_write_buffer_limits(0)
        while True:
            writer.write(b"x" * CHUNK)
            written += CHUNK
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                full.set()
                break
        await reader.read()
        writer.transport.abort()

    async with await asyncio.start_server(pour, "127.0.0.1", 0) as server:
        connection = await tunnel(link, server)
        async with asyncio.timeout(TIMEOUT):
            await full.wait()
        assert written < 64 * 1024 * 1024
        connection.close()


async def test_a_port_where_nothing_listens(link: Linked) -> None:
    with closing(listen()) as listening:
        number = number_of(listening)
    with pytest.raises(NotFound, match=f"Nothing listens on port {number}"):
        await link.agent.tunnel(number)


@pytest.mark.parametrize("number", [0, -1, 65536, 10**12])
async def test_a_number_that_is_no_port(link: Linked, number: int) -> None:
    with pytest.raises(InvalidInput):
        await link.agent.tunnel(number)
