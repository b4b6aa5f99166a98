"""Tunnels of hostile agents, over real sockets: greetings, ends, and what comes between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from linked import TIMEOUT
from websockets.asyncio.client import ClientConnection, unix_connect

from cloudide.agents import Agent, Agents, hub
from cloudide.agents.tunnels import Connection
from cloudide.errors import AgentUnavailable
from cloudide.protocol.agent import (
    GREETING_LIMIT,
    PROTOCOL_VERSION,
    Call,
    Done,
    Hello,
    Reply,
    Tunnel,
    greeting,
)

encode = msgspec.msgpack.Encoder().encode
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Impostor:
    """An agent that is asked for tunnels and brings what a test wants."""

    def __init__(self, link: Path, control: ClientConnection, agent: Agent) -> None:
        self.link = link
        self.control = control
        self.agent = agent
        self.token = (link / "token").read_text()
        self.dialled: list[Streams] = []

    async def dial(self, *, limit: int = 65536) -> Streams:
        streams = await asyncio.open_unix_connection(str(self.link / "tunnel.sock"), limit=limit)
        self.dialled.append(streams)
        return streams

    async def asked(self) -> str:
        """Wait for the server to ask for a tunnel, and say yes; the id of its stream."""
        call = msgspec.msgpack.decode(await self.control.recv(decode=False), type=Call)
        assert isinstance(call.request, Tunnel)
        await self.control.send(encode(Reply(call.id, result=msgspec.Raw(encode(Done())))))
        return call.request.stream

    async def tunnel(self, more: bytes = b"") -> tuple[Connection, Streams]:
        """A tunnel as both sides see it; `more` comes right behind its greeting."""
        asking = asyncio.create_task(self.agent.tunnel(80))
        reader, writer = await self.dial()
        writer.write(greeting(self.token, await self.asked()) + more)
        async with asyncio.timeout(TIMEOUT):
            return Connection(await asking), (reader, writer)


@pytest.fixture
async def impostor(agents: Agents) -> AsyncIterator[Impostor]:
    link = await agents.listen("one")
    token = (link / "token").read_text()
    async with unix_connect(
        str(link / "agent.sock"),
        uri="ws://server/agent",
        additional_headers={"Authorization": f"Bearer {token}"},
        compression=None,
    ) as control:
        await control.send(encode(Hello(PROTOCOL_VERSION, "boot", "user", 1000)))
        impostor = Impostor(link, control, await agents.wait("one", TIMEOUT))
        yield impostor
        for _, writer in impostor.dialled:
            writer.transport.abort()


async def refused(streams: Streams) -> None:
    async with asyncio.timeout(TIMEOUT):
        try:
            assert await streams[0].read() == b""
        except ConnectionError:
            return


async def test_who_greets_otherwise_than_was_asked_is_cut_off(impostor: Impostor) -> None:
    asking = asyncio.create_task(impostor.agent.tunnel(80))
    stream = await impostor.asked()
    for wrong in (
        greeting("wrong", stream),
        greeting(impostor.token, "0" * 32),
        greeting(impostor.token, ""),
        greeting("", stream),
        b"\n",
        b"\xff\xfe\n",
        b"GET /agent HTTP/1.1\r\n\r\n",
        b"x" * (GREETING_LIMIT + 1) + b"\n",
    ):
        streams = await impostor.dial()
        streams[1].write(wrong)
        await refused(streams)
    # The right one is still waited for, and is for one time.
    streams = await impostor.dial()
    streams[1].write(greeting(impostor.token, stream))
    async with asyncio.timeout(TIMEOUT):
        connection = Connection(await asking)
    again = await impostor.dial()
    again[1].write(greeting(impostor.token, stream))
    await refused(again)
    connection.close()


async def test_who_does_not_greet_is_cut_off(
    impostor: Impostor, agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HELLO_TIMEOUT", 0.05)
    silent = await impostor.dial()
    slow = await impostor.dial()
    slow[1].write(impostor.token.encode())
    await refused(silent)
    await refused(slow)


async def test_sockets_without_a_greeting_are_counted(
    impostor: Impostor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "SOCKETS_LIMIT", 3)
    first, second, third = [await impostor.dial() for _ in range(3)]  # and the control socket
    await refused(third)
    first[1].transport.abort()
    second[1].transport.abort()


async def test_what_comes_right_behind_the_greeting_is_not_lost(impostor: Impostor) -> None:
    connection, (_, writer) = await impostor.tunnel(b"SSH-2.0-first\r\n")
    assert await connection.read() == b"SSH-2.0-first\r\n"
    writer.write(b"second")
    assert await connection.read() == b"second"
    connection.close()


async def test_an_agent_that_goes_is_no_end(impostor: Impostor) -> None:
    connection, (_, writer) = await impostor.tunnel(b"half of it")
    writer.transport.abort()
    assert await connection.read() == b"half of it"
    with pytest.raises(AgentUnavailable):
        await connection.read()
    with pytest.raises(AgentUnavailable):
        await connection.write(b"x")


async def test_an_end_leaves_the_other_direction_open(impostor: Impostor) -> None:
    connection, (reader, writer) = await impostor.tunnel(b"all of it")
    writer.write_eof()
    assert await connection.read() == b"all of it"
    assert await connection.read() == b""
    await connection.write(b"and an answer")
    connection.write_eof()
    async with asyncio.timeout(TIMEOUT):
        assert await reader.read() == b"and an answer"
    connection.close()


async def test_tunnels_end_with_the_link(impostor: Impostor) -> None:
    connection, _ = await impostor.tunnel()
    reading = asyncio.create_task(connection.read())
    await asyncio.sleep(0)
    await impostor.control.close()
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(AgentUnavailable):
            await reading
