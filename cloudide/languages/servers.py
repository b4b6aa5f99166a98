"""One language server of a workspace: started for the first editor, stopped after the last one.

    STOPPED ──► STARTING ──► RUNNING ──► STOPPED (nobody needs it, or it is to be restarted)
                   ▲            │
                   └─ CRASHED ◄─┘ ──► FAILED (it ended too often, or cannot be started)

A crash is followed by another start, each one later than the one before, and the new process is
told all open documents. Five crashes in three minutes end that, until somebody asks for a restart
or comes anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum
from typing import Any, Protocol

import msgspec
import structlog

from cloudide.agents.link import Agent
from cloudide.errors import AgentUnavailable, CloudIDEError
from cloudide.languages import catalogue
from cloudide.languages.documents import Document, Stamps
from cloudide.languages.editors import Editor
from cloudide.languages.multiplexer import Configuration, Multiplexer
from cloudide.languages.process import OwnProcess, Running, start
from cloudide.languages.uris import Root

LOG_LIMIT = 64 * 1024  # characters of its log that are kept
CRASHES, CRASH_SECONDS = 5, 180.0
BACK_OFF = (0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before each start after a crash
START_SECONDS = 60.0  # that an editor waits for it
STOP_SECONDS = 5.0  # that it has to end by itself
TICK = 0.1
SILENT, PROBED = 20.0, 60.0  # seconds of silence until it is asked whether it lives, and given up

_log = structlog.get_logger(__name__)


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    CRASHED = "crashed"
    FAILED = "failed"


class Surroundings(Protocol):
    """What a server needs of its workspace."""

    root: Root
    stamps: Stamps

    def agent(self) -> Agent:
        """Raises: AgentUnavailable."""
        ...

    def documents(self) -> list[Document]:
        """All that are open, of whatever language."""
        ...

    def running(self, server: Server, multiplexer: Multiplexer) -> None: ...

    def apply_edit(
        self, server: Server, owner: Editor | None, params: dict[str, Any]
    ) -> Awaitable[str]:
        """Returns why it was not applied, or ""."""
        ...

    def changed(self) -> None:
        """What is shown of the servers is not as it was."""
        ...


class Server:
    """A server and, while it runs, its multiplexer. `memory`: bytes it may use."""

    def __init__(
        self, definition: catalogue.Server, around: Surroundings, memory: int, idle: float
    ) -> None:
        self.id = definition.id
        self.definition = definition
        self.multiplexer: Multiplexer | None = None
        self.state = State.STOPPED
        self.detail = ""
        self.memory = 0
        self.restarts = 0
        self.clients: set[object] = set()
        self._around = around
        self._memory_limit = memory
        self._idle = idle
        self._log: deque[str] = deque()
        self._log_size = 0
        self._process: Running | None = None
        self._starting: Multiplexer | None = None
        self._living: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # it runs, or will not for now
        self._stopping = ""
        self._idling: asyncio.TimerHandle | None = None
        self._edits: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def log(self) -> str:
        """The end of what it printed, and of what we have to say about it."""
        return "".join(self._log)[-LOG_LIMIT:]

    # ── who needs it ────────────────────────────────────────────────────────────────────────────

    def acquire(self, client: object) -> None:
        """Run while somebody needs it, and a while longer."""
        self.clients.add(client)
        if self._idling is not None:
            self._idling.cancel()
            self._idling = None
        if self._living is None:
            self._begin()

    def release(self, client: object) -> None:
        self.clients.discard(client)
        if not self.clients and self._idling is None and self._living is not None:
            self._idling = self._loop.call_later(self._idle, self._idle_out)

    async def started(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._settled.wait()

    def _begin(self) -> None:
        self._stopping = ""
        self._settled.clear()
        self._living = asyncio.create_task(self._live())
        self._living.add_done_callback(self._lived)

    def _lived(self, task: asyncio.Task[None]) -> None:
        self._living = None
        self._settled.set()
        if not task.cancelled() and (error := task.exception()):
            _log.error("language_server.failed", server=self.id, exc_info=error)
            self._become(State.FAILED, "The server failed at this; its log says how.")

    def _idle_out(self) -> None:
        self._idling = None
        if not self.clients:
            self._stop("Nobody needed it.")

    def _stop(self, reason: str) -> None:
        """Ask it to end; it is killed if it does not."""
        self._stopping = reason
        process, multiplexer = self._process, self.multiplexer
        if process is None:
            if self._living is not None:
                self._living.cancel()
            self._become(State.STOPPED, reason)
            return
        if multiplexer is not None and not isinstance(process, OwnProcess):
            multiplexer.shutdown(self._loop.time())
            self._loop.call_later(STOP_SECONDS, process.kill, reason)
        else:
            process.kill(reason)

    async def close(self) -> None:
        """End it now."""
        if self._idling is not None:
            self._idling.cancel()
        living = self._living
        if living is not None:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
        for task in self._edits:
            task.cancel()
        self._become(State.STOPPED, "")

    async def restart(self, definition: catalogue.Server) -> None:
        """End it, and start it anew if somebody needs it."""
        await self.close()
        self.definition = definition
        if self.clients:
            self._begin()

    def configure(self, definition: catalogue.Server) -> None:
        """Take other settings while it runs; everything else waits for a restart."""
        if self.definition.settings != definition.settings:
            settings = definition.settings
            self.definition = msgspec.structs.replace(self.definition, settings=settings)
            if (multiplexer := self.current()) is not None:
                multiplexer.configure(settings)

    # ── its life ────────────────────────────────────────────────────────────────────────────────

    async def _live(self) -> None:
        crashes: deque[float] = deque()
        while True:
            self._become(State.STARTING, "")
            try:
                ended = await self._run()
            except AgentUnavailable:
                self._become(State.STOPPED, "The workspace does not run.")
                return
            except CloudIDEError as error:
                self._become(State.FAILED, f"It could not be started: {error.message}")
                return
            if self._stopping:
                self._become(State.STOPPED, self._stopping)
                return
            self.logged(f"CloudIDE: {ended}\n")
            now = self._loop.time()
            crashes.append(now)
            while crashes[0] < now - CRASH_SECONDS:
                crashes.popleft()
            if len(crashes) >= CRASHES:
                self._become(
                    State.FAILED,
                    f"It ended {CRASHES} times within {CRASH_SECONDS / 60:.0f} minutes. {ended}",
                )
                return
            self._become(State.CRASHED, ended)
            await asyncio.sleep(BACK_OFF[len(crashes) - 1])
            self.restarts += 1

    async def _run(self) -> str:
        """One run of the process; returns how it ended."""
        definition = self.definition
        if definition.builtin:
            process: Running = await OwnProcess.start(self)
        else:
            process = await start(
                self._around.agent(),
                definition.command,
                definition.environment,
                self._memory_limit,
                self,
            )
        configuration = Configuration(
            id=definition.id,
            root=self._around.root,
            settings=definition.settings,
            initialization_options=definition.initialization_options,
            full=definition.sync == "full",
        )
        multiplexer = Multiplexer(configuration, process, self, self._around.stamps)
        self._process, self._starting = process, multiplexer
        now = multiplexer.heard_at = self._loop.time()
        multiplexer.start(now)
        for document in self._around.documents():
            if document.language in definition.languages:
                multiplexer.open(document, now)
        ticking = asyncio.create_task(self._tick(multiplexer, process))
        try:
            return await process.run()
        finally:
            ticking.cancel()
            self.multiplexer = self._process = self._starting = None
            self.memory = 0
            multiplexer.ended()
            await asyncio.gather(ticking, return_exceptions=True)

    async def _tick(self, multiplexer: Multiplexer, process: Running) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = self._loop.time()
            try:
                multiplexer.tick(now)
            except Exception:
                # Else nothing would ever time out again.
                _log.exception("language_server.tick_failed", server=self.id)
            silent = now - multiplexer.heard_at
            if silent > PROBED and multiplexer.probing:
                process.kill(f"It said nothing for {PROBED:.0f} seconds.")
            elif silent > SILENT and multiplexer.waiting:
                multiplexer.probe(now, PROBED)

    def _become(self, state: State, detail: str) -> None:
        if (state, detail) != (self.state, self.detail):
            self.state, self.detail = state, detail
            if state in (State.RUNNING, State.FAILED, State.STOPPED):
                self._settled.set()
            self._around.changed()

    # ── documents ───────────────────────────────────────────────────────────────────────────────

    def current(self) -> Multiplexer | None:
        """Its multiplexer, also while it is being initialized."""
        return self.multiplexer or self._starting

    # ── from the process and the multiplexer ────────────────────────────────────────────────────

    def received(self, body: bytes) -> None:
        if (multiplexer := self.current()) is None:
            return
        try:
            multiplexer.receive(body, self._loop.time())
        except Exception:
            # One message must not end the server for everybody.
            _log.exception("language_server.message_failed", server=self.id)

    def drained(self) -> None:
        if self.multiplexer is not None:
            self.multiplexer.drained()

    def logged(self, text: str) -> None:
        self._log.append(text[-LOG_LIMIT:])
        self._log_size += len(self._log[-1])
        while self._log_size > LOG_LIMIT and len(self._log) > 1:
            self._log_size -= len(self._log.popleft())

    def measured(self, memory: int) -> None:
        self.memory = memory
        self._around.changed()

    def initialized(self) -> None:
        assert self._starting is not None
        self.multiplexer = self._starting
        self._become(State.RUNNING, "")
        self._around.running(self, self.multiplexer)

    def failed(self, reason: str) -> None:
        if self._process is not None:
            self._process.kill(f"It is of no use: {reason}.")

    def apply_edit(
        self, owner: Editor | None, params: dict[str, Any], done: Callable[[str], None]
    ) -> None:
        async def apply() -> None:
            done(await self._around.apply_edit(self, owner, params))

        task = asyncio.create_task(apply())
        self._edits.add(task)
        task.add_done_callback(self._edits.discard)
