"""One editor's connection: plain LSP with the editor on one side, the workspace's servers on the
other.

Pure but for what it awaits of its workspace: a server that is being started, a document that is
being opened, an edit. Permissions are checked here, addresses outside the workspace are refused,
and what several servers answer becomes one answer. What the editor's words mean beside LSP is
written in `protocol/languages.py`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from cloudide.errors import CloudIDEError, InvalidInput
from cloudide.identity.permissions import Action, Grant
from cloudide.languages import capabilities
from cloudide.languages.documents import Document, Stamps
from cloudide.languages.editors import Answer, Done
from cloudide.languages.lines import Encoding
from cloudide.languages.merging import merge, origin
from cloudide.languages.methods import EDITS, LOOKING, OF_ITEMS, PROVIDERS
from cloudide.languages.multiplexer import Multiplexer
from cloudide.languages.uris import Root
from cloudide.languages.views import Opened, View
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import ErrorCode, Id, Malformed, Message
from cloudide.protocol.languages import (
    ANCHOR_LIMIT,
    APPLY_CODE_ACTION,
    APPLY_EDIT,
    EDITED,
    Edited,
    Typing,
)

DOCUMENTS = 500  # that one editor has open
REQUESTS = 200  # of one editor under way
PARAMETERS = 1024 * 1024  # bytes of those of one request

Json = dict[str, Any]


class Upstream(Protocol):
    """A server of the workspace; `multiplexer` is None while it does not run."""

    id: str
    multiplexer: Multiplexer | None

    async def started(self) -> None:
        """Returns when it runs, or will not for now."""
        ...


class Workspace(Protocol):
    """What an editor's connection may want of its workspace."""

    root: Root
    stamps: Stamps

    def now(self) -> float: ...

    async def open(self, path: str) -> Document:
        """The document of a file, until `close`.

        Raises:
            CloudIDEError: there is none.
        """
        ...

    def close(self, path: str) -> None: ...

    def document(self, path: str) -> Document | None: ...

    def arrival(self, path: str, person: str, typing: Typing) -> Awaitable[None] | None:
        """Wait until the room has what an editor has sent it; None if it has."""
        ...

    def place(self, path: str, anchor: bytes) -> int | None:
        """The byte in the document at which a Yjs relative position stands."""
        ...

    def save(self, path: str) -> None: ...

    async def apply(
        self, grant: Grant, label: str, edit: Json, encoding: Encoding, stamp: int
    ) -> Edited | None:
        """Apply a `WorkspaceEdit` that was made when the documents stood at `stamp`.

        Raises:
            CloudIDEError: it cannot be, and nothing was.
        """
        ...


class _Item(msgspec.Struct):
    uri: str = ""
    version: int = 0
    text: str | None = None


class _Change(msgspec.Struct):
    text: str = ""
    range: msgspec.Raw = jsonrpc.ABSENT


class _Params(msgspec.Struct):
    """What is looked at of any parameters."""

    textDocument: _Item | None = None
    item: _Item | None = None
    cloudide: Typing | None = None


class _Changed(msgspec.Struct):
    textDocument: _Item
    contentChanges: list[_Change] = []


_params = msgspec.json.Decoder(_Params)


