"""The one client that a language server has, in the place of all editors.

Pure: messages come in as calls, what is to be sent goes out through the two protocols below, and
the time is given. One multiplexer is one run of a server's process; when that ends, so does it.

- Requests of editors get an id of their own (`ask`); the answer leads back by it, once. What a
  server answers twice, or was never asked, is dropped.
- The server is initialized once, with the same capabilities whoever is there, and shut down by
  nobody's leaving.
- What the server asks is answered here, exactly once, also when there is no editor: configuration,
  folders, registrations, edits. Only what a person has to decide is passed on, to one of them.
- Registrations, progress under way and the latest diagnostics are kept, for those who come later.
- Documents come from the rooms (`documents.py`), whatever editors send.

Bodies are passed on as they came; only those of the methods that are touched here are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec

from cloudide.languages import capabilities
from cloudide.languages.answers import Shift, inside
from cloudide.languages.documents import Document, Stamps
from cloudide.languages.lines import Change, Encoding, Position
from cloudide.languages.methods import (
    COUNTED,
    DEFAULT_TIMEOUT,
    LOOKING,
    PLACES,
    REFRESHES,
    TIMEOUTS,
    WRITING,
    provides,
)
from cloudide.languages.progress import Progress
from cloudide.languages.tokens import FULL, SemanticTokens
from cloudide.languages.uris import Root
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import NULL, ErrorCode, Id, Malformed, Message

REQUESTS = 1000  # that a server has not answered, at one time
REGISTRATIONS = 1000
CHANGES = 1000  # in one notification; more are told as a whole text
ASKED = 100  # requests of a server that editors have not answered
ASKED_SECONDS = 300.0  # a person has to answer
INITIALIZE_SECONDS = 60.0
PULL_SECONDS = 0.25  # after the last change
MOVE_SECONDS = 0.5  # after which diagnostics that moved with the text are sent once more
DIAGNOSTICS_FILES = 5000
SHOW_SECONDS = 0.5  # messages that come faster are only logged

Json = dict[str, Any]
Done = Callable[["Answer"], None]


class Answer(msgspec.Struct, frozen=True):
    """A result or, when that is None, an error: the `error` of a response."""

    result: bytes | None = None
    error: bytes = b""

    @classmethod
    def failure(cls, code: ErrorCode, message: str) -> Answer:
        return cls(error=jsonrpc.dumps({"code": code, "message": message}))


class Process(Protocol):
    """What takes messages to the server."""

    @property
    def full(self) -> bool:
        """Whether it takes no more for now; `Multiplexer.drained` is called when it does again."""
        ...

    def send(self, body: bytes) -> None: ...


class Editor(Protocol):
    """An editor, as far as a server is concerned. `capabilities` are LSP's `ClientCapabilities`."""

    capabilities: Json

    def told(self, method: str, params: bytes) -> None: ...

    def asked(self, method: str, params: bytes, done: Done | None) -> None:
        """A request; `done` is None where the answer is of no interest."""
        ...

    def diagnosed(self, path: str) -> None:
        """The diagnostics of a file have changed."""
        ...


