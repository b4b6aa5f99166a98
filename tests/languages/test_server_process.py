"""A process behind its two sockets: what it has of them, and what it may do to us with them."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, cast

import pytest
from linked import TIMEOUT, Linked, linked

from cloudide.agents.streams import Stream
from cloudide.agents.tunnels import Tunnel
from cloudide.errors import AgentUnavailable, NotFound
from cloudide.languages import process
from cloudide.languages.process import ServerProcess, start
from cloudide.protocol.agent import Exit, Exited, ServerLog, ServerMemory
from cloudide.protocol.jsonrpc import HEADER_LIMIT, Framer, frame

# Tells what it has as standard input and output and which descriptors there are, then gives back
# each line that it gets as a message, which is not how a client speaks but how much it can say.
ECHO = """
import json, os, stat, sys
has = {
    "sockets": [stat.S_ISSOCK(os.fstat(number).st_mode) for number in (0, 1)],
    "blocking": [os.get_blocking(number) for number in (0, 1)],
    "inodes": [os.fstat(number).st_ino for number in (0, 1)],
    "descriptors": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
}
def say(body):
    sys.stdout.buffer.write(b"Content-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
    sys.stdout.buffer.flush()
say(json.dumps(has).encode())
while header := sys.stdin.buffer.readline():
    sys.stdin.buffer.readline()
    body = sys.stdin.buffer.read(int(header.split()[1]))
    if body == b"silence":
        os.close(1)
    else:
        say(body)
print("its input has ended", file=sys.stderr, flush=True)
"""


class Heard:
    """The events of a process, and a way to wait for them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.log = ""
        self.memory: list[int] = []
        self.drains = 0
        self._changed = asyncio.Event()

    def received(self, body: bytes) -> None:
        self.bodies.append(body)
        self._changed.set()

    def drained(self) -> None:
        self.drains += 1
        self._changed.set()

    def logged(self, text: str) -> None:
        self.log += text
        self._changed.set()

    def measured(self, memory: int) -> None:
        self.memory.append(memory)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Told:
    """In the place of the stream: what the agent says of the process."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = False

    async def recv(self) -> Any:
        if isinstance(message := await self.messages.get(), Exception):
            raise message
        return message

    async def close(self) -> None:
        self.closed = True


class Strange:
    """A process that does what a test wants, by the other ends of its sockets."""

    def __init__(self, told: Told, tunnels: list[Tunnel], ends: list[socket.socket]) -> None:
        self.heard = Heard()
        self.told = told
        self.stdin, self.stdout = ends
        stdin, stdout = tunnels
        self.process = ServerProcess(cast(Stream, told), stdin, stdout, self.heard, 2**30)
        self.running = asyncio.create_task(self.process.run())

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.stdout, data)

    async def ended(self) -> str:
        async with asyncio.timeout(TIMEOUT):
            return await self.running


@pytest.fixture
async def strange() -> AsyncIterator[Strange]:
    loop = asyncio.get_running_loop()
    tunnels: list[Tunnel] = []
    ends: list[socket.socket] = []
    for _ in range(2):
        came: asyncio.Future[Tunnel] = loop.create_future()

        def accept(tunnel: Tunnel, greeting: bytes, came: asyncio.Future[Tunnel] = came) -> bool:
            came.set_result(tunnel)
            return True

        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        await loop.connect_accepted_socket(
            lambda accept=accept: Tunnel(accept, lambda change: True, TIMEOUT), ours
        )
        await loop.sock_sendall(theirs, b"greeting\n")
        tunnels.append(await came)
        ends.append(theirs)
    strange = Strange(Told(), tunnels, ends)
    yield strange
    strange.running.cancel()
    await asyncio.gather(strange.running, return_exceptions=True)
    assert strange.told.closed
    for end in ends:
        end.close()


@pytest.fixture(scope="module")
async def linked_once(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Linked]:
    async with linked(tmp_path_factory.mktemp("process")) as link:
        yield link


async def test_a_process_has_a_blocking_socket_for_each_and_nothing_more(
    linked_once: Linked,
) -> None:
    heard = Heard()
    command = [sys.executable, "-c", ECHO]
    running = await start(linked_once.agent, command, {}, 2**30, heard)
    living = asyncio.create_task(running.run())
    await heard.until(lambda: bool(heard.bodies))
    has = json.loads(heard.bodies.pop())
    assert has["sockets"] == [True, True]
    assert has["blocking"] == [True, True]
    # Node makes its output blocking and its input not: were they one, both would be the same.
    assert has["inodes"][0] != has["inodes"][1]
    assert has["descriptors"] == [0, 1, 2]
    # Much more than the kernel keeps goes both ways at one time, in order and whole.
    bodies = [b"%d" % number * 40_000 for number in range(100)]
    for body in bodies:
        running.send(body)
    await heard.until(lambda: len(heard.bodies) == len(bodies))
    assert heard.bodies == bodies
    assert heard.memory
    running.kill("That is enough.")
    assert await living == "That is enough."
    # It is killed, and does not merely find its input at an end.
    assert "its input has ended" not in heard.log


async def test_a_process_that_closes_its_output_is_of_no_use(
    linked_once: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "CLOSED_SECONDS", 0.01)
    heard = Heard()
    running = await start(linked_once.agent, [sys.executable, "-c", ECHO], {}, 2**30, heard)
    running.send(b"silence")
    async with asyncio.timeout(TIMEOUT):
        assert await running.run() == "It closed its output."


async def test_what_cannot_be_started_leaves_no_tunnels(linked_once: Linked) -> None:
    with pytest.raises(NotFound):
        await start(linked_once.agent, ["no-such-program"], {}, 2**30, Heard())
    rendezvous = linked_once.agent.rendezvous
    await asyncio.sleep(0)  # what is no longer expected is forgotten in the next turn
    assert rendezvous.waiting == 0
    assert all(tunnel.stale for tunnel in rendezvous._tunnels)


async def test_last_words_come_before_the_end(strange: Strange) -> None:
    strange.told.messages.put_nowait(Exited(Exit(code=3)))
    await asyncio.sleep(0)
    await strange.write(frame(b"last ") + frame(b"words"))
    strange.stdout.close()
    assert await strange.ended() == "It ended with code 3."
    assert strange.heard.bodies == [b"last ", b"words"]


async def test_who_leaves_the_output_open_holds_nothing_up(
    strange: Strange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LAST_SECONDS", 0.01)
    strange.told.messages.put_nowait(Exited(Exit(signal=9)))
    assert await strange.ended() == "It was ended by signal 9."


@pytest.mark.parametrize(
    "garbage",
    [
        b"X" * (HEADER_LIMIT + 1),
        b"Content-Length: %d\r\n\r\n" % (process.MESSAGE_LIMIT + 1),
        b"Content-Length: -1\r\n\r\n",
        b"Traceback (most recent call last):\r\n\r\n",
    ],
    ids=["endless header", "too long", "negative", "no header"],
)
async def test_garbage_ends_it(strange: Strange, garbage: bytes) -> None:
    await strange.write(frame(b"good"))
    await strange.heard.until(lambda: bool(strange.heard.bodies))
    await strange.write(garbage + frame(b"bad"))
    assert "It wrote what is no message" in await strange.ended()
    assert strange.heard.bodies == [b"good"]


async def test_who_takes_nothing_is_given_no_more_and_then_given_up(
    strange: Strange, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"x" * 100_000
    sent = 0
    while not strange.process.full:
        strange.process.send(body)
        sent += 1
        await asyncio.sleep(0)
    assert sent * len(body) < process.FULL + 2**20  # the kernel keeps some as well
    # It takes all of it after all.
    framer = Framer(len(body))
    taken: list[bytes] = []
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(TIMEOUT):
        while len(taken) < sent:
            taken += framer.feed(await loop.sock_recv(strange.stdin, 2**18))
    assert taken == [body] * sent
    await strange.heard.until(lambda: strange.heard.drains == 1)
    assert not strange.process.full
    monkeypatch.setattr(process, "QUEUE_LIMIT", 2 * process.FULL)
    for _ in range(2 * sent):
        strange.process.send(body)
    assert await strange.ended() == "It did not read what it was told."
    strange.process.send(body)  # the multiplexer may not know yet


async def test_nothing_is_read_from_its_input(strange: Strange) -> None:
    size = 0
    with suppress(BlockingIOError):
        while size < 64 * 2**20:
            size += strange.stdin.send(b"x" * 65536)
            await asyncio.sleep(0)
    assert size < 2 * 2**20
    strange.process.send(b"still told")
    async with asyncio.timeout(TIMEOUT):
        assert await asyncio.get_running_loop().sock_recv(strange.stdin, 999) == frame(
            b"still told"
        )


async def test_the_end_of_the_link_is_its_end(strange: Strange) -> None:
    strange.told.messages.put_nowait(ServerLog("hello"))
    strange.told.messages.put_nowait(ServerMemory(5))
    strange.told.messages.put_nowait(AgentUnavailable())
    with pytest.raises(AgentUnavailable):
        await strange.ended()
    assert (strange.heard.log, strange.heard.memory) == ("hello", [5])
