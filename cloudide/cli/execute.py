"""`cloudide exec`: a program in a workspace, with its input, its two outputs, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cloudide.cli.remote import CHUNK, Remote, unreachable
from cloudide.errors import CloudIDEError, InvalidInput, Unavailable
from cloudide.protocol.agent import STDERR, STDOUT, Eof, Signal

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
OUTPUTS = {STDOUT: 1, STDERR: 2}  # the frame's first byte, and our descriptor
OF_A_SIGNAL = 128  # what a shell adds to a signal's number to make an exit code


class _Exit(msgspec.Struct, tag="exit"):
    code: int | None = None
    signal: int | None = None


_exit = msgspec.json.Decoder(_Exit)


def execute(
    workspace: str,
    command: Sequence[str],
    *,
    cwd: str,
    environment: Sequence[str],
    remote: Remote,
) -> int:
    """Run a program to its end; returns its exit code, or 128 and the signal that ended it.

    Raises:
        CloudIDEError: it could not be run, or the connection was lost.
    """
    pairs = [each.partition("=") for each in environment]
    if wrong := [name for name, separator, _ in pairs if not name or not separator]:
        raise InvalidInput(f"--env takes NAME=VALUE, not {wrong[0]!r}.")
    # Behind the workspace's name everything is the command's, `--` too where somebody writes it.
    argv = [*command[1:]] if command[0] == "--" else [*command]
    if not argv:
        raise InvalidInput("Say what to run, as in: cloudide exec WORKSPACE -- ls -l")
    start = {
        "type": "start",
        "argv": argv,
        "cwd": cwd,
        "env": {name: value for name, _, value in pairs},
    }
    return asyncio.run(_execute(remote, remote.workspace(workspace), start))


async def _execute(remote: Remote, workspace: str, start: dict[str, object]) -> int:
    try:
        async with remote.socket(workspace, "exec") as socket:
            await socket.send(msgspec.json.encode(start).decode())
            signals = _pass_signals(socket)
            feeder = threading.Thread(
                target=_feed, args=(socket, asyncio.get_running_loop()), daemon=True
            )
            feeder.start()
            try:
                return await _show(socket)
            finally:
                signals.cancel()
                await asyncio.gather(signals, return_exceptions=True)
    except ConnectionClosed as closed:
        reason = closed.rcvd.reason if closed.rcvd is not None else ""
        if closed.rcvd is not None and 4400 <= closed.rcvd.code < 4500:
            raise CloudIDEError(reason or None) from closed
        raise Unavailable(reason or "The connection was lost; the program was ended.") from closed
    except (OSError, InvalidStatus, TimeoutError) as error:
        raise unreachable(remote, error) from error


async def _show(socket: ClientConnection) -> int:
    while isinstance(frame := await socket.recv(), bytes):
        output = OUTPUTS.get(frame[0] if frame else 0)
        if output is None:
            raise Unavailable("The server speaks another protocol; use the same version.")
        # In a thread: whoever reads our output may be slow, and signals are to pass meanwhile.
        await asyncio.to_thread(_write, output, frame[1:])
    ended = _exit.decode(frame)
    return ended.code if ended.code is not None else OF_A_SIGNAL + (ended.signal or 0)


def _write(output: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(output, view) :]
        except BlockingIOError:
            continue
        except BrokenPipeError:
            # As a program would end that wrote to this pipe itself.
            os._exit(OF_A_SIGNAL + signal.SIGPIPE)


def _feed(socket: ClientConnection, loop: asyncio.AbstractEventLoop) -> None:
    """Our input to the program's, in a thread of its own: reading a terminal cannot be stopped."""
    with suppress(ConnectionClosed, RuntimeError, OSError):  # the program has ended, and so do we
        while data := os.read(sys.stdin.fileno(), CHUNK):
            asyncio.run_coroutine_threadsafe(socket.send(data), loop).result()
        eof = msgspec.json.encode(Eof()).decode()
        asyncio.run_coroutine_threadsafe(socket.send(eof), loop).result()


def _pass_signals(socket: ClientConnection) -> asyncio.Task[None]:
    """Signals to us are for the program."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for name in SIGNALS:
        number = getattr(signal, name)
        loop.add_signal_handler(number, queue.put_nowait, number)

    async def send() -> None:
        while True:
            message = Signal(await queue.get())
            with suppress(ConnectionClosed):
                await socket.send(msgspec.json.encode(message).decode())

    return asyncio.create_task(send())
