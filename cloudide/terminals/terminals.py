"""Terminals: shared by several viewers, alive in the workspace whoever looks.

The process and its past live in the agent. The server attaches to a terminal while somebody looks
at it, keeps the same past, and gives it to each viewer who joins; viewers have a queue each, so
that a slow one delays nobody.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec
import structlog

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.agents.streams import Stream
from cloudide.channel import Channel
from cloudide.errors import CloudIDEError, Conflict, Denied, InvalidInput, NotFound, TooMany
from cloudide.identity.permissions import Action, Grant
from cloudide.protocol.agent import CreateTerminal, Exit, Exited, Ready, Replay, TerminalInfo
from cloudide.protocol.scrollback import Scrollback
from cloudide.protocol.terminal import MAX_SIZE, MIN_SIZE, FromViewer, Resize
from cloudide.settings import Settings

_log = structlog.get_logger(__name__)
_from_viewer = msgspec.json.Decoder(FromViewer)

GONE_AWAY = 1012  # the viewer comes back: the workspace or the server is restarting
DETACH_SECONDS = 30.0  # how long a terminal stays attached that nobody looks at

Key = tuple[str, str]  # workspace id, terminal id


class Viewer:
    """One who looks at a terminal, and types in it if the grant allows that."""

    def __init__(self, terminal: Terminal, grant: Grant, channel: Channel) -> None:
        self.terminal = terminal
        self.grant = grant
        self.channel = channel
        self.size: tuple[int, int] | None = None
        self.lagging = False
        channel.on_drained = self._drained

    @property
    def writable(self) -> bool:
        return self.grant.allows(Action.EXECUTE)

    async def receive(self, frame: bytes | str) -> None:
        """Handle one frame: typed bytes or a control message.

        Raises:
            Denied: this viewer may only look.
            InvalidInput: it is not a control message.
        """
        if isinstance(frame, bytes):
            if not self.writable:
                raise Denied("You may look at this terminal, but not type in it.")
            await self.terminal.type(frame)
            return
        try:
            message = _from_viewer.decode(frame)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"The control message was not understood: {error}") from error
        if isinstance(message, Resize):
            self.size = (_clamp(message.cols), _clamp(message.rows))
            await self.terminal.fit()
        else:
            self.tell({"type": "pong"})

    async def leave(self) -> None:
        await self.terminal.remove(self)

    def show(self, data: bytes) -> None:
        """Queue output; over budget, drop it all and replay when the viewer reads again."""
        if self.lagging:
            return
        self.channel.send(data)
        if self.channel.over_budget:
            self.channel.drop()
            self.lagging = True

    def tell(self, message: dict[str, Any]) -> None:
        self.channel.send(msgspec.json.encode(message).decode())

    def replay(self) -> None:
        terminal = self.terminal
        cols, rows = terminal.size
        self.tell({"type": "replay", "cols": cols, "rows": rows})
        if past := bytes(terminal.past.content):
            self.channel.send(past, counted=False)
        self.tell({"type": "ready", "writable": self.writable})

    def _drained(self) -> None:
        if self.lagging:
            self.lagging = False
            self.replay()


class Terminal:
    """One terminal that somebody looks at: attached to the agent, shown to all viewers."""

    def __init__(self, agents: Agents, workspace: str, info: TerminalInfo, scrollback: int) -> None:
        self.workspace = workspace
        self.info = info
        self.size = (info.cols, info.rows)
        self.past = Scrollback(scrollback)
        self.viewers: list[Viewer] = []
        self.on_empty: Callable[[], None] = lambda: None
        self.on_change: Callable[[], None] = lambda: None
        self.on_ended: Callable[[], None] = lambda: None
        self._agents = agents
        self._stream: Stream | None = None
        self._ready = False

    def add(self, viewer: Viewer) -> None:
        self.viewers.append(viewer)
        if self._ready:
            viewer.replay()
        self._tell_viewers()

    async def remove(self, viewer: Viewer) -> None:
        if viewer in self.viewers:
            self.viewers.remove(viewer)
            self._tell_viewers()
            if not self.viewers:
                self.on_empty()
            else:
                await self.fit()

    async def type(self, data: bytes) -> None:
        if self._stream is not None and self._ready:
            await self._stream.send(data)

    async def fit(self) -> None:
        """Give the terminal the smallest size of those who may type in it, or else of all."""
        sized = [viewer for viewer in self.viewers if viewer.size is not None]
        typing = [viewer for viewer in sized if viewer.writable]
        sizes = [viewer.size for viewer in typing or sized if viewer.size is not None]
        if not sizes:
            return
        size = (min(cols for cols, _ in sizes), min(rows for _, rows in sizes))
        if size == self.size:
            return
        self.size = size
        for viewer in self.viewers:
            viewer.tell({"type": "resize", "cols": size[0], "rows": size[1]})
        if self.info.exit is None:
            await self._agents.agent(self.workspace).resize_terminal(self.info.id, *size)

    async def run(self) -> None:
        """Attach and show what comes, until the program has ended or the link is cut."""
        try:
            agent = self._agents.agent(self.workspace)
            self._stream = await agent.attach_terminal(self.info.id)
            while await self._next(self._stream):
                pass
        except CloudIDEError as error:
            for viewer in [*self.viewers]:
                viewer.channel.close(
                    NotFound.close_code if isinstance(error, NotFound) else GONE_AWAY,
                    error.message,
                )
        finally:
            # Before anything is waited for: who comes now would be told nothing any more.
            self.on_ended()
            if self._stream is not None:
                await self._stream.close()

    async def _next(self, stream: Stream) -> bool:
        """Handle one message of the agent; False after the last."""
        match await stream.recv():
            case bytes() as data:
                self.past.append(data)
                if self._ready:
                    for viewer in self.viewers:
                        viewer.show(data)
            case Replay(cols, rows, lost):
                self.past.restart(lost)
                self.size = (cols, rows)
                self._ready = False
            case Ready():
                self._ready = True
                for viewer in self.viewers:
                    viewer.replay()
            case Exited(exit):
                self.info = msgspec.structs.replace(self.info, exit=exit)
                for viewer in self.viewers:
                    viewer.tell({"type": "exit", **exit_view(exit)})
                    viewer.channel.close()
                return False
            case _:
                raise Conflict("The workspace's agent sent something unexpected.")
        return True

    def retitle(self, info: TerminalInfo) -> None:
        if info.title != self.info.title:
            for viewer in self.viewers:
                viewer.tell({"type": "title", "title": info.title})
        self.info = info

    def _tell_viewers(self) -> None:
        people = {viewer.grant.person.id: viewer.grant.person for viewer in self.viewers}
        message = {
            "type": "viewers",
            "people": [msgspec.to_builtins(person) for person in people.values()],
        }
        for viewer in self.viewers:
            viewer.tell(message)
        self.on_change()


class Terminals(Listener):
    """All terminals. Use as an async context manager; it owns the tasks that attach to them."""

    def __init__(self, agents: Agents, settings: Settings) -> None:
        self.on_change: Callable[[str], None] = lambda workspace: None
        self._agents = agents
        self._scrollback = settings.terminal_scrollback
        self._limit = settings.terminals_per_workspace
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
        self, workspace: str, cols: int, rows: int, command: list[str], cwd: str
    ) -> dict[str, Any]:
        """Start a login shell, or a command, on a new terminal; returns how it is listed.

        Raises:
            TooMany: the workspace has as many terminals as it may have.
            AgentUnavailable: the workspace does not run.
            CloudIDEError: the program could not be started.
        """
        known = self._infos.setdefault(workspace, {})
        if sum(info.exit is None for info in known.values()) >= self._limit:
            raise TooMany(
                f"{self._limit} terminals are open in this workspace, which is the limit. "
                "Close one first."
            )
        info = await self._agents.agent(workspace).create_terminal(
            CreateTerminal("t" + secrets.token_hex(6), _clamp(cols), _clamp(rows), command, cwd)
        )
        known[info.id] = info
        self.on_change(workspace)
        return self.view(workspace, info)

    @property
    def attached(self) -> int:
        """How many terminals somebody looks at."""
        return len(self._attached)

    def known(self, workspace: str) -> bool:
        """Whether the agent has said which terminals there are."""
        return workspace in self._infos

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
        key = (grant.workspace, id)
        terminal = self._attached.get(key)
        if terminal is None:
            terminal = Terminal(self._agents, grant.workspace, info, self._scrollback)
            terminal.on_change = lambda: self.on_change(grant.workspace)
            terminal.on_empty = lambda: self._empty(key)
            terminal.on_ended = lambda: self._detached(key, terminal)
            self._attached[key] = terminal
            self._running[key] = self._tasks.create_task(self._run(key, terminal))
        viewer = Viewer(terminal, grant, channel)
        terminal.add(viewer)
        return viewer

    def view(self, workspace: str, info: TerminalInfo) -> dict[str, Any]:
        """A terminal as the API shows it."""
        attached = self._attached.get((workspace, info.id))
        cols, rows = attached.size if attached else (info.cols, info.rows)
        view: dict[str, Any] = {
            "id": info.id,
            "title": info.title,
            "command": info.command,
            "cwd": info.cwd,
            "cols": cols,
            "rows": rows,
            "viewers": len(attached.viewers) if attached else 0,
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

    def _empty(self, key: Key) -> None:
        task = self._running.get(key)
        terminal = self._attached.get(key)
        if task is not None and terminal is not None:

            def detach() -> None:
                if not terminal.viewers:
                    task.cancel()

            asyncio.get_running_loop().call_later(DETACH_SECONDS, detach)

    def _find(self, workspace: str, id: str) -> TerminalInfo:
        info = self._infos.get(workspace, {}).get(id)
        if info is None:
            raise NotFound("This terminal is gone.")
        return info

    # ── what agents tell ────────────────────────────────────────────────────────────────────────

    def connected(self, agent: Agent) -> None:
        self._infos[agent.workspace_id] = {info.id: info for info in agent.hello.terminals}
        self.on_change(agent.workspace_id)

    def disconnected(self, workspace_id: str) -> None:
        # Nothing is told: the terminals live on, and the next hello lists them.
        self._infos.pop(workspace_id, None)

    def terminal_changed(self, workspace_id: str, terminal: TerminalInfo) -> None:
        self._infos.setdefault(workspace_id, {})[terminal.id] = terminal
        if attached := self._attached.get((workspace_id, terminal.id)):
            attached.retitle(terminal)
        self.on_change(workspace_id)

    def terminal_removed(self, workspace_id: str, terminal_id: str) -> None:
        if self._infos.get(workspace_id, {}).pop(terminal_id, None) is not None:
            self.on_change(workspace_id)


def exit_view(exit: Exit) -> dict[str, int]:
    return {"code": exit.code} if exit.code is not None else {"signal": exit.signal or 0}


def _clamp(size: int) -> int:
    return max(MIN_SIZE, min(MAX_SIZE, size))
