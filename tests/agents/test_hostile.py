"""Whatever a container sends, only its own link suffers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from linked import TIMEOUT, Recorder
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from cloudide.agents import Agent, Agents, hub
from cloudide.errors import AgentUnavailable, CloudIDEError
from cloudide.protocol.agent import (
    CONTROL_FRAME_LIMIT,
    PROTOCOL_VERSION,
    STREAM_FRAME_LIMIT,
    Call,
    Change,
    Done,
    Exit,
    Failure,
    FilesChanged,
    Hello,
    Reply,
    Terminals,
)

encode = msgspec.msgpack.Encoder().encode


class Impostor:
    """An agent that says what a test wants."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sockets: list[ClientConnection] = []

    async def dial(self, path: str = "/agent", token: str | None = None) -> ClientConnection:
        directory = os.open(self.directory, os.O_PATH)
        try:
            token = (self.directory / "token").read_text() if token is None else token
            connection = await unix_connect(
                f"/proc/self/fd/{directory}/agent.sock",
                uri=f"ws://server{path}",
                additional_headers={"Authorization": f"Bearer {token}"},
                compression=None,
                max_size=None,
                max_queue=None,  # so that a close is noticed although nothing is received
            )
        finally:
            os.close(directory)
        self.sockets.append(connection)
        return connection

    async def hello(self) -> ClientConnection:
        connection = await self.dial()
        await connection.send(encode(Hello(PROTOCOL_VERSION, "boot", "user", 1000)))
        return connection

    async def call(self, connection: ClientConnection) -> Call:
        return msgspec.msgpack.decode(await connection.recv(decode=False), type=Call)

    async def answer(self, connection: ClientConnection, result: object) -> Call:
        call = await self.call(connection)
        await connection.send(encode(Reply(call.id, result=msgspec.Raw(encode(result)))))
        return call


@pytest.fixture
async def impostor(agents: Agents) -> AsyncIterator[Impostor]:
    impostor = Impostor(await agents.listen("one"))
    yield impostor
    for connection in impostor.sockets:
        if connection.state is State.OPEN:
            await connection.close()


async def closed(connection: ClientConnection) -> None:
    async with asyncio.timeout(TIMEOUT):
        with suppress(ConnectionClosed):
            while True:
                await connection.recv()


