"""A multiplexer and its editors without any I/O: the server is what a test says in its place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from cloudide.errors import NotFound
from cloudide.identity.permissions import Grant, Person, Role
from cloudide.languages.documents import Document, Stamps
from cloudide.languages.lines import Encoding
from cloudide.languages.multiplexer import Configuration, Multiplexer
from cloudide.languages.session import Session
from cloudide.languages.uris import Root
from cloudide.protocol.languages import Edited, Typing

Json = dict[str, Any]
ROOT = Root("/workspace")
ADA = Person("ada", "Ada", "#aa0000")
BOB = Person("bob", "Bob", "#0000bb")
EVERYTHING: Json = {
    "textDocumentSync": 2,
    "hoverProvider": True,
    "completionProvider": {"resolveProvider": True, "triggerCharacters": ["."]},
    "definitionProvider": True,
    "referencesProvider": True,
    "renameProvider": {"prepareProvider": True},
    "codeActionProvider": {"resolveProvider": True},
    "documentFormattingProvider": True,
    "inlayHintProvider": True,
    "executeCommandProvider": {"commands": ["do.it"]},
}


def uri(path: str) -> str:
    return ROOT.uri_of(path)


class Server:
    """One language server: what it was told, and what it says. Also the process and the host."""

    def __init__(self, world: World, id: str, capabilities: Json, **configuration: Any) -> None:
        self.id = id
        self.world = world
        self.full = False
        self.heard: list[Json] = []
        self.log = ""
        self.reason = ""
        self.edits: list[tuple[Any, Json, Callable[[str], None]]] = []
        self.multiplexer: Multiplexer | None = None
        self.capabilities = capabilities
        self.configuration = Configuration(id=id, root=ROOT, **configuration)
        self.core = Multiplexer(self.configuration, self, self, world.stamps)

    # ── the process ─────────────────────────────────────────────────────────────────────────────

    def send(self, body: bytes) -> None:
        self.heard.append(json.loads(body))

    # ── the host ────────────────────────────────────────────────────────────────────────────────

    def initialized(self) -> None:
        self.multiplexer = self.core
        for session in self.world.sessions:
            session.restarted(self, self.core)

    def apply_edit(self, owner: Any, params: Json, done: Callable[[str], None]) -> None:
        self.edits.append((owner, params, done))

    def logged(self, text: str) -> None:
        self.log += text

    def failed(self, reason: str) -> None:
        self.reason = reason

    async def started(self) -> None:
        if self.multiplexer is None and not self.reason:
            self.start()

    # ── what a test does ────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        self.core.start(self.world.time)
        result = {"capabilities": self.capabilities, "serverInfo": {"name": self.id}}
        self.answer(self.asked("initialize"), result)

    def crash(self) -> None:
        """The process ends; another one takes its place when `start` is called."""
        before, self.multiplexer = self.core, None
        before.ended()
        self.heard.clear()
        self.core = Multiplexer(self.configuration, self, self, self.world.stamps)
        for document in self.world.opened.values():
            self.core.open(document, self.world.time)

    def say(self, message: Json | bytes) -> None:
        body = (
            message
            if isinstance(message, bytes)
            else json.dumps({"jsonrpc": "2.0", **message}).encode()
        )
        self.core.receive(body, self.world.time)

    def notify(self, method: str, params: Any) -> None:
        self.say({"method": method, "params": params})

    def answer(self, request: Json, result: Any) -> None:
        self.say({"id": request["id"], "result": result})

    def fail(self, request: Json, code: int, message: str = "no") -> None:
        self.say({"id": request["id"], "error": {"code": code, "message": message}})

    def ask(self, id: int | str, method: str, params: Any) -> Json:
        """Ask the client; returns its one answer, which has to come at once."""
        before = len(self.heard)
        self.say({"id": id, "method": method, "params": params})
        answers = [each for each in self.heard[before:] if each.get("id") == id]
        assert len(answers) == 1, answers
        assert "method" not in answers[0]
        return answers[0]

    def told(self, method: str) -> list[Json]:
        """The parameters of all notifications of a method."""
        return [
            dict(each.get("params") or {}) for each in self.heard if each.get("method") == method
        ]

    def asked(self, method: str) -> Json:
        """The last request of a method."""
        return [each for each in self.heard if each.get("method") == method and "id" in each][-1]

    def count(self, method: str) -> int:
        return sum(each.get("method") == method for each in self.heard)


class World:
    """The workspace: its documents, the time, who is there."""

    def __init__(self, **files: str) -> None:
        self.root = ROOT
        self.stamps = Stamps()
        self.time = 100.0
        self.files = {f"{name}.py": text for name, text in files.items()}
        self.opened: dict[str, Document] = {}
        self.holders: dict[str, int] = {}
        self.sessions: list[Session] = []
        self.servers: list[Server] = []
        self.saved: list[str] = []
        self.applied: list[tuple[Grant, str, Json, int]] = []
        self.waiting: asyncio.Future[None] | None = None
        self.anchors: dict[bytes, int] = {}

    def server(self, id: str = "one", capabilities: Json | None = None, **more: Any) -> Server:
        server = Server(self, id, EVERYTHING if capabilities is None else capabilities, **more)
        self.servers.append(server)
        return server

    def type(self, path: str, at: int, removed: int, text: str) -> None:
        """Somebody edits; `at` counts bytes."""
        document = self.opened[path]
        document.apply([{"retain": at}, {"delete": removed}, {"insert": text}], 1)

    def tick(self, seconds: float) -> None:
        self.time += seconds
        for server in self.servers:
            server.core.tick(self.time)

    async def editor(
        self, person: Person = ADA, role: Role = Role.EDITOR, capabilities: Json | None = None
    ) -> Local:
        editor = Local(self, Grant(person, "w", role))
        self.sessions.append(editor.session)
        await editor.request("initialize", {"capabilities": capabilities or {}}, id="init")
        editor.result = editor.answers.pop("init")["result"]
        return editor

    # ── what a session wants ────────────────────────────────────────────────────────────────────

    def now(self) -> float:
        return self.time

    async def open(self, path: str) -> Document:
        if path not in self.opened:
            if path not in self.files:
                raise NotFound(f"There is no file {path}.")
            text = self.files[path]
            document = Document(path, uri(path), "python", text, 0, self.stamps)
            document.on_change = lambda: self._changed(document)
            self.opened[path] = document
            self.holders[path] = 0
            for server in self.servers:
                server.core.open(document, self.time)
        self.holders[path] += 1
        return self.opened[path]

    def close(self, path: str) -> None:
        self.holders[path] -= 1
        if not self.holders[path]:
            del self.opened[path]
            for server in self.servers:
                server.core.close(path)

    def document(self, path: str) -> Document | None:
        return self.opened.get(path)

    def arrival(self, path: str, person: str, typing: Typing) -> Awaitable[None] | None:
        return self.waiting

    def place(self, path: str, anchor: bytes) -> int | None:
        return self.anchors.get(anchor)

    def save(self, path: str) -> None:
        self.saved.append(path)

    async def apply(
        self, grant: Grant, label: str, edit: Json, encoding: Encoding, stamp: int
    ) -> Edited | None:
        self.applied.append((grant, label, edit, stamp))
        return Edited("e1", label, ["a.py"], 1)

    def _changed(self, document: Document) -> None:
        for server in self.servers:
            server.core.changed(document, self.time)


class Local:
    """An editor, which is only its session."""

    def __init__(self, world: World, grant: Grant) -> None:
        self.heard: list[Json] = []
        self.answers: dict[int | str | None, Json] = {}
        self.result: Json = {}
        self.restarts = 0
        self.session = Session(grant, world, world.servers, self._take, self._restart)

    def _restart(self) -> None:
        self.restarts += 1

    def _take(self, body: bytes) -> None:
        message = json.loads(body)
        if "method" in message:
            self.heard.append(message)
        else:
            assert message["id"] not in self.answers, "answered twice"
            self.answers[message["id"]] = message

    async def say(self, message: Json | str) -> None:
        text = message if isinstance(message, str) else json.dumps({"jsonrpc": "2.0", **message})
        if (waiting := self.session.receive(text)) is not None:
            await waiting

    async def request(self, method: str, params: Any, id: int | str = 1) -> None:
        await self.say({"id": id, "method": method, "params": params})

    async def notify(self, method: str, params: Any) -> None:
        await self.say({"method": method, "params": params})

    async def open(self, path: str, text: str | None = None, version: int = 0) -> None:
        item: Json = {"uri": uri(path), "languageId": "python", "version": version}
        if text is not None:
            item["text"] = text
        await self.notify("textDocument/didOpen", {"textDocument": item})

    async def close(self, path: str) -> None:
        await self.notify("textDocument/didClose", {"textDocument": {"uri": uri(path)}})

    async def at(
        self, method: str, path: str, line: int, column: int, id: int | str = 1, **more: Any
    ) -> None:
        place = {"line": line, "character": column}
        document = {"textDocument": {"uri": uri(path)}, "position": place}
        await self.request(method, {**document, **more}, id)

    def told(self, method: str) -> list[Json]:
        return [dict(each.get("params") or {}) for each in self.heard if each["method"] == method]

    def diagnostics(self, path: str) -> Json:
        """What was last said of a file."""
        found = self.told("textDocument/publishDiagnostics")
        return [each for each in found if each["uri"] == uri(path)][-1]

    def leave(self) -> None:
        self.session.leave()


def span(line: int, start: int, end: int) -> Json:
    return {
        "start": {"line": line, "character": start},
        "end": {"line": line, "character": end},
    }


def problem(line: int, start: int, end: int, message: str = "wrong") -> Json:
    return {"range": span(line, start, end), "message": message}
