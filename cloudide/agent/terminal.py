"""One terminal: a program on a pseudo-terminal that outlives every connection to it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

from cloudide.agent import foreground
from cloudide.agent.attachment import Attachment
from cloudide.agent.beneath import Root
from cloudide.agent.shell import login
from cloudide.agent.spawn import Child, spawn
from cloudide.agent.user import User
from cloudide.protocol.agent import CreateTerminal, Exit, Replay, TerminalInfo
from cloudide.protocol.scrollback import Scrollback
from cloudide.protocol.signs import Signs

SCROLLBACK_LIMIT = 16 * 1024 * 1024  # bytes
READ_SIZE = 64 * 1024
DRAIN_QUIET = 0.1  # seconds without output after which a program that has ended said everything
RETRY = 0.1  # seconds until a terminal that nobody has open is looked at again
TELL_DELAY = 0.05  # seconds in which changes are told as one
LOOK_DELAY = 0.2  # seconds from output to a look at who is in the foreground
LOOK_INTERVAL = 2.0  # seconds between looks while a job is in the foreground
# How long a terminal has another size, so that programs draw everything: until they have printed
# something and are quiet, or at most. One that was busy would else find the size as it was.
REDRAW_QUIET, REDRAW_LIMIT = 0.1, 2.0
IUTF8 = 0o40000  # termios(3); so that erasing takes a whole character
SIZE_LIMIT = 1000  # columns and rows
END = (  # seconds of patience, signals
    (0.5, (signal.SIGHUP, signal.SIGCONT)),
    (1.0, (signal.SIGTERM, signal.SIGCONT)),
    (2.0, (signal.SIGKILL,)),
)


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
        self.record = request.record
        self.exit: Exit | None = None
        self._loop = asyncio.get_running_loop()
        self._on_change = on_change
        self._scrollback = Scrollback(min(max(request.scrollback, 0), SCROLLBACK_LIMIT))
        self._signs = Signs(frozenset({socket.gethostname()}))
        self._foreground = ""
        self._directory = ""
        self._attachment: Attachment | None = None
        self._reading = False
        self._told: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._drain: asyncio.TimerHandle | None = None
        self._redraw: asyncio.TimerHandle | None = None
        self._redraw_by = 0.0
        self._master, self._child = self._start(root, user, request)
        self._child.exited.add_done_callback(self._program_ended)
        self.read_on()

    @property
    def info(self) -> TerminalInfo:
        return TerminalInfo(
            id=self.id,
            cols=self.cols,
            rows=self.rows,
            command=self.command,
            cwd=self.cwd,
            pid=self._child.pid,
            title=self._signs.title,
            exit=self.exit,
            directory=self._signs.directory or self._directory,
            foreground=self._foreground,
            bells=self._signs.bells,
            record=self.record,
        )

    def resize(self, cols: int, rows: int) -> None:
        self.cols, self.rows = _size(cols, rows)
        if self._master >= 0:
            _set_size(self._master, self.cols, self.rows)
        if self._attachment is not None:
            self._attachment.resized(self.cols, self.rows)

    async def attach(self, connection: socket.socket) -> None:
        """Serve a connection until it closes, the program has ended, or a newer one comes."""
        if self._attachment is not None:
            self._attachment.close()
        attachment = self._attachment = Attachment(self, connection)
        if self.exit is not None:
            attachment.end(self.exit)
        try:
            await attachment.ended
        finally:
            attachment.close()
            if self._attachment is attachment:
                self._attachment = None
                self.read_on()

    def replay(self) -> None:
        """Send the past again to whoever is attached."""
        if self._attachment is not None:
            self._attachment.replay()

    async def close(self) -> None:
        """End everything that runs on the terminal and let go of it."""
        await self._child.end(*END)
        if self.exit is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    self._finish(await asyncio.shield(self._child.exited))
        self._let_go()
        if self._attachment is not None:
            self._attachment.end(self.exit or Exit(signal=signal.SIGKILL))

    # ── the program ─────────────────────────────────────────────────────────────────────────────

    def _start(self, root: Root, user: User, request: CreateTerminal) -> tuple[int, Child]:
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
                **request.env,
            }
            command = self.command
            if command == user.shell:
                command = login(command, environment["PATH"])
            # A session leader that opens a terminal gets it as its controlling one (tty(4)).
            name = os.ttyname(slave)
            child = spawn(
                root,
                self.cwd,
                command,
                environment,
                [
                    (os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ],
                request.files,
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
            self.read_on()

    def _finish(self, status: Exit) -> None:
        if self.exit is not None:
            return
        if self._attachment is not None and self._attachment.full:
            self._drain = self._loop.call_later(DRAIN_QUIET, self._finish, status)
            return  # nothing has come because nothing was read
        self.exit = status
        self._foreground = ""
        self._let_go()
        if self._attachment is not None:
            self._attachment.end(status)
        self._on_change(self)

    def _let_go(self) -> None:
        for timer in (self._drain, self._told, self._look, self._redraw):
            if timer is not None:
                timer.cancel()
        if self._master >= 0:
            self._loop.remove_reader(self._master)
            self._loop.remove_writer(self._master)
            os.close(self._master)
            self._master = -1
            self._reading = False

    def _look_around(self) -> None:
        """See what is in the foreground, and where it is."""
        self._look = None
        before = self._foreground, self._directory
        try:
            group = os.tcgetpgrp(self._master)
        except OSError:  # nobody has the terminal open any more
            return
        leader = group == self._child.pid
        self._foreground = "" if leader else foreground.command(group)
        # Some of a group may outlive its leader: then the place is as it was.
        self._directory = foreground.directory(group) or self._directory
        if before != (self._foreground, self._directory):
            self._change()
        if not leader:
            self._look = self._loop.call_later(LOOK_INTERVAL, self._look_around)

    # ── as the source of an attachment ──────────────────────────────────────────────────────────

    def past(self) -> tuple[Replay, bytes]:
        replay = Replay(self.cols, self.rows, self._scrollback.lost)
        return replay, self._scrollback.replay()

    def replayed(self) -> None:
        """Make a full-screen program draw everything, if the past does not hold that.

        Programs look at the size when they hear SIGWINCH, and some do nothing when it is as it
        was: so it is another one for a moment, larger, because nothing has to scroll for that.
        """
        if self._master >= 0 and self._redraw is None and self._scrollback.needs_redraw:
            rows = self.rows + (1 if self.rows < SIZE_LIMIT else -1)
            _set_size(self._master, self.cols, rows)
            self._redraw = self._loop.call_later(REDRAW_LIMIT, self._redrawn)
            self._redraw_by = self._loop.time() + REDRAW_LIMIT

    def _redrawn(self) -> None:
        self._redraw = None
        _set_size(self._master, self.cols, self.rows)

    # ── bytes ───────────────────────────────────────────────────────────────────────────────────

    def read_on(self) -> None:
        if self._master >= 0 and not self._reading:
            self._loop.add_reader(self._master, self._readable)
            self._reading = True

    def _pause(self) -> None:
        self._loop.remove_reader(self._master)
        self._reading = False

    def _readable(self) -> None:
        # The kernel gives 4 KiB at a time: what is there is taken as one.
        pieces: list[bytes] = []
        size = 0
        ended = False
        while size < READ_SIZE:
            try:
                piece = os.read(self._master, READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                piece = b""
            if not piece:  # nobody has the other end open any more
                ended = True
                break
            pieces.append(piece)
            size += len(piece)
        if pieces:
            self._output(b"".join(pieces))
        if ended:
            self._pause()
            if self._child.exited.done():
                self._finish(self._child.exited.result())
            else:
                self._loop.call_later(RETRY, self.read_on)

    def _output(self, data: bytes) -> None:
        self._scrollback.append(data)
        if self._redraw is not None:
            self._redraw.cancel()
            when = min(self._loop.time() + REDRAW_QUIET, self._redraw_by)
            self._redraw = self._loop.call_at(when, self._redrawn)
        if self._attachment is not None:
            self._attachment.feed(data)
            if self._attachment.full:
                self._pause()
        if self._drain is not None and self._child.exited.done():
            self._drain.cancel()
            self._drain = self._loop.call_later(
                DRAIN_QUIET, self._finish, self._child.exited.result()
            )
        if self._signs.feed(data):
            self._change()
        if self._look is None:
            self._look = self._loop.call_later(LOOK_DELAY, self._look_around)

    def _change(self) -> None:
        if self._told is None:
            self._told = self._loop.call_later(TELL_DELAY, self._tell)

    def _tell(self) -> None:
        self._told = None
        self._on_change(self)

    def type(self, data: bytes) -> bytes:
        """Write what was typed; returns what the program does not take yet."""
        while data and self._master >= 0:
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                self._loop.add_writer(self._master, self._type_on)
                return data
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                break  # nobody is there to read it
        return b""

    def _type_on(self) -> None:
        self._loop.remove_writer(self._master)
        if self._attachment is not None:
            self._attachment.type_on()


def _size(cols: int, rows: int) -> tuple[int, int]:
    return min(max(cols, 1), SIZE_LIMIT), min(max(rows, 1), SIZE_LIMIT)


def _set_size(terminal: int, cols: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