@pytest.mark.parametrize("token", ["", "wrong", "\xe9"])
async def test_a_wrong_token_is_refused(impostor: Impostor, token: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await impostor.dial(token=token)
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize("path", ["/", "/streams/", "/streams/unknown", "/streams/../agent"])
async def test_unknown_paths_and_streams_are_refused(impostor: Impostor, path: str) -> None:
    await impostor.hello()
    with pytest.raises(InvalidStatus) as refused:
        await impostor.dial(path)
    assert refused.value.response.status_code == 404


HELLO = encode(Hello(PROTOCOL_VERSION, "boot", "user", 1000))
FRAMES: dict[str, bytes | str] = {
    "not msgpack": b"\xc1",
    "empty": b"",
    "text": "hello",
    "no type": encode({"id": 1}),
    "a second hello": HELLO,
    "an unknown type": encode({"type": "call", "id": 1}),
    "a reply to no call": encode(Reply(1, result=msgspec.Raw(encode(Done())))),
    "a reply to call -1": encode({"type": "reply", "id": -1}),
    "a wrong field": encode({"type": "files_changed", "changes": [{"path": 1, "kind": "added"}]}),
    "an unknown failure": encode(
        {"type": "reply", "id": 1, "error": {"code": "nonsense", "message": ""}}
    ),
    "nesting": b"\x91" * 100_000,
    "not UTF-8": encode({"type": "terminal_removed", "id": "abc"})[:-1] + b"\xdd",
    "a huge claimed array": encode({"type": "files_changed", "changes": 0})[:-1]
    + b"\xdd\xff\xff\xff\xff",
    "deep nesting": encode({"type": "hello", "extra": 0})[:-1] + b"\x91" * 100_000,
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
async def test_a_malformed_frame_closes_the_link(
    agents: Agents, heard: Recorder, impostor: Impostor, frame: bytes | str
) -> None:
    connection = await impostor.hello()
    await heard.until(lambda heard: len(heard.connections) == 1)
    await connection.send(frame)
    await closed(connection)
    assert connection.close_code == 1007
    await heard.until(lambda heard: heard.disconnections == 1)
    with pytest.raises(AgentUnavailable):
        agents.agent("one")
    await impostor.hello()
    await agents.wait("one", TIMEOUT)


@pytest.mark.parametrize("hello", [b"\xc1", encode({"type": "hello"}), encode(Done())])
async def test_a_malformed_hello_closes(heard: Recorder, impostor: Impostor, hello: bytes) -> None:
    connection = await impostor.dial()
    await connection.send(hello)
    await closed(connection)
    assert heard.connections == []


async def test_another_protocol_version_is_refused(heard: Recorder, impostor: Impostor) -> None:
    connection = await impostor.dial()
    await connection.send(encode(Hello(PROTOCOL_VERSION + 1, "boot", "user", 1000)))
    await closed(connection)
    assert connection.close_code == 1008
    assert heard.connections == []


async def test_a_frame_over_the_limit_closes_the_link(agents: Agents, impostor: Impostor) -> None:
    connection = await impostor.hello()
    await agents.wait("one", TIMEOUT)
    with suppress(ConnectionClosed):
        await connection.send(bytes(CONTROL_FRAME_LIMIT + 1))
    await closed(connection)
    assert connection.close_code == 1009


async def test_a_result_of_the_wrong_shape_closes_the_link(
    agents: Agents, impostor: Impostor
) -> None:
    connection = await impostor.hello()
    agent = await agents.wait("one", TIMEOUT)
    call = asyncio.create_task(agent.terminals())
    await impostor.answer(connection, {"terminals": 5})
    with pytest.raises(AgentUnavailable):
        await call
    await closed(connection)


async def test_answers_come_in_any_order_and_late_ones_are_ignored(
    agents: Agents, impostor: Impostor
) -> None:
    connection = await impostor.hello()
    agent = await agents.wait("one", TIMEOUT)
    tasks = [asyncio.create_task(agent.terminals()) for _ in range(3)]
    calls = [await impostor.call(connection) for _ in tasks]
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    for call in reversed(calls):
        result = msgspec.Raw(encode(Terminals([])))
        await connection.send(encode(Reply(call.id, result=result)))
    assert await tasks[1] == await tasks[2] == []
    # Twice the same answer: the second is late, too.
    await connection.send(encode(Reply(calls[1].id, result=msgspec.Raw(encode(Terminals([]))))))
    again = asyncio.create_task(agent.terminals())
    await impostor.answer(connection, Terminals([]))
    assert await again == []


async def test_texts_of_an_agent_are_made_printable(agents: Agents, impostor: Impostor) -> None:
    connection = await impostor.hello()
    agent = await agents.wait("one", TIMEOUT)
    task = asyncio.create_task(agent.terminals())
    call = await impostor.call(connection)
    failure = Failure("internal", "\x1b]0;evil\x07" + "x" * 10_000)
    await connection.send(encode(Reply(call.id, error=failure)))
    with pytest.raises(CloudIDEError) as error:
        await task
    assert error.value.message.isprintable()
    assert len(error.value.message) == 500


async def test_the_newest_control_socket_counts(
    agents: Agents, heard: Recorder, impostor: Impostor
) -> None:
    first = await impostor.hello()
    former = await agents.wait("one", TIMEOUT)
    call = asyncio.create_task(former.terminals())
    await impostor.call(first)
    second = await impostor.hello()
    await heard.until(lambda heard: len(heard.connections) == 2)
    with pytest.raises(AgentUnavailable):
        await call
    await closed(first)
    assert heard.disconnections == 1
    assert agents.agent("one") is heard.connections[1]
    await second.close()
    await heard.until(lambda heard: heard.disconnections == 2)


# ── streams ─────────────────────────────────────────────────────────────────────────────────────


async def opened(
    impostor: Impostor, control: ClientConnection, agent: Agent
) -> tuple[asyncio.Task, ClientConnection]:
    task = asyncio.create_task(agent.execute(["program"]))
    call = await impostor.call(control)
    stream = await impostor.dial(f"/streams/{call.request.stream}")  # type: ignore[union-attr]
    await control.send(encode(Reply(call.id, result=msgspec.Raw(encode(Done())))))
    return task, stream


BAD: dict[str, bytes | str] = {
    "not JSON": "nonsense",
    "an unknown type": '{"type": "unknown"}',
    "an unexpected type": '{"type": "done"}',
    "an empty frame": b"",
    "a frame over the limit": bytes(STREAM_FRAME_LIMIT + 1),
}


@pytest.mark.parametrize("frame", BAD.values(), ids=BAD.keys())
async def test_a_malformed_stream_fails_alone(
    agents: Agents, impostor: Impostor, frame: bytes | str
) -> None:
    control = await impostor.hello()
    agent = await agents.wait("one", TIMEOUT)
    task, stream = await opened(impostor, control, agent)
    with suppress(ConnectionClosed):
        await stream.send(frame)
    with pytest.raises(AgentUnavailable):
        await task
    await closed(stream)
    call = asyncio.create_task(agent.terminals())
    await impostor.answer(control, Terminals([]))
    assert await call == []


async def test_a_stream_can_be_taken_once(agents: Agents, impostor: Impostor) -> None:
    control = await impostor.hello()
    agent = await agents.wait("one", TIMEOUT)
    task, stream = await opened(impostor, control, agent)
    assert stream.request is not None
    with pytest.raises(InvalidStatus):
        await impostor.dial(stream.request.path)
    await stream.send('{"type": "exit", "exit": {"code": 1}}')
    assert await task == Exit(code=1)
    await closed(stream)


async def test_a_stream_ends_with_its_link(agents: Agents, impostor: Impostor) -> None:
    control = await impostor.hello()
    agent = await agents.wait("one", TIMEOUT)
    task, stream = await opened(impostor, control, agent)
    await control.close()
    with pytest.raises(AgentUnavailable):
        await task
    await closed(stream)


async def test_streams_that_never_come_are_bounded(agents: Agents, impostor: Impostor) -> None:
    await impostor.hello()
    agent = await agents.wait("one", TIMEOUT)
    tasks = [asyncio.create_task(agent.execute(["program"])) for _ in range(100)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(pending) == agent.rendezvous.limit
    for task in done:
        assert isinstance(task.exception(), AgentUnavailable)
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)
    assert not agent.rendezvous.waiting


async def test_sockets_are_bounded(
    impostor: Impostor, monkeypatch: pytest.MonkeyPatch, agents: Agents
) -> None:
    """Silent connections cannot use up the server's descriptors."""
    monkeypatch.setattr(hub, "SOCKETS_LIMIT", 10)
    path = str(impostor.directory / "agent.sock")
    sockets = []
    try:
        for _ in range(20):
            connection = socket.socket(socket.AF_UNIX)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, path)
            sockets.append(connection)
        ended = 0
        loop = asyncio.get_running_loop()
        reads = [asyncio.ensure_future(loop.sock_recv(each, 1)) for each in sockets]
        async with asyncio.timeout(TIMEOUT):
            while ended < 10:
                done, _ = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
                ended += len(done)
                reads = [read for read in reads if read not in done]
                for read in done:
                    with suppress(ConnectionResetError):
                        assert read.result() == b""
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
    finally:
        for connection in sockets:
            connection.close()


async def test_a_flood_of_events_is_slowed_down_and_others_are_served(
    agents: Agents, heard: Recorder, impostor: Impostor
) -> None:
    connection = await impostor.hello()
    agent = await agents.wait("one", TIMEOUT)
    frame = encode(FilesChanged([Change("a", "modified")]))
    flood = asyncio.create_task(_repeat(lambda: connection.send(frame)))
    await heard.until(lambda heard: len(heard.files) > 200)
    other = Impostor(await agents.listen("two"))
    second = await other.hello()
    call = asyncio.create_task((await agents.wait("two", TIMEOUT)).terminals())
    await other.answer(second, Terminals([]))
    assert await call == []
    assert len(heard.files) < 2000
    flood.cancel()
    await asyncio.wait([flood])
    await agent.close()
    await second.close()


async def _repeat(send: Callable[[], object]) -> None:
    with suppress(ConnectionClosed):
        while True:
            await send()  # type: ignore[misc]
            await asyncio.sleep(0)


async def test_a_listener_that_fails_costs_nobody_else(
    agents: Agents, heard: Recorder, impostor: Impostor
) -> None:
    class Faulty(hub.Listener):
        def connected(self, agent: Agent) -> None:
            raise RuntimeError

    agents.subscribe(Faulty())
    later = Recorder()
    forget = agents.subscribe(later)
    await impostor.hello()
    await later.until(lambda heard: len(heard.connections) == 1)
    assert len(heard.connections) == 1
    forget()