class Host(Protocol):
    """What a server may want of us."""

    def initialized(self) -> None: ...

    def apply_edit(self, owner: Editor | None, params: Json, done: Callable[[str], None]) -> None:
        """Apply a `WorkspaceEdit` for an editor; `done` is told why it was not, or ""."""
        ...

    def logged(self, text: str) -> None: ...

    def failed(self, reason: str) -> None:
        """The server is of no use."""
        ...


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is spoken to. `settings` is what it may ask for; `full`: whole texts only."""

    id: str
    root: Root
    settings: Json = {}
    initialization_options: Json = {}
    full: bool = False


class _Request(msgspec.Struct):
    owner: Editor | None
    key: object
    method: str
    params: bytes
    path: str | None
    done: Done
    stamp: int
    deadline: float
    token: str | None = None
    again: bool = True  # whether it may be asked once more


class _Diagnostics(msgspec.Struct):
    """`items`: the JSON of a list, as it stood at `stamp`."""

    items: bytes
    stamp: int


class _Published(msgspec.Struct):
    uri: str
    diagnostics: msgspec.Raw
    version: int | None = None


class _Report(msgspec.Struct):
    kind: str
    items: msgspec.Raw = jsonrpc.ABSENT
    resultId: str | None = None


class _Pull(msgspec.Struct):
    """Pulled diagnostics of a document: the last result, and when to ask again."""

    result: str | None = None
    due: float | None = None
    asked: bool = False


class Multiplexer:
    """See the module. All methods take the time in seconds where they need it."""

    def __init__(
        self, configuration: Configuration, process: Process, host: Host, stamps: Stamps
    ) -> None:
        self.ready = False
        self.capabilities: Json = {}
        self.info: Json = {}
        self.encoding: Encoding = "utf-16"
        self.editors: list[Editor] = []
        self.strays = 0  # answers to what was never asked, or answered before
        self.heard_at = 0.0
        self._configuration = configuration
        self._root = configuration.root
        self._process = process
        self._host = host
        self._stamps = stamps
        self._last_id = 0
        self._requests: dict[int, _Request] = {}
        self._keys: dict[tuple[int, object], int] = {}  # of an editor's requests
        self._registrations: dict[str, Json] = {}
        self._progress = Progress(configuration.id)
        self._tokens = SemanticTokens()
        self._documents: dict[str, Document] = {}  # by path
        self._told: dict[str, int] = {}  # the version that the server has of each
        self._published: dict[str, _Diagnostics] = {}  # by path
        self._pulled: dict[str, _Diagnostics] = {}
        self._pulls: dict[str, _Pull] = {}
        self._asked: dict[int, tuple[Editor, float, Callable[[Answer], None]]] = {}
        self._last_asked = 0
        self._shown_at = 0.0
        self.probing = False
        self._moving: dict[str, float] = {}  # files whose diagnostics are to be sent anew, and when

    # ── life ────────────────────────────────────────────────────────────────────────────────────

    def start(self, now: float) -> None:
        root = self._root
        params: Json = {
            # A server would exit when no such process runs beside it.
            "processId": None,
            "clientInfo": {"name": "CloudIDE"},
            "locale": "en",
            "rootPath": root.folder,
            "rootUri": root.uri,
            "workspaceFolders": [_folder(root)],
            "capabilities": capabilities.CLIENT,
            "initializationOptions": self._configuration.initialization_options,
            "trace": "off",
        }
        self._ask_itself(
            "initialize", params, partial(self._initialized, now), now, INITIALIZE_SECONDS
        )

    def _initialized(self, now: float, answer: Answer) -> None:
        try:
            result: Any = jsonrpc.loads(answer.result or b"")
            offered: Any = result["capabilities"]
            encoding: Any = offered.get("positionEncoding") or "utf-16"
            info: Any = result.get("serverInfo") or {}
            self.capabilities, self.info = dict(offered), dict(info)
        except (Malformed, TypeError, KeyError, AttributeError, ValueError):
            self._host.failed("it could not be initialized")
            return
        if encoding not in ("utf-8", "utf-16"):
            self._host.failed("it counts columns in a way that nobody understands")
            return
        self.encoding = encoding
        tokens = self.capabilities.get("semanticTokensProvider")
        self._tokens.deltas = (
            capabilities.declared(tokens, "full", "delta") is True if tokens else False
        )
        self._send(jsonrpc.notification("initialized", b"{}"))
        settings = jsonrpc.dumps({"settings": self._configuration.settings})
        self._send(jsonrpc.notification("workspace/didChangeConfiguration", settings))
        self.ready = True
        for document in [*self._documents.values()]:
            self._open(document, now)
        self._host.initialized()

    def shutdown(self, now: float, done: Callable[[], None]) -> None:
        """Ask the server to end; `done` when it says that it is prepared to."""

        def prepared(_: Answer) -> None:
            self._send(jsonrpc.notification("exit"))
            done()

        self._ask_itself("shutdown", None, prepared, now, 5.0)

    def ended(self) -> None:
        """The process is gone: whoever waits is told, and what it registered goes with it."""
        self.ready = False
        requests, self._requests = self._requests, {}
        self._keys.clear()
        for request in requests.values():
            request.done(_failure("The language server ended. It is started again."))
        registered = [
            {"id": self._id(each["id"]), "method": each["method"]}
            for each in self._registrations.values()
        ]
        self._registrations.clear()
        for editor in self.editors:
            theirs = [each for each in registered if _registers(editor, each["method"])]
            if theirs:
                params = jsonrpc.dumps({"unregisterations": theirs})
                editor.asked("client/unregisterCapability", params, None)
            for token, _ in self._progress.under_way():
                value = {"kind": "end", "message": "The language server ended."}
                editor.told("$/progress", jsonrpc.dumps({"token": token, "value": value}))
        paths = {*self._published, *self._pulled}
        self._published.clear()
        self._pulled.clear()
        for path in paths:
            self._diagnosed(path)

    # ── editors ─────────────────────────────────────────────────────────────────────────────────

    def join(self, editor: Editor) -> None:
        """An editor comes: it is told what the others know. Diagnostics it asks for by itself."""
        self.editors.append(editor)
        self._register(editor, [*self._registrations.values()])
        for token, values in self._progress.under_way():
            self._tell_progress(editor, token, values)

    def leave(self, editor: Editor) -> None:
        if editor not in self.editors:
            return
        self.editors.remove(editor)
        for id, request in list(self._requests.items()):
            if request.owner is editor:
                self._forget(id)
                self._cancel(id)
        for id, (asked, _, answer) in list(self._asked.items()):
            if asked is editor:
                del self._asked[id]
                answer(Answer(NULL))

    def probe(self, now: float, timeout: float) -> None:
        """Ask whether the server lives. It has to answer, if only that it does not know this
        method (LSP 3.17, $ Notifications and Requests)."""
        if not self.probing:
            self.probing = True
            self._ask_itself("$/cloudide/alive", None, lambda _: None, now, 2 * timeout)

    def provides(self, method: str) -> bool:
        registered = {each["method"] for each in self._registrations.values()}
        return provides(self.capabilities, registered, method)

    def offered(self) -> Json:
        """What the server can do, by its capabilities and its registrations."""
        return capabilities.with_registered(self.capabilities, self._registrations.values())

    def commands(self) -> list[str]:
        """The commands that the server executes."""
        found: list[str] = list(
            capabilities.declared(self.capabilities, "executeCommandProvider", "commands") or []
        )
        for each in self._registrations.values():
            if each["method"] == "workspace/executeCommand":
                found += capabilities.declared(each, "registerOptions", "commands") or []
        return found

    def ask(
        self,
        editor: Editor,
        key: object,
        method: str,
        params: bytes,
        path: str | None,
        done: Done,
        now: float,
    ) -> None:
        """Pass a request of an editor on; `key` names it for `cancel`, `path` is its document.

        `done` is called once, unless the editor leaves.
        """
        if not self.ready:
            done(_failure("The language server is being started. Try again shortly."))
            return
        if len(self._requests) >= REQUESTS or self._process.full:
            done(_failure("The language server is busy. Try again shortly."))
            return
        request = _Request(editor, key, method, params, path, done, 0, 0.0)
        try:
            self._mint_token(request)
        except (Malformed, TypeError) as error:
            done(Answer.failure(ErrorCode.INVALID_PARAMS, str(error)))
            return
        self._issue(request, now)

    def cancel(self, editor: Editor, key: object) -> None:
        """The editor does not want the answer any more; it gets one all the same."""
        if (id := self._keys.get((id_of(editor), key))) is not None:
            self._cancel(id)

    def notify(self, method: str, params: bytes) -> None:
        if self.ready and not self._process.full:
            self._send(jsonrpc.notification(method, params))

    def cancel_progress(self, token: Id) -> None:
        """An editor cancels what a server reports of by itself."""
        if (theirs := self._progress.cancelled(token)) is not None:
            params = jsonrpc.dumps({"token": theirs})
            self.notify("window/workDoneProgress/cancel", params)

    # ── documents ───────────────────────────────────────────────────────────────────────────────

    def open(self, document: Document, now: float) -> None:
        """Tell the server of a document, from now on until `close`."""
        self._documents[document.path] = document
        if self.ready:
            self._open(document, now)

    def _open(self, document: Document, now: float) -> None:
        if not self._synchronizes():
            return
        self._told[document.path] = document.version
        item = {
            "uri": document.uri,
            "languageId": document.language,
            "version": document.version,
            "text": str(document),
        }
        self._send(
            jsonrpc.notification("textDocument/didOpen", jsonrpc.dumps({"textDocument": item}))
        )
        self._pull_soon(document.path, now)

    def close(self, path: str) -> None:
        if (document := self._documents.pop(path, None)) is None:
            return
        self._tokens.forget(document.uri)
        self._pulls.pop(path, None)
        if self._pulled.pop(path, None) is not None:
            self._diagnosed(path)
        if self._told.pop(path, None) is not None and self.ready:
            params = jsonrpc.dumps({"textDocument": {"uri": document.uri}})
            self._send(jsonrpc.notification("textDocument/didClose", params))

    def changed(self, document: Document, now: float) -> None:
        """A document has a new version. While the server takes nothing, versions gather."""
        if not self._process.full:
            self._flush(document)
        self._pull_soon(document.path, now)
        if document.path in self._published or document.path in self._pulled:
            self._moving.setdefault(document.path, now + MOVE_SECONDS)

    def saved(self, path: str) -> None:
        """A document was written to its file."""
        document, saving = self._documents.get(path), self._sync("save")
        if document is None or saving in (None, False) or path not in self._told:
            return
        self._flush(document)
        params: Json = {"textDocument": {"uri": document.uri}}
        if capabilities.declared({"save": saving}, "save", "includeText"):
            params["text"] = str(document)
        self.notify("textDocument/didSave", jsonrpc.dumps(params))

    def files_changed(self, changes: list[tuple[str, int]]) -> None:
        """Files changed on the disk: their paths, and LSP's `FileChangeType` of each."""
        watched = any(
            each["method"] == "workspace/didChangeWatchedFiles"
            for each in self._registrations.values()
        )
        if watched and changes:
            events = [{"uri": self._root.uri_of(path), "type": kind} for path, kind in changes]
            self.notify("workspace/didChangeWatchedFiles", jsonrpc.dumps({"changes": events}))

    def drained(self) -> None:
        """The process takes messages again."""
        for document in self._documents.values():
            if self._process.full:
                return
            self._flush(document)

    def _flush(self, document: Document) -> None:
        told = self._told.get(document.path)
        if told is None or told == document.version or not self.ready:
            return
        changes = document.since(told)
        whole = (
            self._configuration.full
            or self._sync("change") != 2
            or document.irregular
            or changes is None
            or len(changes) > CHANGES
        )
        if whole or changes is None:
            content: list[Json] = [{"text": str(document)}]
        else:
            content = [self._content(change) for change in changes]
        self._told[document.path] = document.version
        item = {"uri": document.uri, "version": document.version}
        params = jsonrpc.dumps({"textDocument": item, "contentChanges": content})
        self._send(jsonrpc.notification("textDocument/didChange", params))

    def _content(self, change: Change) -> Json:
        return {
            "range": {"start": self._position(change.start), "end": self._position(change.end)},
            "text": change.text,
        }

    def _position(self, position: Position) -> Json:
        return {"line": position.line, "character": position.column(self.encoding)}

    def _sync(self, name: str) -> Any:
        """A member of `textDocumentSync`, which may be a number alone (TextDocumentSyncKind)."""
        sync = self.capabilities.get("textDocumentSync")
        if isinstance(sync, int):
            return {"change": sync, "openClose": sync > 0}.get(name)
        return capabilities.declared({"sync": sync}, "sync", name)

    def _synchronizes(self) -> bool:
        return bool(self._sync("openClose") or self._sync("change"))

    # ── diagnostics ─────────────────────────────────────────────────────────────────────────────

    def diagnostics(self, path: str) -> bytes:
        """The JSON of the diagnostics of a file, without the brackets of its list.

        Their places are those in the newest text.
        """
        lists: list[bytes] = []
        for kept in (self._published, self._pulled):
            if diagnostics := kept.get(path):
                self._take_along(path, diagnostics)
                if inner := bytes(diagnostics.items).strip()[1:-1].strip():
                    lists.append(inner)
        return b",".join(lists)

    def diagnosed_paths(self) -> set[str]:
        return {*self._published, *self._pulled}

    def _take_along(self, path: str, diagnostics: _Diagnostics) -> None:
        stamp, diagnostics.stamp = diagnostics.stamp, self._stamps.latest
        if stamp == diagnostics.stamp or path not in self._documents:
            return
        shift = Shift(self._changes_since(stamp), self.encoding)
        uri = self._root.uri_of(path)
        try:
            items = shift.body(jsonrpc.loads(diagnostics.items), uri)
            diagnostics.items = jsonrpc.dumps(items)
        except (Malformed, TypeError, ValueError, RecursionError):
            diagnostics.items = b"[]"

    def _published_by(self, params: msgspec.Raw) -> None:
        published = msgspec.json.decode(params, type=_Published)
        path = self._root.path(published.uri)
        items = bytes(published.diagnostics)
        if not path or not items.lstrip().startswith(b"["):
            return
        stamp = self._told.get(path, self._stamps.latest)
        if published.version is not None:
            stamp = min(published.version, stamp)
        self._keep(self._published, path, items, stamp)

    def _keep(self, kept: dict[str, _Diagnostics], path: str, items: bytes, stamp: int) -> None:
        if items.strip() == b"[]":
            if kept.pop(path, None) is None:
                return
        elif path in kept or len(kept) < DIAGNOSTICS_FILES:
            kept[path] = _Diagnostics(items, stamp)
        self._diagnosed(path)

    def _diagnosed(self, path: str) -> None:
        self._moving.pop(path, None)
        for editor in self.editors:
            editor.diagnosed(path)

    def _pulls_diagnostics(self) -> bool:
        return self.provides("textDocument/diagnostic")

    def _pull_soon(self, path: str, now: float) -> None:
        """Ask for a document's diagnostics shortly; for the others' too, which may depend on it."""
        if not self.ready or not self._pulls_diagnostics():
            return
        for each in self._documents:
            self._pulls.setdefault(each, _Pull()).due = now + PULL_SECONDS

    def _pull(self, path: str, pull: _Pull, now: float) -> None:
        document = self._documents[path]
        pull.due, pull.asked = None, True
        params: Json = {"textDocument": {"uri": document.uri}}
        if pull.result is not None:
            params["previousResultId"] = pull.result
        options: Any = self.capabilities.get("diagnosticProvider")
        if identifier := capabilities.declared({"o": options}, "o", "identifier"):
            params["identifier"] = identifier
        self._flush(document)
        done = partial(self._pulled_of, path, pull, self._stamps.latest, now)
        self._ask_itself("textDocument/diagnostic", params, done, now, DEFAULT_TIMEOUT)

    def _pulled_of(self, path: str, pull: _Pull, stamp: int, now: float, answer: Answer) -> None:
        pull.asked = False
        if self._pulls.get(path) is not pull:
            return
        if answer.result is None:
            if _code(answer) == ErrorCode.SERVER_CANCELLED and pull.due is None:
                pull.due = now + 4 * PULL_SECONDS
            return
        try:
            report = msgspec.json.decode(answer.result, type=_Report)
        except msgspec.DecodeError as error:
            self._host.logged(f"CloudIDE: diagnostics were not understood: {error}\n")
            return
        pull.result = report.resultId
        if report.kind == "full" and bytes(report.items):
            self._keep(self._pulled, path, bytes(report.items), stamp)

    # ── from the server ─────────────────────────────────────────────────────────────────────────

    def receive(self, body: bytes, now: float) -> None:
        """Take one message of the server; what is none is logged and dropped."""
        self.heard_at, self.probing = now, False
        try:
            message = jsonrpc.read(body)
            if not isinstance(message.method, str):
                self._respond(message, now)
            elif isinstance(message.id, int | str):
                self._asked_by(message.id, message.method, message.params)
            else:
                self._told_by(message.method, message.params, now)
        except (Malformed, msgspec.DecodeError, TypeError, KeyError, ValueError) as error:
            self._host.logged(f"CloudIDE: a message was not understood: {error}\n")
        except RecursionError:
            self._host.logged("CloudIDE: a message was not understood: it is nested too deeply\n")

    def _respond(self, message: Message, now: float) -> None:
        request = self._forget(message.id) if isinstance(message.id, int) else None
        if request is None:
            self.strays += 1
            return
        if jsonrpc.is_error(message):
            self._failed(request, message, now)
            return
        try:
            answer = self._prepared(request, bytes(message.result) or NULL, now)
        except (Malformed, TypeError, KeyError, ValueError, RecursionError) as error:
            self._host.logged(f"CloudIDE: the answer to {request.method} is no such: {error}\n")
            answer = _failure("The language server answered nonsense.")
        if answer is not None:
            request.done(answer)

    def _failed(self, request: _Request, message: Message, now: float) -> None:
        error = jsonrpc.error_of(message)
        stale = error.code in (ErrorCode.CONTENT_MODIFIED, ErrorCode.SERVER_CANCELLED)
        if stale and request.again and request.method in LOOKING:
            self._again(request, now)
        else:
            request.done(Answer(error=jsonrpc.dumps(error)))

    def _prepared(self, request: _Request, result: bytes, now: float) -> Answer | None:
        """The answer as an editor gets it; None when it is asked for once more."""
        method = request.method
        if request.owner is None:
            return Answer(result)
        moved = self._stamps.latest > request.stamp
        if method == FULL and request.path is not None:
            whole = self._tokens.answer(self._root.uri_of(request.path), result)
            if (whole is None or (moved and self._moved(request))) and request.again:
                self._again(request, now)
                return None
            return Answer(whole or NULL)
        if moved and method in COUNTED and request.again and self._moved(request):
            self._again(request, now)
            return None
        changes_of = self._changes_since(request.stamp)
        touched = method in PLACES or (moved and result != NULL)
        if not touched:
            return Answer(result)
        value = jsonrpc.loads(result)
        if moved and method in WRITING:
            if self._moved(request) or any(changes_of(uri) for uri in _uris(value)):
                return Answer.failure(
                    ErrorCode.CONTENT_MODIFIED, "The text has changed meanwhile. Try again."
                )
        elif moved:
            uri = self._root.uri_of(request.path or "")
            value = Shift(changes_of, self.encoding).body(value, uri)
        if method in PLACES:
            value = inside(value, self._root)
        return Answer(jsonrpc.dumps(value))

    def _moved(self, request: _Request) -> bool:
        """Whether the document of a request has changed since it was asked."""
        document = self._documents.get(request.path or "")
        return document is not None and document.version > request.stamp

    def _changes_since(self, stamp: int) -> Callable[[str], list[Change]]:
        def changes_of(uri: str) -> list[Change]:
            document = self._documents.get(self._root.path(uri) or "")
            return (document.since(stamp) or []) if document else []

        return changes_of

    def _again(self, request: _Request, now: float) -> None:
        """Ask once more, for the same places in the newest text."""
        request.again = False
        if self._stamps.latest > request.stamp and request.path is not None:
            params = jsonrpc.loads(request.params)
            shift = Shift(self._changes_since(request.stamp), self.encoding)
            params = shift.body(params, self._root.uri_of(request.path))
            request.params = jsonrpc.dumps(params)
        self._issue(request, now)

    def _told_by(self, method: str, params: msgspec.Raw, now: float) -> None:
        match method:
            case "textDocument/publishDiagnostics":
                self._published_by(params)
            case "$/progress":
                value: Any = jsonrpc.loads(params)
                told = self._progress.report(_token(value["token"]), dict(value["value"]), now)
                if told is not None:
                    body = jsonrpc.dumps({"token": told.token, "value": told.value})
                    self._tell(told.owner, method, body)
            case "window/logMessage" | "window/showMessage":
                value = jsonrpc.loads(params)
                self._host.logged(f"{value['message']}\n")
                if method == "window/showMessage" and now - self._shown_at >= SHOW_SECONDS:
                    self._shown_at = now
                    self._tell(None, method, bytes(params))
            case "telemetry/event" | "$/logTrace" | "$/cancelRequest":
                pass  # nobody here is interested; our answers are made at once
            case _ if not method.startswith("$/"):
                self._tell(None, method, bytes(params))
            case _:
                pass  # LSP 3.17: those that are optional may be ignored

    def _tell(self, owner: object, method: str, params: bytes) -> None:
        for editor in self.editors:
            if owner is None or owner is editor:
                if method == "$/progress" and owner is None and not _shows_progress(editor):
                    continue
                editor.told(method, params)

    # ── what the server asks ────────────────────────────────────────────────────────────────────

    def _asked_by(self, id: Id, method: str, params: msgspec.Raw) -> None:
        """Answer a request of the server, exactly once, whatever it holds."""
        try:
            self._answer(id, method, jsonrpc.loads(params))
        except (Malformed, TypeError, KeyError, ValueError, AttributeError, RecursionError):
            self._send(
                jsonrpc.failure(id, ErrorCode.INVALID_PARAMS, f"The parameters of {method}.")
            )

    def _answer(self, id: Id, method: str, params: Any) -> None:
        match method:
            case "workspace/configuration":
                items = [self._setting(item.get("section")) for item in params["items"]]
                self._result(id, items)
            case "workspace/workspaceFolders":
                self._result(id, [_folder(self._root)])
            case "client/registerCapability":
                self._registered([_registration(each) for each in params["registrations"]])
                self._result(id, None)
            case "client/unregisterCapability":
                self._unregistered([str(each["id"]) for each in params["unregisterations"]])
                self._result(id, None)
            case "window/workDoneProgress/create":
                token = self._progress.create(_token(params["token"]))
                if token is None:
                    raise ValueError("too many")
                for editor in self.editors:
                    self._tell_progress(editor, token, [])
                self._result(id, None)
            case "workspace/applyEdit":
                self._host.apply_edit(self._executing(), params, partial(self._applied, id))
            case "window/showMessageRequest":
                self._host.logged(f"{params['message']}\n")
                self._pass_on(id, method, params, None)
            case "window/showDocument":
                if self._root.path(str(params["uri"])) is None:
                    raise ValueError("outside of the workspace")
                self._pass_on(id, method, params, {"success": False})
            case _ if method in REFRESHES:
                self._refresh(method)
                self._result(id, None)
            case _:
                self._send(
                    jsonrpc.failure(id, ErrorCode.METHOD_NOT_FOUND, f"{method} is not known here.")
                )

    def _result(self, id: Id, value: Any) -> None:
        self._send(jsonrpc.response(id, jsonrpc.dumps(value)))

    def _applied(self, id: Id, refusal: str) -> None:
        answer: Json = {"applied": not refusal}
        if refusal:
            answer["failureReason"] = refusal
        self._result(id, answer)

    def _setting(self, section: object) -> Any:
        """The settings of a section, `a.b.c`; null where there are none."""
        found: Any = self._configuration.settings
        for name in section.split(".") if isinstance(section, str) and section else ():
            found = found.get(name) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return found

    def _executing(self) -> Editor | None:
        """Whose command the server executes: the one that was asked last."""
        for request in reversed(self._requests.values()):
            if request.method == "workspace/executeCommand":
                return request.owner
        return None

    def _pass_on(self, id: Id, method: str, params: Json, otherwise: Any) -> None:
        """Have one editor answer: whoever has asked something, else the one that came last."""
        editor = self._executing() or next(reversed(self.editors), None)
        if editor is None or len(self._asked) >= ASKED:
            self._result(id, otherwise)
            return
        self._last_asked += 1
        number = self._last_asked

        def answer(answer: Answer) -> None:
            if answer.result is None:
                self._result(id, otherwise)
            else:
                self._send(jsonrpc.response(id, answer.result))

        def done(given: Answer) -> None:
            if self._asked.pop(number, None) is not None:
                answer(given)

        self._asked[number] = (editor, self.heard_at + ASKED_SECONDS, answer)
        editor.asked(method, jsonrpc.dumps(params), done)

    def _refresh(self, method: str) -> None:
        if method == "workspace/diagnostic/refresh":
            for path in self._documents:
                self._pulls.setdefault(path, _Pull()).due = self.heard_at + PULL_SECONDS
            return
        for editor in self.editors:
            if capabilities.declared(
                editor.capabilities, "workspace", REFRESHES[method], "refreshSupport"
            ):
                editor.asked(method, b"", None)

    def _tell_progress(self, editor: Editor, token: str, values: list[Json]) -> None:
        if not _shows_progress(editor):
            return
        editor.asked("window/workDoneProgress/create", jsonrpc.dumps({"token": token}), None)
        for value in values:
            editor.told("$/progress", jsonrpc.dumps({"token": token, "value": value}))

    def _registered(self, registrations: list[Json]) -> None:
        if len(self._registrations) + len(registrations) > REGISTRATIONS:
            raise ValueError("too many registrations")
        for each in registrations:
            self._registrations[each["id"]] = each
        for editor in self.editors:
            self._register(editor, registrations)
        if any(each["method"] == "textDocument/diagnostic" for each in registrations):
            for path in self._documents:
                self._pull_soon(path, self.heard_at)

    def _register(self, editor: Editor, registrations: list[Json]) -> None:
        theirs = [
            {**each, "id": self._id(each["id"])}
            for each in registrations
            if _registers(editor, each["method"])
        ]
        if theirs:
            params = jsonrpc.dumps({"registrations": theirs})
            editor.asked("client/registerCapability", params, None)

    def _unregistered(self, ids: list[str]) -> None:
        gone = [self._registrations.pop(id) for id in ids if id in self._registrations]
        for editor in self.editors:
            theirs = [
                {"id": self._id(each["id"]), "method": each["method"]}
                for each in gone
                if _registers(editor, each["method"])
            ]
            if theirs:
                params = jsonrpc.dumps({"unregisterations": theirs})
                editor.asked("client/unregisterCapability", params, None)

    def _id(self, id: str) -> str:
        """A registration's id as editors see it: two servers may use the same."""
        return f"{self._configuration.id}:{id}"

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def tick(self, now: float) -> None:
        """Let go of what took too long, and ask for what is due."""
        for id, request in list(self._requests.items()):
            if request.deadline <= now and self._forget(id) is not None:
                self._cancel(id)
                request.done(_failure("The language server did not answer in time."))
        for id, (_, deadline, answer) in list(self._asked.items()):
            if deadline <= now:
                del self._asked[id]
                answer(Answer())
        for path in [path for path, due in self._moving.items() if due <= now]:
            del self._moving[path]
            self._diagnosed(path)
        for path, pull in self._pulls.items():
            if pull.due is not None and pull.due <= now and not pull.asked:
                if self._process.full:
                    return
                self._pull(path, pull, now)

    @property
    def waiting(self) -> bool:
        """Whether the server has something to answer."""
        return bool(self._requests)

    def _issue(self, request: _Request, now: float) -> None:
        """Send a request, after all that has changed in the documents."""
        self.drained()
        request.stamp = self._stamps.latest
        request.deadline = now + TIMEOUTS.get(request.method, DEFAULT_TIMEOUT)
        self._last_id += 1
        id = self._last_id
        self._requests[id] = request
        if request.owner is not None:
            self._keys[id_of(request.owner), request.key] = id
        method, params = request.method, request.params
        if method == FULL and request.path is not None:
            method, params = self._tokens.question(self._root.uri_of(request.path))
        self._send(jsonrpc.request(id, method, params))

    def _ask_itself(
        self, method: str, params: Json | None, done: Done, now: float, timeout: float
    ) -> None:
        """A request of our own."""
        self._last_id += 1
        body = b"" if params is None else jsonrpc.dumps(params)
        stamp = self._stamps.latest
        request = _Request(None, None, method, body, None, done, stamp, now + timeout)
        self._requests[self._last_id] = request
        self._send(jsonrpc.request(self._last_id, method, body))

    def _mint_token(self, request: _Request) -> None:
        """Give the request a token of ours. Partial results are not asked for: they would have to
        be worked on like answers."""
        if b"Token" not in request.params or request.owner is None:
            return
        params = jsonrpc.loads(request.params)
        params.pop("partialResultToken", None)
        if (token := params.get("workDoneToken")) is not None:
            request.token = self._progress.ask(request.owner, _token(token))
            params["workDoneToken"] = request.token
        request.params = jsonrpc.dumps(params)

    def _forget(self, id: int) -> _Request | None:
        request = self._requests.pop(id, None)
        if request is None:
            return None
        if request.owner is not None:
            key = (id_of(request.owner), request.key)
            if self._keys.get(key) == id:
                del self._keys[key]
        if request.token is not None:
            self._progress.answered(request.token)
        return request

    def _cancel(self, id: int) -> None:
        self._send(jsonrpc.notification("$/cancelRequest", jsonrpc.dumps({"id": id})))

    def _send(self, body: bytes) -> None:
        self._process.send(body)


