"""Terminals: shared by several viewers, alive in the workspace whoever looks.

The process and its past live in the agent. The server attaches to a terminal while somebody looks
at it or records it, and shows it to all of them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol

import msgspec
import structlog

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.channel import Channel
from cloudide.errors import Denied, NotFound, TooMany
from cloudide.identity.permissions import Action, Grant, Person
from cloudide.protocol.agent import CreateTerminal, TerminalInfo
from cloudide.protocol.terminal import TypingMode
from cloudide.settings import Settings
from cloudide.terminals.audience import exit_view
from cloudide.terminals.recording import Recording
from cloudide.terminals.records import Record, Seal
from cloudide.terminals.terminal import GONE_AWAY, Terminal
from cloudide.terminals.viewer import Viewer, clamp

_log = structlog.get_logger(__name__)

DETACH_SECONDS = 30.0  # how long a terminal stays attached that nobody looks at
RECORDINGS = 4  # kept for one workspace

Key = tuple[str, str]  # workspace id, terminal id


class Given(Protocol):
    """Secrets for a terminal; `own`: some are those of the person who opens it."""

    @property
    def environment(self) -> dict[str, str]: ...
    @property
    def files(self) -> dict[str, str]: ...
    @property
    def own(self) -> bool: ...


class Terminals(Listener):
    """All terminals. Use as an async context manager; it owns the tasks that attach to them."""

    def __init__(self, agents: Agents, settings: Settings, key: bytes) -> None:
        """`key` seals what agents keep for us; it stays the same over restarts."""
        self.on_change: Callable[[str], None] = lambda workspace: None
        # Awaited before what somebody types goes on, when it was another person before.
        self.on_typist: Callable[[str, str, Person], Awaitable[None]] = _nothing
        self._agents = agents
        self._scrollback = settings.terminal_scrollback
        self._recording_limit = settings.terminal_recording
        self._limit = settings.terminals_per_workspace
        self._seal = Seal(key)
        self._records: dict[Key, Record] = {}
        self._recordings: dict[Key, Recording] = {}
        self._infos: dict[str, dict[str, TerminalInfo]] = {}
        self._attached: dict[Key, Terminal] = {}
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Terminals:
        await self._tasks.__aenter__()
        self._agents.subscribe(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of all terminals; they live on in their workspaces."""
        for terminal in self._attached.values():
            for viewer in terminal.viewers:
                viewer.channel.close(GONE_AWAY, "The server is restarting.")
        for task in self._running.values():
            task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    async def create(
        self,
        grant: Grant,
        cols: int,
        rows: int,
        command: list[str],
        cwd: str,
        given: Given | None = None,
    ) -> dict[str, Any]:
        """Start a login shell, or a command, on a new terminal; returns how it is listed.

        It belongs to the person of the grant. `given`: the secrets that it gets; with any of that
        person's own, nobody else may type in it.

        Raises:
            TooMany: the workspace has as many terminals as it may have.
            AgentUnavailable: the workspace does not run.
            CloudIDEError: the program could not be started.
        """
        workspace = grant.workspace
        known = self._infos.setdefault(workspace, {})
        if sum(info.exit is None for info in known.values()) >= self._limit:
            raise TooMany(
                f"{self._limit} terminals are open in this workspace, which is the limit. "
                "Close one first."
            )
        id = "t" + secrets.token_hex(6)
        record = self._records[workspace, id] = Record(owner=grant.person)
        if given is not None and given.own:
            record.mode = "owner"
        try:
            await self.on_typist(workspace, id, grant.person)
            info = await self._agents.agent(workspace).create_terminal(
                CreateTerminal(
                    id,
                    clamp(cols),
                    clamp(rows),
                    command,
                    cwd,
                    scrollback=self._scrollback,
                    record=self._seal.close(workspace, id, record),
                    env=given.environment if given is not None else {},
                    files=given.files if given is not None else {},
                )
            )
        except BaseException:
            del self._records[workspace, id]
            raise
        known[info.id] = info
        self.on_change(workspace)
        return self.view(workspace, info)

    async def configure(self, grant: Grant, id: str, mode: TypingMode) -> dict[str, Any]:
        """Say who may type; whoever says so is the terminal's owner from then on.

        Raises:
            NotFound: there is no such terminal.
            Denied: it is somebody else's, and the workspace too.
        """
        workspace = grant.workspace
        info = self._find(workspace, id)
        record = self._record(workspace, info)
        mine = record.owner is None or record.owner.id == grant.person.id
        if not mine and not grant.allows(Action.SHARE):
            raise Denied("Only who opened this terminal, or owns the workspace, may say who types.")
        record.owner, record.mode = grant.person, mode
        if attached := self._attached.get((workspace, id)):
            attached.tell_typing()
        self.on_change(workspace)
        sealed = self._seal.close(workspace, id, record)
        await self._agents.agent(workspace).keep_record(id, sealed)
        return self.view(workspace, info)

    # ── recordings ──────────────────────────────────────────────────────────────────────────────

    def record(self, grant: Grant, id: str) -> dict[str, Any]:
        """Begin to record a terminal, from what is on its screen on; a former recording goes.

        Raises:
            NotFound: there is no such terminal.
            TooMany: as many recordings are kept for this workspace as may be.
        """
        workspace = grant.workspace
        info = self._find(workspace, id)
        key = (workspace, id)
        if len([k for k in self._recordings if k[0] == workspace and k != key]) >= RECORDINGS:
            raise TooMany(
                f"{RECORDINGS} recordings are kept for this workspace, which is the limit. "
                "Download and delete one first."
            )
        if former := self._recordings.pop(key, None):
            former.end()
        terminal = self._attach(workspace, info)

        def ended() -> None:
            terminal.remove_other(recording)
            self._tell_recording(key)

        recording = Recording(grant.person, info.title, self._recording_limit, ended)
        self._recordings[key] = recording
        terminal.add_other(recording)
        self._tell_recording(key)
        return self.view(workspace, info)

    def recording(self, workspace: str, id: str) -> Recording:
        """Raises: NotFound: nothing of this terminal was recorded."""
        try:
            return self._recordings[workspace, id]
        except KeyError:
            raise NotFound("There is no recording of this terminal.") from None

    def end_recording(self, workspace: str, id: str) -> None:
        """Stop; the recording is kept until it is deleted, as is its terminal."""
        self.recording(workspace, id).end()

    def delete_recording(self, workspace: str, id: str) -> None:
        self.recording(workspace, id).end()
        del self._recordings[workspace, id]
        self._tell_recording((workspace, id))

    def _tell_recording(self, key: Key) -> None:
        if attached := self._attached.get(key):
            view = self._recording_view(key)
            for viewer in attached.viewers:
                viewer.tell({"type": "recording", "recording": view})
        self.on_change(key[0])

    def _recording_view(self, key: Key) -> dict[str, Any] | None:
        recording = self._recordings.get(key)
        if recording is None:
            return None
        return {
            "by": recording.by,
            "started_at": recording.started_at,
            "running": recording.running,
            "truncated": recording.truncated,
            "size": recording.size,
        }

    # ── what there is ───────────────────────────────────────────────────────────────────────────

    @property
    def attached(self) -> int:
        """How many terminals somebody looks at."""
        return len(self._attached)

    def known(self, workspace: str) -> bool:
        """Whether the agent has said which terminals there are."""
        return workspace in self._infos

    def typist(self, workspace: str, id: str) -> Person | None:
        """Who typed in a terminal last, or else opened it."""
        record = self._records.get((workspace, id))
        if record is None:
            info = self._infos.get(workspace, {}).get(id)
            if info is None:
                return None
            record = self._record(workspace, info)
        return record.typed[0].person if record.typed else record.owner

    def list(self, workspace: str) -> list[dict[str, Any]]:
        return [self.view(workspace, info) for info in self._infos.get(workspace, {}).values()]

    async def close(self, workspace: str, id: str) -> None:
        """Raises: NotFound: there is no such terminal."""
        self._find(workspace, id)
        await self._agents.agent(workspace).close_terminal(id)
        self.terminal_removed(workspace, id)

    def attach(self, grant: Grant, id: str, channel: Channel) -> Viewer:
        """Begin to look at a terminal.

        Raises:
            NotFound: there is no such terminal.
            AgentUnavailable: the workspace does not run.
        """
        self._agents.agent(grant.workspace)
        info = self._find(grant.workspace, id)
        terminal = self._attach(grant.workspace, info)
        viewer = Viewer(terminal, grant, channel)
        terminal.add(viewer)
        if recording := self._recording_view((grant.workspace, id)):
            viewer.tell({"type": "recording", "recording": recording})
        return viewer

    def _attach(self, workspace: str, info: TerminalInfo) -> Terminal:
        key = (workspace, info.id)
        if (terminal := self._attached.get(key)) is not None:
            return terminal
        record = self._record(workspace, info)
        terminal = Terminal(
            self._agents,
            workspace,
            info,
            record,
            lambda: self._seal.close(workspace, info.id, record),
        )
        terminal.on_change = lambda: self.on_change(workspace)
        terminal.on_typist = lambda person: self.on_typist(workspace, info.id, person)
        terminal.on_empty = lambda: self._empty(key)
        terminal.on_ended = lambda: self._detached(key, terminal)
        self._attached[key] = terminal
        self._running[key] = self._tasks.create_task(self._run(key, terminal))
        return terminal

    def _record(self, workspace: str, info: TerminalInfo) -> Record:
        key = (workspace, info.id)
        if key not in self._records:
            self._records[key] = self._seal.open(workspace, info.id, info.record)
        return self._records[key]

    def view(self, workspace: str, info: TerminalInfo) -> dict[str, Any]:
        """A terminal as the API shows it."""
        attached = self._attached.get((workspace, info.id))
        record = self._record(workspace, info)
        cols, rows = attached.size if attached else (info.cols, info.rows)
        view: dict[str, Any] = {
            "id": info.id,
            "title": info.title,
            "command": info.command,
            "cwd": info.cwd,
            "cols": cols,
            "rows": rows,
            "viewers": len(attached.viewers) if attached else 0,
            "directory": info.directory,
            "foreground": info.foreground,
            "bells": info.bells,
            "owner": record.owner,
            "typing": record.mode,
            "typed": [
                {**msgspec.to_builtins(typist.person), "at": typist.at} for typist in record.typed
            ],
            "recording": self._recording_view((workspace, info.id)),
        }
        if info.exit is not None:
            view["exit"] = exit_view(info.exit)
        return view

    async def _run(self, key: Key, terminal: Terminal) -> None:
        try:
            await terminal.run()
        except Exception:
            _log.exception("terminal.failed", workspace=key[0], terminal=key[1])
            for viewer in terminal.viewers:
                viewer.channel.close(GONE_AWAY, "The terminal's connection failed.")

    def _detached(self, key: Key, terminal: Terminal) -> None:
        if self._attached.get(key) is terminal:
            del self._attached[key]
            del self._running[key]
            known = self._infos.get(key[0], {})
            if terminal.info.exit is not None and key[1] in known:
                # The agent tells it on the control socket too, in its own time.
                known[key[1]] = terminal.info
                self.on_change(key[0])
            for other in [*terminal.others]:
                if isinstance(other, Recording):
                    other.end()

    def _empty(self, key: Key) -> None:
        task = self._running.get(key)
        terminal = self._attached.get(key)
        if task is not None and terminal is not None:

            def detach() -> None:
                if not terminal.audience:
                    task.cancel()

            asyncio.get_running_loop().call_later(DETACH_SECONDS, detach)

    def _find(self, workspace: str, id: str) -> TerminalInfo:
        info = self._infos.get(workspace, {}).get(id)
        if info is None:
            raise NotFound("This terminal is gone.")
        return info

    # ── what agents tell ────────────────────────────────────────────────────────────────────────

    def connected(self, agent: Agent) -> None:
        workspace = agent.workspace_id
        infos = self._infos[workspace] = {info.id: info for info in agent.hello.terminals}
        for key in {*self._records, *self._recordings}:
            if key[0] == workspace and key[1] not in infos:
                self._forget(key)
        self.on_change(agent.workspace_id)

    def disconnected(self, workspace_id: str) -> None:
        # Nothing is told: the terminals live on, and the next hello lists them.
        self._infos.pop(workspace_id, None)

    def terminal_changed(self, workspace_id: str, terminal: TerminalInfo) -> None:
        self._infos.setdefault(workspace_id, {})[terminal.id] = terminal
        if attached := self._attached.get((workspace_id, terminal.id)):
            attached.retold(terminal)
        self.on_change(workspace_id)

    def terminal_removed(self, workspace_id: str, terminal_id: str) -> None:
        if self._infos.get(workspace_id, {}).pop(terminal_id, None) is not None:
            self._forget((workspace_id, terminal_id))
            self.on_change(workspace_id)

    def _forget(self, key: Key) -> None:
        self._records.pop(key, None)
        if recording := self._recordings.pop(key, None):
            recording.end()


async def _nothing(_workspace: str, _terminal: str, _person: Person) -> None:
    return None
