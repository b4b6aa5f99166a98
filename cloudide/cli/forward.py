"""`cloudide port-forward`: local TCP ports that lead to ports of a workspace."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import NamedTuple

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cloudide.cli.remote import CHUNK, Remote
from cloudide.errors import InvalidInput, Unavailable
from cloudide.protocol.agent import Eof

HOST = "127.0.0.1"
_EOF = msgspec.json.encode(Eof()).decode()


class Forward(NamedTuple):
    remote: int
    local: int  # 0: any that is free


def parse(text: str) -> Forward:
    """`5432` or `5432:LOCAL`. Raises: InvalidInput: it is neither."""
    found = re.fullmatch(r"([0-9]{1,5})(?::([0-9]{1,5}))?", text, re.ASCII)
    if found is not None:
        remote = int(found[1])
        local = int(found[2]) if found[2] is not None else remote
        if 0 < remote < 65536 and local < 65536:
            return Forward(remote, local)
    raise InvalidInput(f"{text!r} is not PORT or PORT:LOCAL, such as 5432 or 5432:15432.")


def port_forward(workspace: str, ports: Sequence[str], remote: Remote) -> None:
    """Forward until interrupted.

    Raises:
        CloudIDEError: it could not begin; the message says why.
    """
    forwards = [parse(each) for each in ports]
    asyncio.run(_forward(remote, remote.workspace(workspace), forwards))


async def _forward(remote: Remote, workspace: str, forwards: Sequence[Forward]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    connections: set[asyncio.Task[None]] = set()

    def accept_for(port: int):
        # A plain function: of a coroutine asyncio asks for the error of a task that is cancelled.
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(_connection(remote, workspace, port, reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        return accept

    async with AsyncExitStack() as stack:
        for each in forwards:
            try:
                server = await asyncio.start_server(
                    accept_for(each.remote), HOST, each.local, limit=CHUNK
                )
            except OSError as error:
                raise Unavailable(
                    f"Cannot listen on {HOST}:{each.local}: {error.strerror}. Choose another port, "
                    f"as in {each.remote}:LOCAL."
                ) from error
            stack.callback(server.close)
            local = server.sockets[0].getsockname()[1]
            print(f"{HOST}:{local} → port {each.remote} of {workspace}", flush=True)
        await stopped.wait()
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


async def _connection(
    remote: Remote,
    workspace: str,
    port: int,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """One connection, to its end in both directions; one that was cut is cut here too."""
    try:
        async with remote.socket(workspace, f"ports/{port}/tunnel") as socket:
            there = asyncio.create_task(_there(reader, socket))
            try:
                await _back(socket, writer)
                await there
            finally:
                there.cancel()
                await asyncio.gather(there, return_exceptions=True)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    except ConnectionClosed as closed:
        if closed.rcvd is not None and closed.rcvd.reason:
            _complain(port, closed.rcvd.reason)
    except (OSError, InvalidStatus, TimeoutError) as error:
        if not isinstance(error, ConnectionError) or not writer.is_closing():
            _complain(port, str(error))
    finally:
        writer.transport.abort()


async def _there(reader: asyncio.StreamReader, socket: ClientConnection) -> None:
    while data := await reader.read(CHUNK):
        await socket.send(data)
    await socket.send(_EOF)


async def _back(socket: ClientConnection, writer: asyncio.StreamWriter) -> None:
    while isinstance(frame := await socket.recv(), bytes):
        writer.write(frame)
        await writer.drain()
    writer.write_eof()


def _complain(port: int, reason: str) -> None:
    print(f"cloudide: port {port}: {reason}", file=sys.stderr, flush=True)
