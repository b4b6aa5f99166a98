"""Terminals: programs on pseudo-terminals that outlive every connection to them."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused
from cloudide.agent.spawn import Child, spawn
from cloudide.agent.user import User
from cloudide.protocol.agent import (
    CHUNK,
    EXITED_TERMINALS,
    CreateTerminal,
    Exit,
    Exited,
    Ready,
    Replay,
    TerminalInfo,
)
from cloudide.protocol.scrollback import Scrollback

SCROLLBACK = 1024 * 1024  # bytes
READ_SIZE = 64 * 1024
HIGH_WATER = 256 * 1024  # bytes on their way to the viewer at which reading stops
DRAIN_QUIET = 0.1  # seconds without output after which a program that has ended said everything
RETRY = 0.1  # seconds until a terminal that nobody has open is looked at again
TITLE_DELAY = 0.05  # seconds in which title changes are told as one
IUTF8 = 0o40000  # termios(3); so that erasing takes a whole character
SIZE_LIMIT = 1000  # columns and rows
END = (  # seconds of patience, signals
    (0.5, (signal.SIGHUP, signal.SIGCONT)),
    (1.0, (signal.SIGTERM, signal.SIGCONT)),
    (2.0, (signal.SIGKILL,)),
)

_json = msgspec.json.Encoder()


class Terminal:
    """One pseudo-terminal, its program, what it printed, and at most one stream attached to it.

    Output waits in the kernel while an attached stream is full; without a stream it is only kept.
    """

    def __init__(
        self,
        root: Root,
        user: User,
        request: CreateTerminal,
        on_change: Callable[[Terminal], None],
    ) -> None:
        self.id = request.id
        self.cols, self.rows = _size(request.cols, request.rows)
        self.cwd = request.cwd
        self.command = request.command or user.shell
        self.title = ""
        self.exit: Exit | None = None
        self._loop = asyncio.get_running_loop()
        self._on_change = on_change
        self._scrollback = Scrollback(SCROLLBACK)
        self._viewer: _Viewer | None = None
        self._reading = False
        self._told: asyncio.TimerHandle | None = None
        self._drain: asyncio.TimerHandle | None = None
        self._master, self._child = self._start(root, user, request.env)
        self._child.exited.add_done_callback(self._program_ended)
        self._read_on()

    @property
    def info(self) -> TerminalInfo:
        return TerminalInfo(
            id=self.id,
            cols=self.cols,
            rows=self.rows,
            command=self.command,
            cwd=self.cwd,
            pid=self._child.pid,
            title=self.title,
            exit=self.exit,
        )

    def resize(self, cols: int, rows: int) -> None:
        self.cols, self.rows = _size(cols, rows)
        if self._master >= 0:
            _set_size(self._master, self.cols, self.rows)

    async def attach(self, socket: ClientConnection) -> None:
        """Serve a stream until it closes, the program has ended, or a newer one is attached."""
        if self._viewer is not None:
            self._viewer.task.cancel()
        task = asyncio.current_task()
        assert task is not None
        history = bytes(self._scrollback.content)
        replay = Replay(self.cols, self.rows, self._scrollback.lost)
        viewer = self._viewer = _Viewer(socket, task, self._read_on)
        if self.exit is not None:
            viewer.end(self.exit)
        tasks = [
            asyncio.create_task(viewer.send(replay, history)),
            asyncio.create_task(self._type(socket)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._viewer is viewer:
                self._viewer = None
                self._read_on()
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await socket.close()

    async def close(self) -> None:
        """End everything that runs on the terminal and let go of it."""
        await self._child.end(*END)
        if self.exit is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    self._finish(await asyncio.shield(self._child.exited))
        self._let_go()
        if self._viewer is not None:
            self._viewer.end(self.exit or Exit(signal=signal.SIGKILL))

    # ── the program ─────────────────────────────────────────────────────────────────────────────

    def _start(self, root: Root, user: User, extra: dict[str, str]) -> tuple[int, Child]:
        master, slave = os.openpty()
        try:
            attributes = termios.tcgetattr(slave)
            attributes[0] |= IUTF8
            termios.tcsetattr(slave, termios.TCSANOW, attributes)
            _set_size(slave, self.cols, self.rows)
            environment = {
                **user.environment,
                "TERM": "xterm-256color",
                "COLORTERM": "truecolor",
                **extra,
            }
            # A session leader that opens a terminal gets it as its controlling one (tty(4)).
            name = os.ttyname(slave)
            child = spawn(
                root,
                self.cwd,
                self.command,
                environment,
                [
                    (os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ],
            )
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        os.set_blocking(master, False)
        return master, child

    def _program_ended(self, exited: asyncio.Future[Exit]) -> None:
        # What it printed last may still be on its way through the kernel, and others may have the
        # terminal open: it is over when nobody has, or when nothing has come for a moment.
        if self.exit is None and not exited.cancelled():
            self._drain = self._loop.call_later(DRAIN_QUIET, self._finish, exited.result())
            self._read_on()

    def _finish(self, status: Exit) -> None:
        if self.exit is not None:
            return
        if self._viewer is not None and self._viewer.full:
            self._drain = self._loop.call_later(DRAIN_QUIET, self._finish, status)
            return  # nothing has come because nothing was read
        self.exit = status
        self._let_go()
        if self._viewer is not None:
            self._viewer.end(status)
        self._on_change(self)

    def _let_go(self) -> None:
        for timer in (self._drain, self._told):
            if timer is not None:
                timer.cancel()
        if self._master >= 0:
            self._loop.remove_reader(self._master)
            self._loop.remove_writer(self._master)
            os.close(self._master)
            self._master = -1
            self._reading = False

    # ── bytes ───────────────────────────────────────────────────────────────────────────────────

    def _read_on(self) -> None:
        if self._master >= 0 and not self._reading:
            self._loop.add_reader(self._master, self._readable)
            self._reading = True

    def _pause(self) -> None:
        self._loop.remove_reader(self._master)
        self._reading = False

    def _readable(self) -> None:
        try:
            data = os.read(self._master, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:  # nobody has the other end open any more
            self._pause()
            if self._child.exited.done():
                self._finish(self._child.exited.result())
            else:
                self._loop.call_later(RETRY, self._read_on)
            return
        self._scrollback.append(data)
        if self._viewer is not None:
            self._viewer.feed(data)
            if self._viewer.full:
                self._pause()
        if self._drain is not None and self._child.exited.done():
            self._drain.cancel()
            self._drain = self._loop.call_later(
                DRAIN_QUIET, self._finish, self._child.exited.result()
            )
        if b"\x07" in data or b"\x1b\\" in data:
            self._look_for_title(len(data))

    def _look_for_title(self, fresh: int) -> None:
        title = self._scrollback.title(fresh)
        if title is not None and title != self.title:
            self.title = title
            if self._told is None:
                self._told = self._loop.call_later(TITLE_DELAY, self._tell)

    def _tell(self) -> None:
        self._told = None
        self._on_change(self)

    async def _type(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                frame = await socket.recv()
                if isinstance(frame, bytes):
                    await self._write(frame)

    async def _write(self, data: bytes) -> None:
        while data and self._master >= 0:
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                await self._writable()
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return  # nobody is there to read it

    async def _writable(self) -> None:
        ready = asyncio.Event()
        self._loop.add_writer(self._master, ready.set)
        try:
            await ready.wait()
        finally:
            if self._master >= 0:
                self._loop.remove_writer(self._master)


class _Viewer:
    """What is on its way to one stream."""

    def __init__(
        self,
        socket: ClientConnection,
        task: asyncio.Task[object],
        on_room: Callable[[], None],
    ) -> None:
        self.task = task
        self._socket = socket
        self._on_room = on_room
        self._pending = bytearray()
        self._exit: Exit | None = None
        self._wake = asyncio.Event()

    @property
    def full(self) -> bool:
        return len(self._pending) > HIGH_WATER

    def feed(self, data: bytes) -> None:
        self._pending += data
        self._wake.set()

    def end(self, status: Exit) -> None:
        self._exit = status
        self._wake.set()

    async def send(self, replay: Replay, history: bytes) -> None:
        send = self._socket.send
        await send(_json.encode(replay), text=True)
        for start in range(0, len(history), CHUNK):
            await send(history[start : start + CHUNK])
        await send(_json.encode(Ready()), text=True)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                data = bytes(self._pending[:CHUNK])
                del self._pending[:CHUNK]
                await send(data)
                if not self.full:
                    self._on_room()
            if self._exit is not None:
                await send(_json.encode(Exited(self._exit)), text=True)
                return


class Terminals:
    """All terminals, oldest first; the last of those that have ended are kept until closed."""

    def __init__(
        self,
        root: Root,
        user: User,
        on_change: Callable[[TerminalInfo], None],
        on_remove: Callable[[str], None],
    ) -> None:
        self._root = root
        self._user = user
        self._on_change = on_change
        self._on_remove = on_remove
        self._terminals: dict[str, Terminal] = {}

    def create(self, request: CreateTerminal) -> TerminalInfo:
        if request.id in self._terminals:
            raise Refused("exists", "There is a terminal of that id already.")
        terminal = Terminal(self._root, self._user, request, self._changed)
        self._terminals[request.id] = terminal
        return terminal.info

    def list(self) -> list[TerminalInfo]:
        return [terminal.info for terminal in self._terminals.values()]

    def get(self, terminal_id: str) -> Terminal:
        try:
            return self._terminals[terminal_id]
        except KeyError:
            raise Refused("gone", "This terminal is closed.") from None

    async def close(self, terminal_id: str) -> None:
        terminal = self.get(terminal_id)
        await terminal.close()
        if self._terminals.pop(terminal_id, None) is not None:
            self._on_remove(terminal_id)

    async def close_all(self) -> None:
        await asyncio.gather(*(terminal.close() for terminal in self._terminals.values()))

    def _changed(self, terminal: Terminal) -> None:
        if self._terminals.get(terminal.id) is not terminal:
            return
        self._on_change(terminal.info)
        ended = [each.id for each in self._terminals.values() if each.exit is not None]
        for terminal_id in ended[:-EXITED_TERMINALS]:
            del self._terminals[terminal_id]
            self._on_remove(terminal_id)


def _size(cols: int, rows: int) -> tuple[int, int]:
    return min(max(cols, 1), SIZE_LIMIT), min(max(rows, 1), SIZE_LIMIT)


def _set_size(terminal: int, cols: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
