"""The agent's side of the link: dial, say hello, answer, and dial again when the server goes."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from cloudide.agent.failures import Refused
from cloudide.agent.requests import Event, Workspace, failure_of
from cloudide.protocol import agent as protocol
from cloudide.protocol.agent import Call, Failure, Hello, Reply

FIRST_DELAY = 0.05  # seconds
LAST_DELAY = 2.0
STEADY = 2.0  # seconds after which a connection was one
CALLS_LIMIT = 200  # calls that are worked on at one time; more wait in the socket
EVENT_DELAY = 0.05  # seconds in which events are told as one
OPEN_TIMEOUT = 10.0  # seconds
CLOSE_TIMEOUT = 2.0
WRITE_LIMIT = 256 * 1024  # bytes

log = logging.getLogger("cloudide.agent")

_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(Call)


class Link:
    """Keeps one control socket to the server, for ever."""

    def __init__(self, directory: Path, root: Path) -> None:
        self._directory = directory
        self._boot = secrets.token_hex(16)
        self._writing: set[asyncio.Task[None]] = set()
        self._events = _Events()
        self.workspace = Workspace(root, self._events.add)
        self._watcher = None

    async def run(self) -> None:
        """Dial, serve, and dial again, until cancelled; then end what runs."""
        delay = 0.0
        told = ""
        loop = asyncio.get_running_loop()
        try:
            while True:
                started = loop.time()
                try:
                    async with self._control() as socket:
                        log.info("Connected to the server.")
                        told = ""
                        await self._serve(socket)
                except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError) as error:
                    if str(error) != told:
                        told = str(error)
                        log.info("The server cannot be reached: %s", error)
                if loop.time() - started > STEADY:
                    delay = 0.0  # the server was there: it is being restarted, so be quick
                delay = min(LAST_DELAY, max(FIRST_DELAY, delay * 2))
                await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 - jitter
        finally:
            if self._watcher is not None:
                self._watcher.stop()
            await self.workspace.close()

    @asynccontextmanager
    async def _control(self) -> AsyncGenerator[ClientConnection]:
        socket = await self._dial(protocol.CONTROL_PATH, protocol.CONTROL_FRAME_LIMIT)
        try:
            yield socket
        finally:
            await socket.close()

    async def _dial(self, path: str, max_size: int) -> ClientConnection:
        # The directory is opened anew each time: the token may have been replaced, and a path
        # through its descriptor fits into a socket's address whatever the real one's length.
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            within = f"/proc/self/fd/{directory}"
            token = _read_token(f"{within}/{protocol.TOKEN_NAME}")
            return await unix_connect(
                f"{within}/{protocol.SOCKET_NAME}",
                uri=f"ws://server{path}",
                additional_headers={"Authorization": f"Bearer {token}"},
                user_agent_header=None,
                compression=None,
                create_connection=_Connection,
                max_size=max_size,
                ping_interval=None,  # the server's sockets close when it ends, and it pings
                open_timeout=OPEN_TIMEOUT,
                close_timeout=CLOSE_TIMEOUT,
                write_limit=WRITE_LIMIT,
            )
        finally:
            os.close(directory)

    async def _tunnel(self, stream_id: str) -> socket.socket:
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        dialled = socket.socket(socket.AF_UNIX)
        dialled.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            within = f"/proc/self/fd/{directory}"
            token = _read_token(f"{within}/{protocol.TOKEN_NAME}")
            async with asyncio.timeout(OPEN_TIMEOUT):
                await loop.sock_connect(dialled, f"{within}/{protocol.TUNNEL_SOCKET_NAME}")
                await loop.sock_sendall(dialled, protocol.greeting(token, stream_id))
            return dialled
        except (OSError, TimeoutError) as error:
            dialled.close()
            raise Refused("internal", "The tunnel could not be opened.") from error
        except BaseException:
            dialled.close()
            raise
        finally:
            os.close(directory)

    async def _stream(self, stream_id: str) -> ClientConnection:
        try:
            return await self._dial(protocol.STREAM_PATH + stream_id, protocol.STREAM_FRAME_LIMIT)
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise Refused("internal", "The stream could not be opened.") from error

    async def _serve(self, socket: ClientConnection) -> None:
        if self._writing:
            # A write of the former connection that came after the hello would look to the server
            # like somebody else's: it reads the file when it hears the hello.
            await asyncio.wait(self._writing)
        self.workspace.ports.look()
        hello = Hello(
            protocol=protocol.PROTOCOL_VERSION,
            boot=self._boot,
            root=str(self.workspace.root.path),
            user=self.workspace.user.name,
            uid=self.workspace.user.uid,
            terminals=self.workspace.terminals.list(),
            ports=self.workspace.ports.current,
        )
        await socket.send(_encoder.encode(hello))
        self._watch()
        self.workspace.questions.connected = True
        room = asyncio.Semaphore(CALLS_LIMIT)
        answers: set[asyncio.Task[None]] = set()
        events = asyncio.create_task(self._events.send(socket))
        ports = asyncio.create_task(self.workspace.ports.watch())
        try:
            while True:
                call = _calls.decode(await socket.recv(decode=False))
                await room.acquire()
                task = asyncio.create_task(self._answer(socket, call, room))
                answers.add(task)
                task.add_done_callback(answers.discard)
                if isinstance(call.request, protocol.WriteFile):
                    self._writing.add(task)
                    task.add_done_callback(self._writing.discard)
        except (msgspec.DecodeError, ValueError) as error:
            log.error("The server speaks another protocol: %s", error)
        finally:
            # What was begun is finished, file work above all; only its answer is lost.
            events.cancel()
            ports.cancel()
            self.workspace.outlets.close_all()
            self.workspace.questions.cut()
            await asyncio.gather(events, ports, return_exceptions=True)

    async def _answer(self, socket: ClientConnection, call: Call, room: asyncio.Semaphore) -> None:
        try:
            try:
                result = await self.workspace.answer(call.request, self._stream, self._tunnel)
                reply = Reply(call.id, result=msgspec.Raw(_encoder.encode(result)))
            except Exception as error:
                reply = Reply(call.id, error=failure_of(error))
            frame = _encoder.encode(reply)
            if len(frame) > protocol.CONTROL_FRAME_LIMIT:
                failure = Failure("too_large", "The answer is too large.")
                frame = _encoder.encode(Reply(call.id, error=failure))
            await socket.send(frame)
        except ConnectionClosed:
            log.debug("An answer came too late.")
        finally:
            room.release()

    def _watch(self) -> None:
        if self._watcher is None:
            from cloudide.agent.watch import Watcher

            self._watcher = Watcher(
                self.workspace.root.path, self._events.add, self.workspace.hash_of_written
            )
            self._watcher.start()


def _read_token(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


class _Gone(asyncio.Transport):
    """Takes the place of a transport whose connection is lost.

    websockets aborts the transport whenever a lost connection is used; asyncio's own (Python 3.11)
    answers that with an AttributeError when it had closed after writing all it had.
    """

    def abort(self) -> None:
        pass

    def is_closing(self) -> bool:
        return True


class _Connection(ClientConnection):
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.transport = _Gone()


class _Events:
    """Events on their way: one for each terminal, one for all files, one for all ports; no more."""

    def __init__(self) -> None:
        self._changes: dict[str, protocol.Change] = {}
        self._overflow = False
        self._terminals: dict[str, Event] = {}
        self._ports: protocol.PortsChanged | None = None
        self._asked: dict[str, Event] = {}
        self._wake = asyncio.Event()
        self._connected = False

    def add(self, event: Event) -> None:
        match event:
            case protocol.FilesChanged(changes, overflow):
                self._changes.update((change.path, change) for change in changes)
                if overflow or not self._connected or len(self._changes) > protocol.CHANGES_LIMIT:
                    self._overflow = True
                    self._changes.clear()
            case protocol.TerminalChanged(terminal):
                self._terminals[terminal.id] = event
            case protocol.TerminalRemoved(terminal_id):
                self._terminals[terminal_id] = event
            case protocol.PortsChanged():
                self._ports = event
            case protocol.Asked():
                self._asked[event.id] = event
            case protocol.Withdrawn(id):
                # Nobody was told of it yet, or is to be told that it is over.
                if self._asked.pop(id, None) is None:
                    self._asked[id] = event
        self._wake.set()

    async def send(self, socket: ClientConnection) -> None:
        """Send events until cancelled, or the socket closes.

        The hello has listed terminals and ports.
        """
        self._terminals.clear()
        self._ports = None
        self._asked.clear()
        self._connected = True
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for event in self._take():
                    await socket.send(_encoder.encode(event))
                await asyncio.sleep(EVENT_DELAY)
        except ConnectionClosed:
            return  # whoever receives on it notices and dials again
        finally:
            self._connected = False

    def _take(self) -> list[Event]:
        events: list[Event] = [*self._asked.values(), *self._terminals.values()]
        self._asked.clear()
        self._terminals.clear()
        if self._ports is not None:
            events.append(self._ports)
            self._ports = None
        if self._overflow or self._changes:
            events.append(protocol.FilesChanged([*self._changes.values()], self._overflow))
        self._changes.clear()
        self._overflow = False
        return events
