"""What each request of the server does."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cloudide.agent import files
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused, refusal
from cloudide.agent.outlets import Outlets, relay
from cloudide.agent.ports import Ports
from cloudide.agent.questions import Questions
from cloudide.agent.terminals import Terminals
from cloudide.agent.transfers import Source, Threads, receive_archive, receive_file
from cloudide.agent.user import User
from cloudide.protocol import agent as protocol
from cloudide.protocol.agent import Done, Request

if TYPE_CHECKING:
    from cloudide.agent.git_environment import GitEnvironment

THREADS = 4  # file operations at one time
WRITTEN = 1024  # paths that are known to have been written lately

Dial = Callable[[str], Awaitable[ClientConnection]]
DialTunnel = Callable[[str], Awaitable[socket.socket]]
Event = (
    protocol.FilesChanged
    | protocol.TerminalChanged
    | protocol.TerminalRemoved
    | protocol.PortsChanged
    | protocol.Asked
    | protocol.Withdrawn
)

log = logging.getLogger("cloudide.agent")


class Workspace:
    """The root, the user, and all that runs: what outlives a connection to the server."""

    def __init__(self, root: Path, on_event: Callable[[Event], None]) -> None:
        self.root = Root(root)
        self._on_event = on_event
        self.user = User(str(self.root.path))
        self.threads = Threads(THREADS)
        self.terminals = Terminals(
            self.root,
            self.user,
            lambda info: on_event(protocol.TerminalChanged(info)),
            self._terminal_removed,
            lambda id: self.git.of_terminal(id) if self.git is not None else {},
        )
        self.ports = Ports(lambda ports: on_event(protocol.PortsChanged(ports)))
        self.outlets = Outlets()
        self.questions = Questions(on_event)
        self.git: GitEnvironment | None = None
        self._preparing = asyncio.Lock()
        self._streams: set[asyncio.Task[None]] = set()
        self._written: dict[str, None] = {}  # the last one at the end

    def hash_of_written(self, path: str) -> str:
        """The hash of a file that the server wrote lately; "" of any other. For any thread."""
        if path not in self._written:
            return ""
        try:
            return files.read(self.root, path, protocol.CONTENT_LIMIT, "", swaps=False).hash
        except (Refused, OSError):
            return ""

    async def close(self) -> None:
        """End terminals and programs, politely first."""
        await self.terminals.close_all()
        for task in self._streams:
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        self.questions.close()
        if self.git is not None:
            self.git.close()

    async def answer(self, request: Request, dial: Dial, dial_tunnel: DialTunnel) -> msgspec.Struct:
        """Carry out one request; `dial` opens the stream of an id, `dial_tunnel` that of a tunnel.

        Raises:
            Refused: it cannot be done, and why.
        """
        try:
            return await self._answer(request, dial, dial_tunnel)
        except OSError as error:
            raise refusal(
                error, getattr(request, "path", getattr(request, "source", ""))
            ) from error

    async def _answer(
        self, request: Request, dial: Dial, dial_tunnel: DialTunnel
    ) -> msgspec.Struct:
        root, run = self.root, self.threads.run
        match request:
            case protocol.ReadFile(path, limit, known, swaps):
                return await run(files.read, root, path, limit, known, swaps)
            case protocol.WriteFile():
                from cloudide.agent import exchange

                self._written.pop(request.path, None)
                self._written[request.path] = None
                if len(self._written) > WRITTEN:
                    del self._written[next(iter(self._written))]
                return await run(exchange.write, root, request)
            case protocol.ReleaseSwap(path, name):
                from cloudide.agent import exchange

                await run(exchange.release, root, path, name)
            case protocol.StatPaths(paths):
                return protocol.Stats(await run(files.stat_paths, root, paths))
            case protocol.ListTree(path, depth, limit):
                return await run(files.list_tree, root, path, depth, limit)
            case protocol.MakeDirectory(path):
                await run(files.make_directory, root, path)
            case protocol.Move(source, target):
                await run(files.move, root, source, target)
            case protocol.Delete(path, recursive):
                await run(files.delete, root, path, recursive)
            case protocol.CreateTerminal():
                await self._prepare_git()
                return self.terminals.create(request)
            case protocol.ListTerminals():
                return protocol.Terminals(self.terminals.list())
            case protocol.ResizeTerminal(terminal_id, cols, rows):
                self.terminals.get(terminal_id).resize(cols, rows)
            case protocol.ReplayTerminal(terminal_id):
                self.terminals.get(terminal_id).replay()
            case protocol.KeepRecord(terminal_id, record):
                self.terminals.get(terminal_id).record = record
            case protocol.CloseTerminal(terminal_id):
                await self.terminals.close(terminal_id)
            case protocol.AttachTerminal(terminal_id, stream):
                terminal = self.terminals.get(terminal_id)
                self._serve(terminal.attach(await dial_tunnel(stream)))
            case protocol.Execute():
                await self._prepare_git()
                await self._execute(request, dial)
            case protocol.Tunnel():
                await self._tunnel(request, dial_tunnel)
            case protocol.OpenOutlet():
                return self.outlets.open()
            case protocol.AcceptOutlet(stream, outlet):
                await self._accept(stream, outlet, dial)
            case protocol.CloseOutlet(outlet):
                self.outlets.close(outlet)
            case protocol.AnswerAsked(id, answer):
                self.questions.answer(id, answer)
            case protocol.KnowTypist():
                await self._prepare_git()
                if self.git is not None:
                    self.git.know_typist(request)
            case protocol.RunTask():
                await self._prepare_git()
                await self._run_task(request, dial)
            case protocol.RunLanguageServer():
                await self._run_language_server(request, dial, dial_tunnel)
            case protocol.HashInputs(patterns):
                from cloudide.agent import inputs

                return await run(inputs.hash_files, root, patterns)
            case protocol.ListProcesses(limit):
                from cloudide.agent import consumption

                return await run(consumption.processes, root, limit)
            case protocol.FindPrograms():
                from cloudide.agent import programs

                return await programs.find(root, self.user, request)
            case protocol.Download():
                return await self._download(request, dial)
            case protocol.Upload():
                socket = await dial(request.stream)
                self._serve(_and_close(socket, receive_file(root, request, socket, self.threads)))
            case protocol.Unpack():
                socket = await dial(request.stream)
                self._serve(
                    _and_close(socket, receive_archive(root, request, socket, self.threads))
                )
        return Done()

    async def _execute(self, request: protocol.Execute, dial: Dial) -> None:
        from cloudide.agent.processes import Process

        process = Process(self.root, self.user, request)
        try:
            socket = await dial(request.stream)
        except BaseException:
            await process.abandon()
            raise
        self._serve(process.serve(socket))

    async def _tunnel(self, request: protocol.Tunnel, dial: DialTunnel) -> None:
        from cloudide.agent import tunnels

        program = await tunnels.connect(request.port)
        try:
            server = await dial(request.stream)
        except BaseException:
            program.close()
            raise
        self._serve(tunnels.Tunnel(server, program).serve())

    def _terminal_removed(self, terminal_id: str) -> None:
        if self.git is not None:
            self.git.forget_terminal(terminal_id)
        self._on_event(protocol.TerminalRemoved(terminal_id))

    async def _prepare_git(self) -> None:
        """Before the first program: what its Git is to find has to be there."""
        async with self._preparing:
            if self.git is None:
                from cloudide.agent.git_environment import GitEnvironment

                self.git = GitEnvironment(self.user, str(self.root.path))
                if self.git.socket:
                    await self.questions.listen(self.git.socket)

    async def _accept(self, stream: str, outlet: str, dial: Dial) -> None:
        connection = await self.outlets.accept(outlet)
        try:
            server = await dial(stream)
        except BaseException:
            connection.close()
            raise
        self._serve(relay(connection, server))

    async def _run_task(self, request: protocol.RunTask, dial: Dial) -> None:
        from cloudide.agent.tasks import Task

        task = Task(self.root, self.user, request)
        try:
            socket = await dial(request.stream)
        except BaseException:
            await task.abandon()
            raise
        self._serve(task.serve(socket))

    async def _run_language_server(
        self, request: protocol.RunLanguageServer, dial: Dial, dial_tunnel: DialTunnel
    ) -> None:
        from cloudide.agent.language_servers import LanguageServer

        with (
            await dial_tunnel(request.stdin) as stdin,
            await dial_tunnel(request.stdout) as stdout,
        ):
            server = LanguageServer(self.root, self.user, request, stdin, stdout)
        try:
            socket = await dial(request.stream)
        except BaseException:
            await server.abandon()
            raise
        self._serve(server.serve(socket))

    async def _download(self, request: protocol.Download, dial: Dial) -> protocol.FileContent:
        source = await self.threads.run(Source, self.root, request)
        try:
            socket = await dial(request.stream)
        except BaseException:
            source.close()
            raise

        async def serve() -> None:
            try:
                await source.serve(socket, self.threads)
            finally:
                source.close()

        self._serve(_and_close(socket, serve()))
        return source.result

    def _serve(self, stream: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(stream)
        self._streams.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._streams.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("A stream failed.", exc_info=error)


async def _and_close(socket: ClientConnection, work: Awaitable[None]) -> None:
    try:
        await work
    finally:
        closing = asyncio.create_task(socket.close())
        # What is still on its way stands before the answer to the close; it is let go.
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
        await closing


def failure_of(error: Exception) -> protocol.Failure:
    """What the server is told; the rest goes to the log."""
    if isinstance(error, Refused):
        return error.failure
    log.error("A request failed.", exc_info=error)
    return protocol.Failure("internal", "The workspace's agent failed; its log says why.")
