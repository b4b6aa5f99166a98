"""Tasks: commands whose output goes to a pseudo-terminal that nobody types in."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import signal
import struct
import termios
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused
from cloudide.agent.spawn import spawn
from cloudide.agent.user import User
from cloudide.protocol.agent import Exited, RunTask, Stop, TaskReady, Usage

READ_SIZE = 64 * 1024
DRAIN = 0.5  # seconds without output after which a task that has ended said everything
LINE_LIMIT = 4096  # bytes of a line that are looked at for `ready_pattern`
LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp
PORT_POLL = 0.25  # seconds between looks for a listening port
# Seconds between looks at the memory: often at first, so that short tasks are seen at all.
MEMORY_POLLS = (0.02, 0.05, 0.1, 0.2, 0.5)
END = (  # seconds of patience, signals
    (1.0, (signal.SIGHUP, signal.SIGCONT)),
    (2.0, (signal.SIGTERM, signal.SIGCONT)),
    (2.0, (signal.SIGKILL,)),
)
SIZE_LIMIT = 1000  # columns and rows
# Programs that would wait for a person to press a key do not.
ENVIRONMENT = {
    "TERM": "xterm-256color",
    "COLORTERM": "truecolor",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
}

_json = msgspec.json.Encoder()
_stop = msgspec.json.Decoder(Stop)
_escape = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_address = re.compile(r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\]):(\d{1,5})\b")


class Task:
    """A started command, until `serve` has seen it end."""

    def __init__(self, root: Root, user: User, request: RunTask) -> None:
        try:
            self._pattern = re.compile(request.ready_pattern) if request.ready_pattern else None
        except re.error as error:
            raise Refused("invalid", f"ready_when is not a regular expression: {error}.") from error
        self._ready_port = request.ready_port
        self._ready = not (self._pattern or self._ready_port)
        self._line = bytearray()
        self._peak = 0
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        command = request.command
        if isinstance(command, str):
            shell = ["/bin/sh"] if os.access("/bin/sh", os.X_OK) else user.shell
            command = [*shell, "-c", command]
        environment = {**user.environment, **ENVIRONMENT, **request.env}
        self._master, slave = os.openpty()
        try:
            size = (min(max(n, 1), SIZE_LIMIT) for n in (request.rows, request.cols))
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            # The first terminal that a session leader opens becomes its controlling one (tty(4)).
            self._child = spawn(
                root,
                request.cwd,
                command,
                environment,
                [
                    (os.POSIX_SPAWN_OPEN, 1, os.ttyname(slave), os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                ],
                request.files,
            )
        except BaseException:
            os.close(self._master)
            raise
        finally:
            os.close(slave)
        os.set_blocking(self._master, False)

    async def serve(self, socket: ClientConnection) -> None:
        """Pass output until the task has ended; end it when that is asked, or nobody listens."""
        output = asyncio.create_task(self._pass(socket))
        looking = [asyncio.create_task(self._watch_memory())]
        if self._ready_port:
            looking.append(asyncio.create_task(self._watch_port(socket)))
        asked = asyncio.create_task(_until_stopped(socket))
        exited = asyncio.ensure_future(asyncio.shield(self._child.exited))
        try:
            await asyncio.wait([asked, exited], return_when=asyncio.FIRST_COMPLETED)
            # Whether it has ended or is to: nothing of its session stays.
            await self._child.end(*END)
            await asyncio.wait([exited], timeout=DRAIN)  # the system has to report it yet
            if exited.done():
                await self._drain(output)
                usage = Usage(self._child.cpu_seconds, self._peak)
                with suppress(ConnectionClosed):
                    await socket.send(_json.encode(Exited(exited.result(), usage)), text=True)
        finally:
            tasks = [output, asked, exited, *looking]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._child.end(*END)
            os.close(self._master)
            await socket.close()

    async def abandon(self) -> None:
        """End the task; no stream comes."""
        await self._child.end(*END)
        os.close(self._master)

    # ── output ──────────────────────────────────────────────────────────────────────────────────

    async def _pass(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while data := await self._read():
                await socket.send(data)
                self._sent += len(data)
                if not self._ready and self._pattern is not None:
                    await self._look_for_ready(socket, self._pattern, data)

    async def _read(self) -> bytes:
        """The next output; empty when nobody has the terminal open any more."""
        while True:
            try:
                return os.read(self._master, READ_SIZE)
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return b""
            readable = asyncio.Event()
            self._loop.add_reader(self._master, readable.set)
            try:
                await readable.wait()
            finally:
                self._loop.remove_reader(self._master)

    async def _drain(self, output: asyncio.Task[None]) -> None:
        """Wait for the last output. What left the session may keep the terminal open for ever."""
        before = -1
        while not output.done() and self._sent != before:
            before = self._sent
            await asyncio.wait([output], timeout=DRAIN)

    # ── readiness and cost ──────────────────────────────────────────────────────────────────────

    async def _look_for_ready(
        self, socket: ClientConnection, pattern: re.Pattern[str], data: bytes
    ) -> None:
        *lines, rest = (self._line + data).replace(b"\r", b"\n").split(b"\n")
        self._line = bytearray(rest[:LINE_LIMIT])
        for line in lines:
            text = _escape.sub(b"", bytes(line[:LINE_LIMIT])).decode(errors="replace")
            if found := pattern.search(text):
                await self._tell_ready(socket, _port_of(found, text))
                return

    async def _watch_port(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while not _listens(self._ready_port):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(PORT_POLL)
            await self._tell_ready(socket, self._ready_port)

    async def _tell_ready(self, socket: ClientConnection, port: int) -> None:
        if not self._ready:
            self._ready = True
            await socket.send(_json.encode(TaskReady(port)), text=True)

    async def _watch_memory(self) -> None:
        polls = iter(MEMORY_POLLS)
        pause = 0.0
        while not self._child.exited.done():
            self._peak = max(self._peak, self._child.memory())
            pause = next(polls, pause)
            await asyncio.sleep(pause)


async def _until_stopped(socket: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        _stop.decode(await socket.recv())


def _port_of(found: re.Match[str], line: str) -> int:
    """The port that the pattern's first group holds, or that an address in the line names."""
    groups = found.groups()
    text = groups[0] if groups and groups[0] and groups[0].isascii() else ""
    if not text.isdigit():
        address = _address.search(line)
        text = address[1] if address else ""
    return int(text) if 0 < len(text) < 6 and 0 < int(text) < 65536 else 0


def _listens(port: int) -> bool:
    """Whether something in this network listens on a TCP port (proc(5), /proc/net/tcp)."""
    suffix = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError), open(table) as file:
            for row in file.readlines()[1:]:
                fields = row.split()
                if fields[3] == LISTENING and fields[1].endswith(suffix):
                    return True
    return False