class Session:
    """`send` takes messages to the editor, `restart` has it connect anew; `servers` are asked in
    order."""

    def __init__(
        self,
        grant: Grant,
        workspace: Workspace,
        servers: Sequence[Upstream],
        send: Callable[[bytes], None],
        restart: Callable[[], None],
    ) -> None:
        self.grant = grant
        self.capabilities: Json = {}
        self.initialized = False
        self._read_only = not grant.allows(Action.WRITE)
        self._workspace = workspace
        self._root = workspace.root
        self._servers = [*servers]
        self._send = send
        self._restart = restart
        self._shut = False
        self._view = View(workspace)
        self._known: set[str] = set()  # the servers whose capabilities the editor was told
        self._requests: set[Id] = set()
        self._asked: dict[int, Done | None] = {}
        self._last_asked = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # ── from the editor ─────────────────────────────────────────────────────────────────────────

    def receive(self, frame: bytes | str) -> Awaitable[None] | None:
        """Take one message; where there is something to wait for, the next one waits for it too."""
        try:
            message = jsonrpc.read(frame)
        except Malformed as error:
            self._send(jsonrpc.failure(error.id, error.code, error.message))
            return None
        if not isinstance(message.method, str):
            self._answered(message)
            return None
        try:
            if isinstance(message.id, int | str):
                return self._request(message.id, message.method, message)
            return self._notification(message.method, message)
        except (Malformed, msgspec.DecodeError, TypeError, KeyError, ValueError) as error:
            if isinstance(message.id, int | str):
                self._fail(message.id, ErrorCode.INVALID_PARAMS, f"The parameters: {error}")
        return None

    def leave(self) -> None:
        """The editor has gone."""
        for task in self._tasks:
            task.cancel()
        for server in self._servers:
            if server.multiplexer is not None:
                server.multiplexer.leave(self)
        opened, self._view.opened = self._view.opened, {}
        for path in opened:
            self._workspace.close(path)

    def _request(self, id: Id, method: str, message: Message) -> Awaitable[None] | None:
        if id in self._requests:
            self._fail(id, ErrorCode.INVALID_REQUEST, "A request with this id is under way.")
        elif len(bytes(message.params)) > PARAMETERS and method != APPLY_EDIT:
            self._fail(id, ErrorCode.INVALID_REQUEST, "The parameters are too large.")
        elif len(self._requests) >= REQUESTS:
            self._fail(id, ErrorCode.REQUEST_FAILED, "You ask more than is answered; wait.")
        elif method == "initialize":
            if self.initialized:
                self._fail(id, ErrorCode.INVALID_REQUEST, "initialize was sent before.")
                return None
            return self._initialize(id, message)
        elif not self.initialized:
            self._fail(id, ErrorCode.SERVER_NOT_INITIALIZED, "Send initialize first.")
        elif method == "shutdown":
            # It ends this connection alone: the servers are everybody's.
            self._shut = True
            self._send(jsonrpc.response(id))
        elif self._shut:
            self._fail(id, ErrorCode.INVALID_REQUEST, "shutdown was sent before.")
        elif self._read_only and method not in LOOKING:
            self._fail(id, ErrorCode.REQUEST_FAILED, "You can look, but not edit, here.")
        elif method.startswith("cloudide/"):
            self._own_request(id, method, bytes(message.params))
        else:
            return self._ask(id, method, bytes(message.params))
        return None

    async def _initialize(self, id: Id, message: Message) -> None:
        params: Any = jsonrpc.loads(message.params)
        found = capabilities.declared({"params": params}, "params", "capabilities")
        if not isinstance(found, dict):
            self._fail(id, ErrorCode.INVALID_PARAMS, "initialize has no capabilities.")
            return
        self.capabilities = self._view.capabilities = found
        own = capabilities.declared(self.capabilities, "experimental", "cloudide", "edits")
        self._view.native = own is True
        await asyncio.gather(*(server.started() for server in self._servers))
        running = [each for each in self._servers if each.multiplexer is not None]
        multiplexers = [each.multiplexer for each in running if each.multiplexer is not None]
        encodings = {each.encoding for each in multiplexers}
        if len(encodings) > 1:
            # Nobody could say which of the columns in one answer are counted how.
            multiplexers = [
                each for each in multiplexers if each.encoding == multiplexers[0].encoding
            ]
            self._servers = [each for each in self._servers if each.multiplexer in multiplexers]
        offered = capabilities.offered([each.offered() for each in multiplexers])
        if encodings == {"utf-8"}:
            offered["positionEncoding"] = "utf-8"
        if self._view.native:
            offered["textDocumentSync"]["change"] = 0
            offered["experimental"] = {"cloudide": {"root": self._root.uri}}
        names = [str(each.info.get("name", "")) for each in multiplexers]
        info = {"name": "CloudIDE" + (f" ({', '.join(filter(None, names))})" if names else "")}
        self.initialized = True
        self._known = {each.id for each in self._servers if each.multiplexer is not None}
        self._send(
            jsonrpc.response(id, jsonrpc.dumps({"capabilities": offered, "serverInfo": info}))
        )
        for each in multiplexers:
            each.join(self)
        for path in {path for each in multiplexers for path in each.diagnosed_paths()}:
            self.diagnosed(path)

    def restarted(self, server: Upstream, multiplexer: Multiplexer) -> None:
        """A server runs again."""
        if not self.initialized or server not in self._servers or self in multiplexer.editors:
            return
        if server.id in self._known:
            multiplexer.join(self)
        else:
            # What it can do is told at `initialize`, and at no other time.
            self._restart()

    def _ask(self, id: Id, method: str, params: bytes) -> Awaitable[None] | None:
        looked = _params.decode(params) if params[:1] == b"{" else _Params()
        path: str | None = None
        document = looked.textDocument or looked.item
        if document is not None:
            path = self._root.path(document.uri)
            if not path:
                self._fail(
                    id, ErrorCode.INVALID_PARAMS, f"{document.uri} is no file of this workspace."
                )
                return None
        if looked.cloudide is not None and path is not None:
            arrival = self._workspace.arrival(path, self.grant.person.id, looked.cloudide)
            ask = partial(self._ask_there, id, method, params, path, looked.cloudide)
            if arrival is None:
                ask()
                return None
            return _after(arrival, ask)
        if path is not None and document is not None:
            params = self._view.brought_up(path, params, document.uri, self._encoding)
        self._pass_on(id, method, params, path)
        return None

    def _ask_there(self, id: Id, method: str, params: bytes, path: str, typing: Typing) -> None:
        """Ask about the place that our editor's anchors mean in the newest text."""
        try:
            value: Json = jsonrpc.loads(params)
            del value["cloudide"]
            places = value if "position" in value else value.get("range", {})
            for name, anchor in (
                ("position" if "position" in value else "start", typing.anchor),
                ("end", typing.end),
            ):
                if anchor and name in places:
                    places[name] = self._place(path, anchor) or places[name]
        except (Malformed, TypeError, ValueError, AttributeError) as error:
            self._fail(id, ErrorCode.INVALID_PARAMS, f"The parameters: {error}")
            return
        self._pass_on(id, method, jsonrpc.dumps(value), path)

    def _place(self, path: str, anchor: str) -> Json | None:
        document = self._workspace.document(path)
        if document is None or len(anchor) > ANCHOR_LIMIT:
            return None
        try:
            offset = self._workspace.place(path, base64.b64decode(anchor, validate=True))
            if offset is None:
                return None
            place = document.lines.position(offset)
        except (binascii.Error, InvalidInput, ValueError):
            return None
        return {"line": place.line, "character": place.column(self._encoding)}

    @property
    def _encoding(self) -> Encoding:
        for each in self._servers:
            if each.multiplexer is not None:
                return each.multiplexer.encoding
        return "utf-16"

    def _pass_on(
        self, id: Id, method: str, params: bytes, path: str | None, done: Done | None = None
    ) -> None:
        """Ask the servers that can answer, and the editor gets what they say."""
        asked = self._asked_servers(method)
        if method in OF_ITEMS or method == "workspace/executeCommand":
            asked, params = self._addressed(asked, method, params)
        if not asked:
            running = any(each.multiplexer is not None for each in self._servers)
            if method in PROVIDERS or not running:
                self._fail(id, ErrorCode.REQUEST_FAILED, self._missing(method, running))
            else:
                self._fail(id, ErrorCode.METHOD_NOT_FOUND, f"No server here knows {method}.")
            return
        self._requests.add(id)
        done = done or partial(self._finish, id, method, path)
        now = self._workspace.now()
        if len(asked) == 1:
            asked[0][1].ask(self, id, method, params, path, done, now)
            return
        answers: dict[str, Answer] = {}

        def one(server: str, answer: Answer) -> None:
            answers[server] = answer
            if len(answers) == len(asked):
                done(_merged(method, [(name, answers[name]) for name, _ in asked]))

        for server, multiplexer in asked:
            multiplexer.ask(self, id, method, params, path, partial(one, server), now)

    def _asked_servers(self, method: str) -> list[tuple[str, Multiplexer]]:
        found = [
            (each.id, each.multiplexer)
            for each in self._servers
            if each.multiplexer is not None and each.multiplexer.provides(method)
        ]
        return found if method in PROVIDERS else found[:1]

    def _addressed(
        self, asked: list[tuple[str, Multiplexer]], method: str, params: bytes
    ) -> tuple[list[tuple[str, Multiplexer]], bytes]:
        """The one server that a request about an item, or a command, is for."""
        value: Any = jsonrpc.loads(params)
        if method == "workspace/executeCommand":
            return [each for each in asked if value["command"] in each[1].commands()][:1], params
        inner = value.get("item", value)
        server, item = origin(inner)
        if server is None:
            return asked[:1], params
        value = {**value, "item": item} if inner is not value else item
        return [each for each in asked if each[0] == server], jsonrpc.dumps(value)

    def _missing(self, method: str, running: bool) -> str:
        if running:
            return f"No language server here provides {method}."
        return "The language server does not run. The list of servers says why."

    # ── answers ─────────────────────────────────────────────────────────────────────────────────

    def _finish(self, id: Id, method: str, path: str | None, answer: Answer) -> None:
        if answer.result is None:
            self._requests.discard(id)
            self._send(jsonrpc.failed(id, answer.error))
            return
        if self._view.native and method in EDITS:
            self._apply_answer(id, method, path, answer.result)
            return
        self._requests.discard(id)
        try:
            result = self._view.fitted(method, path, answer.result, self._encoding)
        except (Malformed, TypeError, KeyError, ValueError, AttributeError, RecursionError):
            self._fail(id, ErrorCode.INTERNAL_ERROR, "The language server answered nonsense.")
            return
        self._send(jsonrpc.response(id, result))

    def _answered(self, message: Message) -> None:
        """The editor answers what a server asked."""
        if not isinstance(message.id, int) or message.id not in self._asked:
            return
        done = self._asked.pop(message.id)
        if done is not None:
            failed = jsonrpc.is_error(message)
            done(Answer(error=bytes(message.error)) if failed else Answer(bytes(message.result)))

    # ── edits ───────────────────────────────────────────────────────────────────────────────────

    def _own_request(self, id: Id, method: str, params: bytes) -> None:
        value: Any = jsonrpc.loads(params)
        if method == APPLY_EDIT:
            label, edit = str(value["label"])[:200], dict(value["edit"])
            self._begin(id, self._apply(id, label, edit, self._workspace.stamps.latest))
        elif method == APPLY_CODE_ACTION:
            self._begin(id, self._apply_action(id, dict(value)))
        else:
            self._fail(id, ErrorCode.METHOD_NOT_FOUND, f"{method} is not known here.")

    def _apply_answer(self, id: Id, method: str, path: str | None, result: bytes) -> None:
        """Do what an answer would change."""
        try:
            value: Any = jsonrpc.loads(result)
            if value and isinstance(value, list):  # edits of the document itself
                value = {"changes": {self._root.uri_of(path or ""): value}}
        except Malformed as error:
            self._requests.discard(id)
            self._fail(id, ErrorCode.INTERNAL_ERROR, error.message)
            return
        if not value:
            self._requests.discard(id)
            self._send(jsonrpc.response(id))
            return
        self._begin(id, self._apply(id, _LABELS[method], value, self._workspace.stamps.latest))

    async def _apply_action(self, id: Id, action: Json) -> None:
        """Resolve a code action if it has to be, apply its edit and execute its command."""
        stamp = self._workspace.stamps.latest
        server, action = origin(action)
        asked = [
            each
            for each in self._asked_servers("textDocument/codeAction")
            if server in (None, each[0])
        ][:1]
        if not action.get("edit") and asked and asked[0][1].provides("codeAction/resolve"):
            multiplexer = asked[0][1]
            provider = multiplexer.capabilities.get("codeActionProvider")
            if capabilities.declared({"p": provider}, "p", "resolveProvider"):
                answer = await self._answer_of(multiplexer, "codeAction/resolve", action)
                if answer.result is None:
                    self._send(jsonrpc.failed(id, answer.error))
                    return
                action = dict(jsonrpc.loads(answer.result) or action)
        edited: Edited | None = None
        if action.get("edit"):
            label = str(action.get("title", ""))[:200]
            edited = await self._workspace.apply(
                self.grant, label, action["edit"], self._encoding, stamp
            )
        command: Any = action.get("command")
        if isinstance(command, str):
            command = action  # a plain `Command`
        if command:
            params = {"command": command["command"], "arguments": command.get("arguments", [])}
            executors = self._asked_servers("workspace/executeCommand")
            for _, multiplexer in executors:
                if params["command"] in multiplexer.commands():
                    answer = await self._answer_of(multiplexer, "workspace/executeCommand", params)
                    if answer.result is None:
                        self._send(jsonrpc.failed(id, answer.error))
                        return
                    break
            else:
                self._fail(id, ErrorCode.REQUEST_FAILED, "No server here has this command.")
                return
        self._send(jsonrpc.response(id, jsonrpc.dumps(edited)))

    async def _answer_of(self, multiplexer: Multiplexer, method: str, params: Json) -> Answer:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        body = jsonrpc.dumps(params)
        multiplexer.ask(self, answered, method, body, None, done, self._workspace.now())
        return await answered

    async def _apply(self, id: Id, label: str, edit: Json, stamp: int) -> None:
        edited = await self._workspace.apply(self.grant, label, edit, self._encoding, stamp)
        self._send(jsonrpc.response(id, jsonrpc.dumps(edited)))

    def _begin(self, id: Id, work: Awaitable[None]) -> None:
        """Work on an edit beside other messages."""
        self._requests.add(id)

        async def run() -> None:
            try:
                await work
            except CloudIDEError as error:
                self._fail(id, ErrorCode.REQUEST_FAILED, error.message)
            except (Malformed, TypeError, KeyError, ValueError, AttributeError) as error:
                self._fail(id, ErrorCode.INVALID_PARAMS, f"The edit is none: {error}")
            finally:
                self._requests.discard(id)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def edited(self, edited: Edited) -> None:
        """A server has changed files for this editor."""
        if self._view.native:
            self._send(jsonrpc.notification(EDITED, jsonrpc.dumps(edited)))

    # ── notifications ───────────────────────────────────────────────────────────────────────────

    def _notification(self, method: str, message: Message) -> Awaitable[None] | None:
        if not self.initialized:
            return None
        match method:
            case "textDocument/didOpen":
                return self._did_open(_params.decode(message.params).textDocument)
            case "textDocument/didChange":
                self._did_change(msgspec.json.decode(message.params, type=_Changed))
            case "textDocument/didClose":
                self._did_close(_params.decode(message.params).textDocument)
            case "textDocument/didSave":
                self._did_save(_params.decode(message.params).textDocument)
            case "$/cancelRequest":
                id = jsonrpc.loads(message.params)["id"]
                for each in self._servers:
                    if each.multiplexer is not None:
                        each.multiplexer.cancel(self, id)
            case "window/workDoneProgress/cancel":
                token = jsonrpc.loads(message.params)["token"]
                for each in self._servers:
                    if each.multiplexer is not None:
                        each.multiplexer.cancel_progress(token)
            case _:
                pass  # settings, folders and files are the workspace's: no editor tells of them
        return None

    async def _did_open(self, item: _Item | None) -> None:
        path = self._root.path(item.uri) if item is not None else None
        if item is None or not path:
            return
        if opened := self._view.opened.get(path):
            opened.count += 1
            return
        if len(self._view.opened) >= DOCUMENTS:
            self._show("You have too many files open; this one is shown without its language.")
            return
        self._view.opened[path] = Opened(item.uri, item.version)
        try:
            await self._workspace.open(path)
        except BaseException as error:
            # Also when the editor goes meanwhile: what it does not have is not closed for it.
            self._view.opened.pop(path, None)
            if not isinstance(error, CloudIDEError):
                raise
            self._show(f"{path}: {error.message}")
            return
        self._view.has(path, item.text)
        if any(each.multiplexer and each.multiplexer.diagnostics(path) for each in self._servers):
            self.diagnosed(path)  # with this editor's own name and version of it

    def _did_change(self, changed: _Changed) -> None:
        path = self._root.path(changed.textDocument.uri) or ""
        if (opened := self._view.opened.get(path)) is None:
            return
        opened.version = changed.textDocument.version
        if changed.contentChanges and not bytes(changed.contentChanges[-1].range):
            self._view.has(path, changed.contentChanges[-1].text)

    def _did_close(self, item: _Item | None) -> None:
        path = self._root.path(item.uri) if item is not None else None
        opened = self._view.opened.get(path or "")
        if path is None or opened is None:
            return
        opened.count -= 1
        if not opened.count:
            del self._view.opened[path]
            self._workspace.close(path)

    def _did_save(self, item: _Item | None) -> None:
        path = self._root.path(item.uri) if item is not None else None
        if path in self._view.opened and path is not None and not self._read_only:
            self._workspace.save(path)

    # ── from the servers ────────────────────────────────────────────────────────────────────────

    def told(self, method: str, params: bytes) -> None:
        self._send(jsonrpc.notification(method, params))

    def asked(self, method: str, params: bytes, done: Done | None) -> None:
        self._last_asked += 1
        self._asked[self._last_asked] = done
        if len(self._asked) > REQUESTS:
            # An editor that answers nothing: the oldest question is given up.
            oldest = next(iter(self._asked))
            if (given_up := self._asked.pop(oldest)) is not None:
                given_up(Answer())
        self._send(jsonrpc.request(self._last_asked, method, params))

    def diagnosed(self, path: str) -> None:
        """Send what all servers say of a file."""
        if not self.initialized:
            return
        lists = [
            inner
            for each in self._servers
            if each.multiplexer is not None and (inner := each.multiplexer.diagnostics(path))
        ]
        params = self._view.diagnostics(path, b"[" + b",".join(lists) + b"]", self._encoding)
        self._send(jsonrpc.notification("textDocument/publishDiagnostics", params))

    def _show(self, text: str) -> None:
        self.told("window/showMessage", jsonrpc.dumps({"type": 2, "message": text}))

    def _fail(self, id: Id, code: ErrorCode, message: str) -> None:
        self._send(jsonrpc.failure(id, code, message))


_LABELS = {
    "textDocument/rename": "Rename",
    "textDocument/formatting": "Format document",
    "textDocument/rangeFormatting": "Format selection",
    "textDocument/onTypeFormatting": "Format while typing",
}


def _merged(method: str, answers: list[tuple[str, Answer]]) -> Answer:
    try:
        return merge(method, answers)
    except (Malformed, TypeError, ValueError, RecursionError):
        return Answer.failure(ErrorCode.INTERNAL_ERROR, "A language server answered nonsense.")


async def _after(arrival: Awaitable[None], ask: Callable[[], None]) -> None:
    await arrival
    ask()
