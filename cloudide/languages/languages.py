"""All language servers of all workspaces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import structlog

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.errors import CloudIDEError
from cloudide.identity.permissions import Grant
from cloudide.languages.editing import Editing
from cloudide.languages.edits import Replacement, fits, replacing
from cloudide.languages.following import Rooms
from cloudide.languages.servers import State
from cloudide.languages.session import Session
from cloudide.languages.workspace import WorkspaceLanguages
from cloudide.protocol.agent import FilesChanged
from cloudide.protocol.languages import Edited
from cloudide.settings import Settings

FOLDER = "/workspace"
FOLDER_LIMIT = 4096  # characters
TELL_SECONDS = 0.5  # between two tellings of what has changed

_log = structlog.get_logger(__name__)


class Languages(Listener):
    """Use as an async context manager. `on_change(workspace)` hears when `view` would differ."""

    def __init__(self, agents: Agents, rooms: Rooms, settings: Settings) -> None:
        self.on_change: Callable[[str], None] = lambda workspace: None
        self._agents = agents
        self._rooms = rooms
        self._settings = settings
        self._editing = Editing(agents, rooms)
        self._workspaces: dict[str, WorkspaceLanguages] = {}
        self._telling: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Languages:
        self._agents.subscribe(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._telling.values():
            handle.cancel()
        await asyncio.gather(*(each.end() for each in self._workspaces.values()))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ── what people ask ─────────────────────────────────────────────────────────────────────────

    async def join(
        self,
        grant: Grant,
        language: str,
        send: Callable[[bytes], None],
        restart: Callable[[], None],
    ) -> tuple[Session, Callable[[], None]]:
        """Connect an editor to the servers of a language; returns it, and how to leave.

        `send` takes messages to it; `restart` is called when it is to connect anew.

        Raises:
            NotFound: there is none for it. AgentUnavailable: the workspace does not run.
        """
        workspace = self._workspace(grant.workspace)
        session = await workspace.join(grant, language, send, restart)
        return session, lambda: workspace.leave(session)

    async def view(self, id: str) -> dict[str, Any]:
        """The servers of a workspace and how they are.

        Raises:
            AgentUnavailable: the workspace does not run.
        """
        workspace = self._workspace(id)
        found = await workspace.catalogue()
        servers: list[dict[str, Any]] = []
        for definition in found.servers:
            server = workspace.server(definition.id)
            multiplexer = server.multiplexer if server else None
            shown = server.definition if server and multiplexer else definition
            view: dict[str, Any] = {
                "id": definition.id,
                "name": shown.name,
                "version": str(multiplexer.info.get("version") or "")[:100] if multiplexer else "",
                "languages": shown.languages,
                "command": shown.command,
                "builtin": shown.builtin,
                "state": server.state if server else State.STOPPED,
                "detail": server.detail if server else "",
                "memory": server.memory if server else 0,
                "clients": len(server.clients) if server else 0,
                "restarts": server.restarts if server else 0,
            }
            servers.append(view)
        return {
            "root": workspace.root.uri,
            "servers": servers,
            "extensions": found.extensions,
            "problems": found.problems,
            "hints": found.hints,
        }

    async def log(self, id: str, server: str) -> str:
        """What a server printed last; "" of one that never ran.

        Raises:
            NotFound: there is no such server. AgentUnavailable: the workspace does not run.
        """
        workspace = self._workspace(id)
        if found := workspace.server(server):
            return found.log
        await workspace.check(server)
        return ""

    async def restart(self, id: str, server: str) -> None:
        """Raises: NotFound, AgentUnavailable."""
        await self._workspace(id).restart(server)

    async def undo(self, grant: Grant, edit: str) -> Edited:
        """See `Editing.undo`."""
        return await self._editing.undo(grant, edit)

    async def replace(
        self, grant: Grant, label: str, replacements: Mapping[str, Sequence[Replacement]]
    ) -> Edited | None:
        """Replace parts of texts, as one edit of somebody; None when there is nothing to do.

        Raises:
            Conflict: a part is no longer what it was. CloudIDEError: see `Editing.apply`.
        """

        def is_current(path: str, text: str) -> bool:
            return fits(text, replacements[path])

        return await self._editing.apply(grant, label, replacing(replacements), "utf-8", is_current)

    def forget(self, workspace: str) -> None:
        """A workspace is gone."""
        self._editing.forget(workspace)
        self._end(workspace)

    # ── agents ──────────────────────────────────────────────────────────────────────────────────

    def connected(self, agent: Agent) -> None:
        if workspace := self._workspaces.get(agent.workspace_id):
            if workspace.root.folder == _folder(agent):
                workspace.connected()
            else:
                self._end(agent.workspace_id)

    def files_changed(self, workspace_id: str, event: FilesChanged) -> None:
        if workspace := self._workspaces.get(workspace_id):
            workspace.files_changed(event.changes, overflow=event.overflow)

    def _workspace(self, id: str) -> WorkspaceLanguages:
        """Raises: AgentUnavailable: it does not run."""
        workspace = self._workspaces.get(id)
        if workspace is None:
            workspace = self._workspaces[id] = WorkspaceLanguages(
                id,
                _folder(self._agents.agent(id)),
                self._agents,
                self._rooms,
                self._editing,
                self._settings,
                lambda: self._changed(id),
            )
        return workspace

    def _end(self, id: str) -> None:
        if workspace := self._workspaces.pop(id, None):
            task = asyncio.create_task(self._close(workspace))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _close(self, workspace: WorkspaceLanguages) -> None:
        try:
            await workspace.end()
        except CloudIDEError as error:
            _log.warning("languages.not_closed", workspace=workspace.id, error=error.message)

    def _changed(self, workspace: str) -> None:
        """Tell it soon, once for all that changes meanwhile."""
        if workspace not in self._telling:
            loop = asyncio.get_running_loop()
            self._telling[workspace] = loop.call_later(TELL_SECONDS, self._tell, workspace)

    def _tell(self, workspace: str) -> None:
        del self._telling[workspace]
        self.on_change(workspace)


def _folder(agent: Agent) -> str:
    """The workspace's folder, of which the agent is not believed everything."""
    root = agent.hello.root
    plain = root.startswith("/") and len(root) < FOLDER_LIMIT and "\0" not in root
    return root if plain and ".." not in root.split("/") else FOLDER
