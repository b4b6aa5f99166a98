"""One editor's connection: plain LSP with the editor on one side, the workspace's servers on the
other.

Pure but for what it awaits of its workspace: a server that is being started, a document that is
being opened, an edit. Permissions are checked here, addresses outside the workspace are refused,
and what several servers answer becomes one answer. What the editor's words mean beside LSP is
written in `protocol/languages.py`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from cloudide.errors import CloudIDEError, InvalidInput
from cloudide.identity.permissions import Grant
from cloudide.languages import capabilities
from cloudide.languages.applying import Applying
from cloudide.languages.applying import Workspace as Applicable
from cloudide.languages.editors import Answer, Done
from cloudide.languages.methods import EDITS, LOOKING, PROVIDERS
from cloudide.languages.multiplexer import Multiplexer
from cloudide.languages.upstreams import Upstream, Upstreams
from cloudide.languages.views import Changed, Documents, Item, View
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import ErrorCode, Id, Malformed, Message
from cloudide.protocol.languages import (
    ANCHOR_LIMIT,
    APPLY_EDIT,
    EDITED,
    Edited,
    Typing,
)

REQUESTS = 200  # of one editor under way
PARAMETERS = 1024 * 1024  # bytes of those of one request

Json = dict[str, Any]


class Workspace(Applicable, Documents, Protocol):
    """What an editor's connection may want of its workspace."""

    def now(self) -> float: ...

    def arrival(self, path: str, person: str, typing: Typing) -> Awaitable[None] | None:
        """Wait until the room has what an editor has sent it; None if it has."""
        ...

    def place(self, path: str, anchor: bytes) -> int | None:
        """The byte in the document at which a Yjs relative position stands."""
        ...

    def save(self, path: str) -> None: ...


class _Params(msgspec.Struct):
    """What is looked at of any parameters."""

    textDocument: Item | None = None
    item: Item | None = None
    cloudide: Typing | None = None


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
        self._read_only = not grant.sends("languages", "edit")
        self._workspace = workspace
        self._root = workspace.root
        self._servers = Upstreams(self, servers, workspace.now)
        self._send = send
        self._restart = restart
        self._shut = False
        self._view = View(workspace)
        self._known: set[str] = set()  # the servers whose capabilities the editor was told
        self._requests: set[Id] = set()
        self._applying = Applying(grant, workspace, self._servers, self._requests, send)
        self._asked: dict[int, Done | None] = {}
        self._last_asked = 0

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
        self._applying.cancel()
        for multiplexer in self._servers.running:
            multiplexer.leave(self)
        self._view.close_all()

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
            self._applying.request(id, method, bytes(message.params))
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
        multiplexers = await self._servers.started()
        offered = capabilities.offered([each.offered() for each in multiplexers])
        if self._servers.encoding == "utf-8":
            offered["positionEncoding"] = "utf-8"
        if self._view.native:
            offered["textDocumentSync"]["change"] = 0
            offered["experimental"] = {"cloudide": {"root": self._root.uri}}
        names = [str(each.info.get("name", "")) for each in multiplexers]
        info = {"name": "CloudIDE" + (f" ({', '.join(filter(None, names))})" if names else "")}
        self.initialized = True
        self._known = {each.id for each in self._servers.servers if each.multiplexer is not None}
        self._send(
            jsonrpc.response(id, jsonrpc.dumps({"capabilities": offered, "serverInfo": info}))
        )
        for each in multiplexers:
            each.join(self)
        for path in {path for each in multiplexers for path in each.diagnosed_paths()}:
            self.diagnosed(path)

    def restarted(self, server: Upstream, multiplexer: Multiplexer) -> None:
        """A server runs again."""
        ours = server in self._servers.servers
        if not self.initialized or not ours or self in multiplexer.editors:
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
            params = self._view.brought_up(path, params, document.uri, self._servers.encoding)
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
            self._pass_on(id, method, jsonrpc.dumps(value), path)
        except (Malformed, TypeError, KeyError, ValueError, AttributeError) as error:
            self._fail(id, ErrorCode.INVALID_PARAMS, f"The parameters: {error}")

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
        return {"line": place.line, "character": place.column(self._servers.encoding)}

    def _pass_on(self, id: Id, method: str, params: bytes, path: str | None) -> None:
        """Ask the servers that can answer, and the editor gets what they say."""
        self._requests.add(id)
        done = partial(self._finish, id, method, path)
        try:
            if self._servers.ask(id, method, params, path, done):
                return
        except BaseException:
            self._requests.discard(id)
            raise
        self._requests.discard(id)
        if not self._servers.running:
            message = "The language server does not run. The list of servers says why."
            self._fail(id, ErrorCode.REQUEST_FAILED, message)
        elif method in PROVIDERS:
            self._fail(id, ErrorCode.REQUEST_FAILED, f"No language server here provides {method}.")
        else:
            self._fail(id, ErrorCode.METHOD_NOT_FOUND, f"No server here knows {method}.")

    # ── answers ─────────────────────────────────────────────────────────────────────────────────

    def _finish(self, id: Id, method: str, path: str | None, answer: Answer) -> None:
        if answer.result is None:
            self._requests.discard(id)
            self._send(jsonrpc.failed(id, answer.error))
            return
        if self._view.native and method in EDITS:
            self._applying.answer(id, method, path, answer.result)
            return
        self._requests.discard(id)
        try:
            result = self._view.fitted(method, path, answer.result, self._servers.encoding)
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
                self._view.change(msgspec.json.decode(message.params, type=Changed))
            case "textDocument/didClose":
                self._view.close(_params.decode(message.params).textDocument)
            case "textDocument/didSave":
                self._did_save(_params.decode(message.params).textDocument)
            case "$/cancelRequest":
                self._servers.cancel(jsonrpc.loads(message.params)["id"])
            case "window/workDoneProgress/cancel":
                token = jsonrpc.loads(message.params)["token"]
                for each in self._servers.running:
                    each.cancel_progress(token)
            case _:
                pass  # settings, folders and files are the workspace's: no editor tells of them
        return None

    async def _did_open(self, item: Item | None) -> None:
        path = self._root.path(item.uri) if item is not None else None
        if item is None or not path:
            return
        try:
            await self._view.open(path, item)
        except CloudIDEError as error:
            self._show(f"{path}: {error.message}")
            return
        if any(each.diagnostics(path) for each in self._servers.running):
            self.diagnosed(path)  # with this editor's own name and version of it

    def _did_save(self, item: Item | None) -> None:
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
        lists = [inner for each in self._servers.running if (inner := each.diagnostics(path))]
        params = self._view.diagnostics(
            path, b"[" + b",".join(lists) + b"]", self._servers.encoding
        )
        self._send(jsonrpc.notification("textDocument/publishDiagnostics", params))

    def _show(self, text: str) -> None:
        self.told("window/showMessage", jsonrpc.dumps({"type": 2, "message": text}))

    def _fail(self, id: Id, code: ErrorCode, message: str) -> None:
        self._send(jsonrpc.failure(id, code, message))


async def _after(arrival: Awaitable[None], ask: Callable[[], None]) -> None:
    await arrival
    ask()
