"""The languages of one workspace: its servers, the documents that editors have open, and who is
there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog

from cloudide.agents.hub import Agents
from cloudide.agents.link import Agent
from cloudide.errors import AgentUnavailable, CloudIDEError, Denied, NotFound
from cloudide.identity.permissions import Grant
from cloudide.languages import edits
from cloudide.languages.catalogue import Catalogue, catalogue
from cloudide.languages.documents import Document, Stamps
from cloudide.languages.editing import Editing
from cloudide.languages.editors import Editor
from cloudide.languages.following import Following, Rooms
from cloudide.languages.lines import Encoding
from cloudide.languages.multiplexer import Multiplexer
from cloudide.languages.servers import Server, State
from cloudide.languages.session import Session
from cloudide.languages.uris import Root
from cloudide.project import schema, vscode
from cloudide.protocol.agent import Change
from cloudide.protocol.languages import WAIT, Edited, Typing
from cloudide.settings import Settings

CATALOGUE_SECONDS = 60.0  # after which it is looked at anew when somebody comes
DOCUMENT_GRACE = 10.0  # seconds that a document stays open for the servers after the last editor
DOCUMENTS = 2000  # that all editors together have open
KINDS = {"added": 1, "modified": 2, "deleted": 3}  # LSP's FileChangeType
CONFIGURATION = (schema.FILE, vscode.FILE)  # from which servers have their settings
UNWATCHED = (".git/", "node_modules/.cache/")

_log = structlog.get_logger(__name__)


class WorkspaceLanguages:
    """See the module; `on_change` is called when what `view` shows has changed."""

    def __init__(
        self,
        id: str,
        folder: str,
        agents: Agents,
        rooms: Rooms,
        editing: Editing,
        settings: Settings,
        on_change: Callable[[], None],
    ) -> None:
        self.id = id
        self.root = Root(folder)
        self.stamps = Stamps()
        self.sessions: list[Session] = []
        self._agents = agents
        self._rooms = rooms
        self._editing = editing
        self._settings = settings
        self._on_change = on_change
        self._servers: dict[str, Server] = {}
        self._following: dict[str, Following] = {}
        self._catalogue: Catalogue | None = None
        self._catalogue_at = 0.0
        self._looking: asyncio.Lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed = False

    # ── who is there ────────────────────────────────────────────────────────────────────────────

    async def join(
        self,
        grant: Grant,
        language: str,
        send: Callable[[bytes], None],
        restart: Callable[[], None],
    ) -> Session:
        """Connect an editor to the servers of a language.

        Raises:
            NotFound: there is none for it. AgentUnavailable: the workspace does not run.
        """
        found = (await self.catalogue()).servers_for(language)
        if not found:
            raise NotFound(
                f"There is no language server for {language!r} in this workspace. Install one, or "
                f"name its command in cloudide.toml ([languages.{language}] command)."
            )
        servers: list[Server] = []
        for definition in found:
            server = self._servers.get(definition.id)
            if server is None:
                server = self._servers[definition.id] = Server(
                    definition,
                    self,
                    self._settings.language_server_memory,
                    self._settings.language_server_idle_minutes * 60,
                )
            elif server.state in (State.STOPPED, State.FAILED):
                server.definition = definition
            servers.append(server)
        session = Session(grant, self, servers, send, restart)
        self.sessions.append(session)
        for server in servers:
            server.acquire(session)
        return session

    def leave(self, session: Session) -> None:
        session.leave()
        if session in self.sessions:
            self.sessions.remove(session)
        for server in self._servers.values():
            server.release(session)

    async def catalogue(self, *, anew: bool = False) -> Catalogue:
        """Which servers there are, as it was lately.

        Raises:
            AgentUnavailable: the workspace does not run.
        """
        async with self._looking:
            now = self._loop.time()
            if anew or self._catalogue is None or now - self._catalogue_at > CATALOGUE_SECONDS:
                self._catalogue = await catalogue(self.agent())
                self._catalogue_at = now
            return self._catalogue

    async def restart(self, id: str) -> None:
        """Start a server anew, as it is configured now.

        Raises:
            NotFound: there is no such server. AgentUnavailable: the workspace does not run.
        """
        found = await self.catalogue(anew=True)
        definition = next((each for each in found.servers if each.id == id), None)
        if definition is None:
            raise NotFound("There is no such language server in this workspace.")
        if server := self._servers.get(id):
            await server.restart(definition)

    async def check(self, id: str) -> None:
        """Raises: NotFound: there is no such server. AgentUnavailable."""
        if not any(each.id == id for each in (await self.catalogue()).servers):
            raise NotFound("There is no such language server in this workspace.")

    def server(self, id: str) -> Server | None:
        return self._servers.get(id)

    async def end(self) -> None:
        """End all servers, at once."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for following in [*self._following.values()]:
            self._drop(following)
        await asyncio.gather(*(server.close() for server in self._servers.values()))

    def connected(self) -> None:
        """The workspace runs again: what somebody needs is started."""
        self._catalogue = None
        for server in self._servers.values():
            if server.clients and server.state is State.STOPPED:
                for client in [*server.clients]:
                    server.acquire(client)

    def files_changed(self, changes: list[Change], *, overflow: bool) -> None:
        if overflow or any(change.path in CONFIGURATION for change in changes):
            self._catalogue = None
            if self._servers:
                self._spawn(self._configure())
        told = [
            (change.path, KINDS[change.kind])
            for change in changes
            if not any(part in f"/{change.path}" for part in UNWATCHED)
        ]
        for server in self._servers.values():
            if server.multiplexer is not None:
                server.multiplexer.files_changed(told)

    async def _configure(self) -> None:
        """Tell those that run what is written of them now."""
        for definition in (await self.catalogue()).servers:
            if server := self._servers.get(definition.id):
                server.configure(definition)

    # ── what a session wants ────────────────────────────────────────────────────────────────────

    def now(self) -> float:
        return self._loop.time()

    async def open(self, path: str) -> Document:
        following = self._following.get(path)
        if following is None:
            if len(self._following) >= DOCUMENTS:
                raise Denied("Too many files are open in this workspace.")
            language = (await self.catalogue()).language_of(path)
            following = self._following.get(path)
            if following is None:
                following = self._following[path] = Following(
                    self._rooms, self.id, path, self.root.uri_of(path), language, self.stamps
                )
                following.on_gone = lambda following=following: self._drop(following)
                following.on_change = self._changed
                following.opening = self._loop.create_task(self._opened(following))
        following.hold()
        try:
            assert following.opening is not None
            await asyncio.shield(following.opening)
        except BaseException:
            self.close_document(following)
            raise
        return following.document

    async def _opened(self, following: Following) -> None:
        try:
            await following.load()
        except BaseException:
            self._drop(following)
            raise
        for server in self._servers.values():
            multiplexer = server.current()
            if multiplexer and following.language in server.definition.languages:
                multiplexer.open(following.document, self.now())

    def close(self, path: str) -> None:
        if following := self._following.get(path):
            self.close_document(following)

    def close_document(self, following: Following) -> None:
        following.release(DOCUMENT_GRACE)

    def document(self, path: str) -> Document | None:
        following = self._following.get(path)
        return following.document if following and following.loaded else None

    def documents(self) -> list[Document]:
        return [each.document for each in self._following.values() if each.loaded]

    def arrival(self, path: str, person: str, typing: Typing) -> Awaitable[None] | None:
        following = self._following.get(path)
        if following is None or not following.loaded:
            return None
        return following.arrival(person, typing.client, typing.updates, WAIT)

    def place(self, path: str, anchor: bytes) -> int | None:
        following = self._following.get(path)
        return following.place(anchor) if following and following.loaded else None

    def save(self, path: str) -> None:
        """Write a document to its file, and tell the servers that it was."""

        async def save() -> None:
            with suppress(CloudIDEError):
                await self._rooms.flush(self.id, path)
            for server in self._servers.values():
                if server.multiplexer is not None:
                    server.multiplexer.saved(path)

        self._spawn(save())

    async def apply(
        self, grant: Grant, label: str, edit: dict[str, Any], encoding: Encoding, stamp: int
    ) -> Edited | None:
        plan = edits.read(edit, self.root, encoding)

        def is_current(path: str, text: str) -> bool:
            document = self.document(path)
            return document is None or document.version <= stamp

        return await self._editing.apply(grant, label, plan, encoding, is_current)

    # ── what a server wants ─────────────────────────────────────────────────────────────────────

    def agent(self) -> Agent:
        return self._agents.agent(self.id)

    def running(self, server: Server, multiplexer: Multiplexer) -> None:
        for session in [*self.sessions]:
            session.restarted(server, multiplexer)

    async def apply_edit(self, server: Server, owner: Editor | None, params: dict[str, Any]) -> str:
        session = next((each for each in self.sessions if each is owner), None)
        multiplexer = server.multiplexer
        if session is None or multiplexer is None or not session.grant.sends("languages", "edit"):
            return "Nobody here has asked for this edit."
        label = str(params.get("label") or server.definition.name)[:200]
        try:
            edit: dict[str, Any] = params["edit"]
            edited = await self.apply(
                session.grant, label, edit, multiplexer.encoding, self.stamps.latest
            )
        except CloudIDEError as error:
            return error.message
        except (TypeError, KeyError, AttributeError):
            return "The edit is not one that LSP knows."
        if edited is not None:
            session.edited(edited)
        return ""

    def changed(self) -> None:
        if not self._closed:
            self._on_change()

    # ── documents ───────────────────────────────────────────────────────────────────────────────

    def _changed(self, document: Document) -> None:
        now = self._loop.time()
        for server in self._servers.values():
            multiplexer = server.multiplexer
            if multiplexer and document.language in server.definition.languages:
                multiplexer.changed(document, now)

    def _drop(self, following: Following) -> None:
        if self._following.get(following.path) is following:
            del self._following[following.path]
            for server in self._servers.values():
                if (multiplexer := server.current()) is not None:
                    multiplexer.close(following.path)
        following.end()

    def _spawn(self, work: Any) -> None:
        async def run() -> None:
            try:
                await work
            except AgentUnavailable:
                pass
            except Exception:
                _log.exception("languages.task_failed", workspace=self.id)

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
