"""One connected agent: calls over its control socket, and streams.

Everything that arrives is hostile input. A frame that is too large, does not decode, answers a call
that was never made or carries a result of the wrong shape closes the link; so does silence.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import msgspec
import structlog
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from cloudide.agents.failures import UNDECODABLE, error_of, printable
from cloudide.agents.streams import Download, Rendezvous, Stream
from cloudide.agents.tunnels import Tunnel
from cloudide.errors import AgentUnavailable, CloudIDEError, Unavailable
from cloudide.protocol import agent as protocol
from cloudide.protocol.agent import (
    AgentMessage,
    Call,
    CreateTerminal,
    Eof,
    Exit,
    Exited,
    Failed,
    FileContent,
    Hello,
    Reply,
    Stat,
    StreamMessage,
    TerminalInfo,
    Tree,
    UploadDone,
    Written,
)

CALL_TIMEOUT = 30.0  # seconds
OPEN_TIMEOUT = 10.0  # seconds for a stream to arrive
TRANSFER_TIMEOUT = 900.0  # seconds between the last byte sent and the outcome
PING_INTERVAL = 20.0  # seconds; a frozen container does not close its sockets
PING_TIMEOUT = 20.0
UNASKED_PER_SECOND = 100.0  # events and late answers; the agent itself coalesces to far fewer
UNASKED_BURST = 200.0
SAID_LIMIT = 2000  # bytes of what a program says of its failure
CALLS_LIMIT = 1000  # calls under way at one time
STREAMS_LIMIT = 64  # streams on their way at one time

_log = structlog.get_logger(__name__)
_encoder = msgspec.msgpack.Encoder()
_messages = msgspec.msgpack.Decoder(AgentMessage)
_results = {
    request: msgspec.msgpack.Decoder(result) for request, result in protocol.RESULTS.items()
}
Result = TypeVar("Result")
Event = (
    protocol.FilesChanged
    | protocol.TerminalChanged
    | protocol.TerminalRemoved
    | protocol.PortsChanged
    | protocol.Asked
    | protocol.Withdrawn
)


class Malformed(Exception):
    """The agent broke the protocol; the link is to be closed."""


class Agent:
    """The agent of one workspace, from its hello until its control socket closes.

    All methods raise the domain error that the agent's failure maps to, whose details carry the
    agent's `code`, or `AgentUnavailable` when the link drops or no answer comes in time. A call
    that ended so may or may not have been carried out.
    """

    def __init__(self, workspace_id: str, hello: Hello, socket: ServerConnection) -> None:
        self.workspace_id = workspace_id
        self.hello = hello
        self.rendezvous = Rendezvous(STREAMS_LIMIT)
        self._socket = socket
        self._calls: dict[int, tuple[asyncio.Future[Any], type[msgspec.Struct]]] = {}
        self._last_id = 0
        self._closed = False

    # ── calls ───────────────────────────────────────────────────────────────────────────────────

    async def call(self, request: protocol.Request, timeout: float = CALL_TIMEOUT) -> Any:
        """Make one call; returns the request's own result type (`protocol.agent.RESULTS`)."""
        if self._closed:
            raise AgentUnavailable
        if len(self._calls) >= CALLS_LIMIT:
            raise AgentUnavailable("The workspace is busy; try again shortly.")
        self._last_id += 1
        call_id = self._last_id
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[call_id] = future, type(request)
        try:
            async with asyncio.timeout(timeout):
                await self._socket.send(_encoder.encode(Call(call_id, request)))
                return await future
        except TimeoutError as error:
            raise AgentUnavailable("The workspace does not answer; try again shortly.") from error
        except ConnectionClosed as error:
            raise AgentUnavailable from error
        finally:
            self._calls.pop(call_id, None)
            if future.done() and not future.cancelled():
                future.exception()  # a failure that came while sending is not to be reported twice

    async def read(
        self, path: str, limit: int, *, known: str = "", swaps: bool = False
    ) -> FileContent:
        return await self.call(
            protocol.ReadFile(path, min(limit, protocol.CONTENT_LIMIT), known, swaps)
        )

    async def write(
        self,
        path: str,
        content: bytes,
        expected: str | None = None,
        *,
        parents: bool = False,
        mode: int = 0o644,
    ) -> Written:
        """Compare-and-swap; see `protocol.agent.WriteFile` for `expected` and what is displaced."""
        return await self.call(protocol.WriteFile(path, content, expected, parents, mode))

    async def release_swap(self, path: str, name: str) -> None:
        await self.call(protocol.ReleaseSwap(path, name))

    async def list(self, path: str = "", depth: int = 1, limit: int = 50_000) -> Tree:
        return await self.call(protocol.ListTree(path, depth, limit))

    async def stat(self, paths: Sequence[str]) -> Sequence[Stat | None]:
        """One item for each path, in order; None where nothing is."""
        result: protocol.Stats = await self.call(protocol.StatPaths([*paths]))
        if len(result.stats) != len(paths):
            await self.close(CloseCode.POLICY_VIOLATION)
            raise AgentUnavailable("The workspace's agent sent a malformed message.")
        return result.stats

    async def processes(self, limit: int) -> protocol.Processes:
        """The largest processes of the workspace, `limit` at most; commands are cut."""
        result: protocol.Processes = await self.call(protocol.ListProcesses(limit))
        if len(result.processes) > limit:
            await self.close(CloseCode.POLICY_VIOLATION)
            raise AgentUnavailable("The workspace's agent sent a malformed message.")
        return result

    async def make_directory(self, path: str) -> None:
        await self.call(protocol.MakeDirectory(path))

    async def move(self, source: str, target: str) -> None:
        await self.call(protocol.Move(source, target))

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        await self.call(protocol.Delete(path, recursive), timeout=10 * CALL_TIMEOUT)

    # ── terminals ───────────────────────────────────────────────────────────────────────────────

    async def create_terminal(self, request: CreateTerminal) -> TerminalInfo:
        return await self.call(request)

    async def terminals(self) -> Sequence[TerminalInfo]:
        result: protocol.Terminals = await self.call(protocol.ListTerminals())
        return result.terminals

    async def attach_terminal(self, terminal_id: str) -> Tunnel:
        """The connection of a terminal, as `protocol/output.py` has it; the caller closes it.

        A newer attachment ends the older one.
        """
        async with self._tunnels(1) as (ids, arrived):
            await self.call(protocol.AttachTerminal(terminal_id, ids[0]), OPEN_TIMEOUT)
            return (await arrived())[0]

    async def replay_terminal(self, terminal_id: str) -> None:
        """Have `replay`, the past and `ready` sent once more on the terminal's stream."""
        await self.call(protocol.ReplayTerminal(terminal_id))

    async def keep_record(self, terminal_id: str, record: str) -> None:
        await self.call(protocol.KeepRecord(terminal_id, record))

    async def resize_terminal(self, terminal_id: str, cols: int, rows: int) -> None:
        await self.call(protocol.ResizeTerminal(terminal_id, cols, rows))

    async def close_terminal(self, terminal_id: str) -> None:
        await self.call(protocol.CloseTerminal(terminal_id))

    # ── streams ─────────────────────────────────────────────────────────────────────────────────

    async def open(
        self, request_of: Callable[[str], protocol.Request], timeout: float = OPEN_TIMEOUT
    ) -> Stream:
        """Make the call that `request_of(stream id)` gives; returns the stream it leads to.

        The caller owns the stream and closes it.
        """
        stream_id = secrets.token_hex(16)
        arrival = self.rendezvous.expect(stream_id)
        stream: Stream | None = None
        try:
            reply = await self.call(request_of(stream_id), timeout)
            async with asyncio.timeout(timeout):
                stream = await arrival
            stream.reply = reply
            return stream
        except TimeoutError as error:
            raise AgentUnavailable("The workspace does not answer; try again shortly.") from error
        finally:
            if stream is None:
                if arrival.done() and not arrival.cancelled() and not arrival.exception():
                    await arrival.result().close()
                arrival.cancel()

    async def execute(
        self,
        argv: Sequence[str],
        *,
        cwd: str = "",
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
        on_output: Callable[[int, bytes], None] | None = None,
        timeout: float | None = None,
    ) -> Exit:
        """Run a program to its end; returns its exit code or signal.

        `on_output(protocol.STDOUT or STDERR, bytes)` is called as output comes. When `timeout`
        (seconds) is over, or the caller is cancelled, the program's process group is killed.

        Raises:
            TimeoutError: the program did not end in time.
        """
        stream = await self.open(
            lambda stream_id: protocol.Execute(stream_id, [*argv], cwd, env or {})
        )
        feeder = asyncio.create_task(_feed(stream, stdin))
        try:
            async with asyncio.timeout(timeout):
                while True:
                    match await stream.recv():
                        case bytes() as data if data:
                            if on_output is not None:
                                on_output(data[0], data[1:])
                        case Exited(status):
                            return status
                        case Failed(failure):
                            raise error_of(failure)
                        case unexpected:
                            raise await self._broken(stream, unexpected)
        finally:
            feeder.cancel()
            with suppress(asyncio.CancelledError):
                await feeder
            await stream.close()

    async def output_of(
        self, argv: Sequence[str], *, cwd: str = "", timeout: float, also: Sequence[int] = ()
    ) -> AsyncGenerator[bytes]:
        """What a program prints, read no faster than it is asked for; it ends with the iteration.

        `also`: exit codes other than 0 that are no failure.

        Raises:
            Unavailable: it failed, or did not end within `timeout` seconds.
        """
        said = bytearray()
        stream = await self.open(lambda stream_id: protocol.Execute(stream_id, [*argv], cwd, {}))
        feeder = asyncio.create_task(_feed(stream, b""))
        end = asyncio.get_running_loop().time() + timeout
        try:
            while True:
                async with asyncio.timeout_at(end):
                    message = await stream.recv()
                match message:
                    case bytes() as data if data:
                        if data[0] == protocol.STDOUT:
                            yield data[1:]
                        else:
                            said += data[1 : SAID_LIMIT - len(said)]
                    case Exited(status):
                        if status.code != 0 and status.code not in also:
                            reason = printable(said.decode(errors="replace").strip())
                            raise Unavailable(f"{argv[0]} failed: {reason or 'it did not say why'}")
                        return
                    case Failed(failure):
                        raise error_of(failure)
                    case unexpected:
                        raise await self._broken(stream, unexpected)
        except TimeoutError as error:
            raise Unavailable(f"{argv[0]} took longer than {timeout:.0f} s.") from error
        finally:
            feeder.cancel()
            with suppress(asyncio.CancelledError):
                await feeder
            await stream.close()

    async def tunnel(self, port: int) -> Tunnel:
        """A connection to a TCP port of the container's loopback address; the caller closes it.

        Raises:
            NotFound: nothing listens there.
        """
        async with self._tunnels(1) as (ids, arrived):
            await self.call(protocol.Tunnel(ids[0], port), OPEN_TIMEOUT)
            return (await arrived())[0]

    async def run_language_server(
        self, argv: Sequence[str], env: dict[str, str], memory_limit: int
    ) -> tuple[Stream, Tunnel, Tunnel]:
        """Start a language server; returns the stream of `protocol.agent.RunLanguageServer`, what
        it reads and what it writes. The caller closes all three; closing the stream kills it."""
        async with self._tunnels(2) as (ids, arrived):
            stdin_id, stdout_id = ids
            stream = await self.open(
                lambda stream_id: protocol.RunLanguageServer(
                    stream_id, stdin_id, stdout_id, [*argv], env, memory_limit
                )
            )
            try:
                stdin, stdout = await arrived()
            except BaseException:
                await stream.close()
                raise
            return stream, stdin, stdout

    @asynccontextmanager
    async def _tunnels(
        self, count: int
    ) -> AsyncIterator[tuple[list[str], Callable[[], Awaitable[list[Tunnel]]]]]:
        """The ids of so many tunnels, which the block makes a call about, and how to wait for
        them then. When the block raises, those that came are closed."""
        ids = [secrets.token_hex(16) for _ in range(count)]
        arrivals: list[asyncio.Future[Tunnel]] = []

        async def arrived() -> list[Tunnel]:
            async with asyncio.timeout(OPEN_TIMEOUT):
                return [await asyncio.shield(arrival) for arrival in arrivals]

        try:
            arrivals.extend(map(self.rendezvous.expect_tunnel, ids))
            yield ids, arrived
        except BaseException as error:
            for arrival in arrivals:
                if arrival.done() and not arrival.cancelled() and not arrival.exception():
                    arrival.result().abort()
                arrival.cancel()
            if isinstance(error, TimeoutError):
                message = "The workspace does not answer; try again shortly."
                raise AgentUnavailable(message) from error
            raise

    async def download(self, path: str, offset: int = 0, length: int | None = None) -> Download:
        """Open a file for reading; the caller iterates the result to its end or closes it."""
        stream = await self.open(
            lambda stream_id: protocol.Download(stream_id, path, offset, length)
        )
        assert isinstance(stream.reply, FileContent)
        return Download(stream, stream.reply, offset, length)

    async def upload(
        self,
        chunks: AsyncIterable[bytes],
        path: str,
        limit: int,
        *,
        expected: str | None = None,
        parents: bool = False,
    ) -> UploadDone:
        """Put a file into place. When `chunks` raises, the file stays as it was."""
        stream = await self.open(
            lambda stream_id: protocol.Upload(stream_id, path, limit, expected, parents)
        )
        return await self._transfer(stream, chunks)

    async def unpack(
        self,
        chunks: AsyncIterable[bytes],
        path: str,
        limit: int,
        *,
        max_entries: int,
        max_bytes: int,
        strip: bool = True,
    ) -> UploadDone:
        """Unpack an archive. When `chunks` raises, nothing is written."""
        stream = await self.open(
            lambda stream_id: protocol.Unpack(stream_id, path, limit, max_entries, max_bytes, strip)
        )
        return await self._transfer(stream, chunks)

    async def _transfer(self, stream: Stream, chunks: AsyncIterable[bytes]) -> UploadDone:
        outcome = asyncio.create_task(_outcome(stream))
        try:
            try:
                async for chunk in chunks:
                    if outcome.done():
                        break
                    await stream.send_all(chunk)
                else:
                    await stream.send(Eof())
            except AgentUnavailable:
                # An agent that gives up says why and closes: what it said is the better answer.
                await asyncio.wait([outcome])
            async with asyncio.timeout(TRANSFER_TIMEOUT):
                message = await outcome
        except TimeoutError as error:
            raise AgentUnavailable("The workspace does not answer; try again shortly.") from error
        finally:
            outcome.cancel()
            with suppress(asyncio.CancelledError, CloudIDEError):
                await outcome
            await stream.close()
        match message:
            case UploadDone():
                return message
            case Failed(failure):
                raise error_of(failure)
            case unexpected:
                raise await self._broken(stream, unexpected)

    async def _broken(self, stream: Stream, unexpected: object) -> AgentUnavailable:
        _log.warning("stream.unexpected", message=type(unexpected).__name__)
        await stream.close(CloseCode.POLICY_VIOLATION)
        return AgentUnavailable("The workspace's agent sent a malformed message.")

    # ── the link itself ─────────────────────────────────────────────────────────────────────────

    async def run(self, on_event: Callable[[Event], None]) -> None:
        """Receive until the link closes; then every call under way fails.

        Raises:
            Malformed: the agent broke the protocol.
        """
        ping = asyncio.create_task(self._ping())
        unasked = _Allowance(UNASKED_PER_SECOND, UNASKED_BURST)
        try:
            while True:
                frame = await self._socket.recv()
                if isinstance(frame, str):
                    raise Malformed("a text frame")
                try:
                    message = _messages.decode(frame)
                except UNDECODABLE as error:
                    raise Malformed(str(error)) from error
                match message:
                    case Reply():
                        if self._settle(message):
                            continue
                    case Hello():
                        raise Malformed("a second hello")
                    case event:
                        on_event(event)
                # Who talks unasked is slowed down; only the agent's own answers wait for that.
                if delay := unasked.take():
                    await asyncio.sleep(delay)
        except ConnectionClosed as closed:
            _log.debug("agent.closed", workspace=self.workspace_id, reason=str(closed))
        finally:
            self._closed = True
            ping.cancel()
            self.rendezvous.cut()
            for future, _ in self._calls.values():
                if not future.done():
                    future.set_exception(AgentUnavailable())
            with suppress(asyncio.CancelledError):
                await ping

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        self._closed = True
        await self._socket.close(code, reason)

    def cut(self) -> None:
        """Drop the connection without a goodbye: a newer one has taken its place."""
        self._closed = True
        self._socket.transport.abort()

    def _settle(self, reply: Reply) -> bool:
        """Pass a reply on; False if the caller no longer waits for it."""
        if not 0 < reply.id <= self._last_id:
            raise Malformed(f"a reply to call {reply.id}, which was never made")
        future, kind = self._calls.get(reply.id, (None, None))
        if future is None or kind is None or future.done():
            return False
        if reply.error is not None:
            future.set_exception(error_of(reply.error))
            return True
        try:
            future.set_result(_results[kind].decode(reply.result))
        except UNDECODABLE as error:
            raise Malformed(f"the result of {kind.__name__}: {error}") from error
        return True

    async def _ping(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(PING_INTERVAL)
                try:
                    async with asyncio.timeout(PING_TIMEOUT):
                        await (await self._socket.ping())
                except TimeoutError:
                    _log.warning("agent.silent", workspace=self.workspace_id)
                    await self.close(CloseCode.GOING_AWAY, "no answer to a ping")
                    return


class _Allowance:
    """A token bucket: `take` says how long to wait, in seconds."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._left = rate, burst, burst
        self._at = asyncio.get_running_loop().time()

    def take(self) -> float:
        now = asyncio.get_running_loop().time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        return max(0.0, -self._left / self._rate)


async def _feed(stream: Stream, stdin: bytes) -> None:
    with suppress(AgentUnavailable):  # a program may end without having read all its input
        await stream.send_all(stdin)
        await stream.send(Eof())


async def _outcome(stream: Stream) -> bytes | StreamMessage:
    return await stream.recv()