def id_of(editor: Editor) -> int:
    return id(editor)


def _failure(message: str) -> Answer:
    return Answer.failure(ErrorCode.REQUEST_FAILED, message)


def _code(answer: Answer) -> int:
    value: Any = jsonrpc.loads(answer.error)
    return value.get("code", 0) if isinstance(value, dict) else 0  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _folder(root: Root) -> Json:
    return {"uri": root.uri, "name": root.folder.rpartition("/")[2] or "/"}


def _token(token: Any) -> Id:
    if isinstance(token, bool) or not isinstance(token, int | str):
        raise TypeError("A progress token is a number or text.")
    return token


def _registration(value: Mapping[str, Any]) -> Json:
    registration: Json = {"id": str(value["id"]), "method": str(value["method"])}
    if value.get("registerOptions") is not None:
        registration["registerOptions"] = value["registerOptions"]
    return registration


def _registers(editor: Editor, method: str) -> bool:
    """Whether an editor is told of registrations of a method; some end here."""
    group, _, name = method.partition("/")
    if method in (
        "workspace/didChangeWatchedFiles",
        "workspace/didChangeConfiguration",
        "textDocument/diagnostic",
    ) or name.startswith(("did", "will")):
        return False
    name = name.partition("/")[0] or name
    return bool(capabilities.declared(editor.capabilities, group, name, "dynamicRegistration"))


def _shows_progress(editor: Editor) -> bool:
    return bool(capabilities.declared(editor.capabilities, "window", "workDoneProgress"))


def _uris(value: Any) -> set[str]:
    """The documents that an edit touches."""
    found: set[str] = set()
    if isinstance(value, list):
        for each in value:  # pyright: ignore[reportUnknownVariableType]
            found |= _uris(each)
    elif isinstance(value, dict):
        for name, each in value.items():  # pyright: ignore[reportUnknownVariableType]
            if name == "changes" and isinstance(each, dict):
                found |= {str(uri) for uri in each}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            elif name == "uri" and isinstance(each, str):
                found.add(each)
            else:
                found |= _uris(each)
    return found
