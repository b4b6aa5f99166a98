"""The one client that a language server has, in the place of all editors.

Pure: messages come in as calls, what is to be sent goes out through the protocols below, and the
time is given. One multiplexer is one run of a server's process; when that ends, so does it.

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

from functools import partial
from typing import Any, Protocol

import msgspec

from cloudide.languages import capabilities
from cloudide.languages.diagnostics import Diagnostics
from cloudide.languages.documents import Document, Stamps
from cloudide.languages.editors import Answer, Done, Editor, shows_progress
from cloudide.languages.freshness import Freshness
from cloudide.languages.inquiries import Host, Inquiries
from cloudide.languages.lines import Encoding
from cloudide.languages.methods import DEFAULT_TIMEOUT, LOOKING, TIMEOUTS, provides
from cloudide.languages.progress import Progress, token_of
from cloudide.languages.registrations import WATCHED_FILES, Registrations
from cloudide.languages.requests import Request, Requests, failure
from cloudide.languages.synchronization import Synchronization
from cloudide.languages.tokens import SemanticTokens
from cloudide.languages.uris import Root
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import NULL, ErrorCode, Id, Malformed, Message

CREATED, CHANGED, DELETED = 1, 2, 3  # FileChangeType
FILES = 10_000  # changed ones that a server has not been told of
REQUESTS = 1000  # that a server has not answered, at one time
INITIALIZE_SECONDS = 60.0
SHUTDOWN_SECONDS = 5.0
SHOW_SECONDS = 0.5  # messages that come faster are only logged
PULL = "textDocument/diagnostic"
# What reading a body raises that is not what it should be.
_NONSENSE = (
    *(Malformed, msgspec.DecodeError, RecursionError),
    *(AttributeError, KeyError, TypeError, ValueError),
)

Json = dict[str, Any]


class Process(Protocol):
    """What takes messages to the server."""

    @property
    def full(self) -> bool:
        """Whether it takes no more for now; `Multiplexer.drained` is called when it does again."""
        ...

    def send(self, body: bytes) -> None: ...


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is spoken to. `settings` is what it may ask for; `full`: whole texts only."""

    id: str
    root: Root
    settings: Json = {}
    initialization_options: Json = {}
    full: bool = False


class Multiplexer:
    """See the module. Methods take the time in seconds where they need it."""

    def __init__(
        self, configuration: Configuration, process: Process, host: Host, stamps: Stamps
    ) -> None:
        self.ready = False
        self.capabilities: Json = {}
        self.info: Json = {}
        self.editors: list[Editor] = []
        self.strays = 0  # answers to what was never asked, or answered before
        self.heard_at = 0.0
        self.probing = False
        self._configuration = configuration
        self._root = root = configuration.root
        self._process = process
        self._host = host
        self._stamps = stamps
        self._registrations = Registrations(configuration.id)
        self._progress = Progress(configuration.id)
        self._requests = Requests(self._progress)
        self._tokens = SemanticTokens()
        self._documents = Synchronization(root, process.send, full=configuration.full)
        self._freshness = Freshness(root, stamps, self._documents, self._tokens)
        self._diagnostics = Diagnostics(root, self._documents, self._diagnosed)
        self._inquiries = Inquiries(
            root,
            configuration.settings,
            self.editors,
            host,
            process.send,
            self._requests.executing,
            self._registrations,
            self._progress,
        )
        self._inquiries.on_pull = self._pull_soon
        self._shown_at = 0.0
        self._files: dict[str, int] = {}  # that changed on the disk, by path

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
            "workspaceFolders": [root.workspace_folder],
            "capabilities": capabilities.CLIENT,
            "initializationOptions": self._configuration.initialization_options,
            "trace": "off",
        }
        done = partial(self._initialized, now)
        self._ask_itself("initialize", params, done, now, INITIALIZE_SECONDS)

    def _initialized(self, now: float, answer: Answer) -> None:
        try:
            result: Any = jsonrpc.loads(answer.result or b"")
            self.capabilities = dict(result["capabilities"])
            self.info = dict(result.get("serverInfo") or {})
        except _NONSENSE:
            self._host.failed("it could not be initialized")
            return
        encoding: Any = self.capabilities.get("positionEncoding") or "utf-16"
        if encoding not in ("utf-8", "utf-16"):
            self._host.failed("it counts columns in a way that nobody understands")
            return
        deltas = capabilities.declared(self.capabilities, "semanticTokensProvider", "full", "delta")
        self._tokens.deltas = deltas is True
        self._send(jsonrpc.notification("initialized", b"{}"))
        self._tell_settings()
        self.ready = True
        self._documents.begin(self.capabilities.get("textDocumentSync"), encoding)
        self._pull_soon(now)
        self._host.initialized()

    def configure(self, settings: Json) -> None:
        """The workspace's settings have changed."""
        self._inquiries.settings = settings
        if self.ready:
            self._tell_settings()

    def _tell_settings(self) -> None:
        settings = jsonrpc.dumps({"settings": self._inquiries.settings})
        self._send(jsonrpc.notification("workspace/didChangeConfiguration", settings))

    def shutdown(self, now: float) -> None:
        """Ask the server to end."""

        def prepared(_: Answer) -> None:
            self._send(jsonrpc.notification("exit"))

        self._ask_itself("shutdown", None, prepared, now, SHUTDOWN_SECONDS)

    def ended(self) -> None:
        """The process is gone: whoever waits is told, and what it registered goes with it."""
        self.ready = False
        for request in self._requests.take_all():
            request.done(failure("The language server ended. It is started again."))
        self._registrations.clear(self.editors)
        for editor in filter(shows_progress, self.editors):
            for token, _ in self._progress.under_way():
                value = {"kind": "end", "message": "The language server ended."}
                editor.told("$/progress", jsonrpc.dumps({"token": token, "value": value}))
        self._diagnostics.clear()

    def probe(self, now: float, timeout: float) -> None:
        """Ask whether the server lives. It has to answer, if only that it does not know this
        method (LSP 3.17, $ Notifications and Requests)."""
        if not self.probing:
            self.probing = True
            self._ask_itself("$/cloudide/alive", None, lambda _: None, now, 2 * timeout)

    # ── editors ─────────────────────────────────────────────────────────────────────────────────

    @property
    def encoding(self) -> Encoding:
        return self._documents.encoding

    def join(self, editor: Editor) -> None:
        """An editor comes: it is told what the others know. Diagnostics it asks for by itself."""
        self.editors.append(editor)
        self._registrations.tell(editor)
        for token, values in self._progress.under_way():
            self._inquiries.show_progress(editor, token, values)

    def leave(self, editor: Editor) -> None:
        if editor not in self.editors:
            return
        self.editors.remove(editor)
        for id in self._requests.of(editor):
            self._requests.take(id)
            self._cancel(id)
        self._inquiries.leave(editor)

    def provides(self, method: str) -> bool:
        return provides(self.capabilities, self._registrations.methods, method)

    def offered(self) -> Json:
        """What the server can do, by its capabilities and its registrations."""
        return capabilities.with_registered(self.capabilities, self._registrations.values())

    def commands(self) -> list[str]:
        """The commands that the server executes."""
        found: list[Any] = [
            capabilities.declared(self.capabilities, "executeCommandProvider", "commands"),
            *(
                capabilities.declared(each, "registerOptions", "commands")
                for each in self._registrations.values()
                if each["method"] == "workspace/executeCommand"
            ),
        ]
        return [str(command) for each in found if isinstance(each, list) for command in each]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

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
            done(failure("The language server is being started. Try again shortly."))
            return
        if len(self._requests) >= REQUESTS or self._process.full:
            done(failure("The language server is busy. Try again shortly."))
            return
        request = Request(editor, key, method, params, path, done)
        try:
            self._requests.mint_token(request)
        except (Malformed, TypeError, AttributeError) as error:
            done(Answer.failure(ErrorCode.INVALID_PARAMS, str(error)))
            return
        self._issue(request, now)

    def cancel(self, editor: Editor, key: object) -> None:
        """The editor does not want the answer any more; it gets one all the same."""
        if (id := self._requests.find(editor, key)) is not None:
            self._cancel(id)

    def cancel_progress(self, token: Id) -> None:
        """An editor cancels what a server reports of by itself."""
        if (theirs := self._progress.cancelled(token)) is not None:
            self._notify("window/workDoneProgress/cancel", {"token": theirs})

    # ── documents and files ─────────────────────────────────────────────────────────────────────

    def open(self, document: Document, now: float) -> None:
        """Tell the server of a document, from now on until `close`."""
        self._documents.open(document)
        self._pull_soon(now)

    def close(self, path: str) -> None:
        if (document := self._documents.close(path)) is not None:
            self._tokens.forget(document.uri)
            self._diagnostics.close(path)

    def changed(self, document: Document, now: float) -> None:
        """A document has a new version. While the server takes nothing, versions gather."""
        if not self._process.full:
            self._documents.flush(document)
        self._diagnostics.moved(document.path, now)
        self._pull_soon(now)

    def saved(self, path: str) -> None:
        """A document was written to its file."""
        if not self._process.full:
            self._documents.saved(path)

    def files_changed(self, changes: list[tuple[str, int]]) -> None:
        """Files changed on the disk: their paths, and LSP's `FileChangeType` of each.

        While the server takes nothing they gather, one change of each file.
        """
        if WATCHED_FILES not in self._registrations.methods:
            return
        for path, kind in changes:
            before = self._files.pop(path, None)
            self._files[path] = CHANGED if (before, kind) == (DELETED, CREATED) else kind
            if len(self._files) > FILES:
                del self._files[next(iter(self._files))]
        self._tell_files()

    def _tell_files(self) -> None:
        if self._files and not self._process.full:
            files, self._files = self._files, {}
            events = [
                {"uri": self._root.uri_of(path), "type": kind} for path, kind in files.items()
            ]
            self._notify(WATCHED_FILES, {"changes": events})

    def drained(self) -> None:
        """The process takes messages again."""
        self._tell_files()
        for document in self._documents.documents.values():
            if self._process.full:
                return
            self._documents.flush(document)

    # ── diagnostics ─────────────────────────────────────────────────────────────────────────────

    def diagnostics(self, path: str) -> bytes:
        """The JSON of a file's diagnostics in the newest text, without the brackets of the list."""
        return self._diagnostics.of(path, self._stamps.latest)

    def diagnosed_paths(self) -> set[str]:
        return self._diagnostics.paths

    def _diagnosed(self, path: str) -> None:
        for editor in self.editors:
            editor.diagnosed(path)

    def _pull_soon(self, now: float) -> None:
        if self.ready and self.provides(PULL):
            self._diagnostics.pull_soon(now)

    def _pull(self, path: str, now: float) -> None:
        params = self._diagnostics.question(path)
        identifier = capabilities.declared(self.capabilities, "diagnosticProvider", "identifier")
        if identifier is not None:
            params["identifier"] = identifier
        stamp = self._stamps.latest

        def done(answer: Answer) -> None:
            if answer.result is None:
                again = answer.code == ErrorCode.SERVER_CANCELLED
                self._diagnostics.refused(path, self.heard_at, again=again)
                return
            try:
                self._diagnostics.answered(path, answer.result, stamp)
            except msgspec.DecodeError as error:
                self._host.logged(f"CloudIDE: diagnostics were not understood: {error}\n")

        self._ask_itself(PULL, params, done, now, DEFAULT_TIMEOUT)

    # ── from the server ─────────────────────────────────────────────────────────────────────────

    def receive(self, body: bytes, now: float) -> None:
        """Take one message of the server; what is none is logged and dropped."""
        self.heard_at, self.probing = now, False
        try:
            message = jsonrpc.read(body)
            if not isinstance(message.method, str):
                self._respond(message, now)
            elif isinstance(message.id, int | str):
                self._inquiries.answer(message.id, message.method, message.params, now)
            else:
                self._told_by(message.method, message.params, now)
        except _NONSENSE as error:
            self._host.logged(f"CloudIDE: a message was not understood: {str(error)[:200]}\n")

    def _respond(self, message: Message, now: float) -> None:
        request = self._requests.take(message.id)
        if request is None:
            self.strays += 1
            return
        if jsonrpc.is_error(message):
            self._failed(request, message, now)
            return
        try:
            answer = self._freshness.prepared(request, bytes(message.result) or NULL)
            if answer is None:
                self._again(request, now)
        except _NONSENSE as error:
            reason = str(error)[:200]
            self._host.logged(f"CloudIDE: the answer to {request.method} is no such: {reason}\n")
            answer = failure("The language server answered nonsense.")
        if answer is not None:
            request.done(answer)

    def _failed(self, request: Request, message: Message, now: float) -> None:
        error = jsonrpc.error_of(message)
        stale = error.code in (ErrorCode.CONTENT_MODIFIED, ErrorCode.SERVER_CANCELLED)
        if stale and request.again and request.method in LOOKING and request.owner is not None:
            self._again(request, now)
        else:
            request.done(Answer(error=jsonrpc.dumps(error)))

    def _told_by(self, method: str, params: msgspec.Raw, now: float) -> None:
        match method:
            case "textDocument/publishDiagnostics":
                self._diagnostics.published(params, self._stamps.latest)
            case "$/progress":
                value: Any = jsonrpc.loads(params)
                told = self._progress.report(token_of(value["token"]), dict(value["value"]), now)
                if told is not None:
                    body = jsonrpc.dumps({"token": told.token, "value": told.value})
                    for editor in self.editors:
                        if told.owner is editor or (told.owner is None and shows_progress(editor)):
                            editor.told(method, body)
            case "window/logMessage" | "window/showMessage":
                self._host.logged(f"{jsonrpc.loads(params)['message']}\n")
                if method == "window/showMessage" and now - self._shown_at >= SHOW_SECONDS:
                    self._shown_at = now
                    self._tell(method, params)
            case "telemetry/event":
                pass  # nobody here is interested
            case _ if not method.startswith("$/"):
                self._tell(method, params)
            case _:
                pass  # LSP 3.17: those that are optional may be ignored

    def _tell(self, method: str, params: msgspec.Raw) -> None:
        for editor in self.editors:
            editor.told(method, bytes(params))

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def tick(self, now: float) -> None:
        """Let go of what took too long, and ask for what is due."""
        for id in self._requests.overdue(now):
            if (request := self._requests.take(id)) is not None:
                self._cancel(id)
                request.done(failure("The language server did not answer in time."))
        self._inquiries.tick(now)
        self._diagnostics.tick(now)
        for path in self._diagnostics.due(now):
            if not self._process.full:
                self._pull(path, now)

    @property
    def waiting(self) -> bool:
        """Whether the server has something to answer."""
        return len(self._requests) > 0

    def _issue(self, request: Request, now: float) -> None:
        """Send a request, after all that has changed in the documents."""
        self.drained()
        request.deadline = now + TIMEOUTS.get(request.method, DEFAULT_TIMEOUT)
        method, params = self._freshness.question(request)
        self._send(jsonrpc.request(self._requests.add(request), method, params))

    def _again(self, request: Request, now: float) -> None:
        try:
            self._freshness.renew(request)
        except _NONSENSE as error:
            request.done(Answer.failure(ErrorCode.INVALID_PARAMS, f"The parameters: {error}"))
        else:
            self._issue(request, now)

    def _ask_itself(
        self, method: str, params: Json | None, done: Done, now: float, timeout: float
    ) -> None:
        """A request of our own."""
        self.drained()
        body = b"" if params is None else jsonrpc.dumps(params)
        request = Request(None, None, method, body, None, done, self._stamps.latest, now + timeout)
        self._send(jsonrpc.request(self._requests.add(request), method, body))

    def _cancel(self, id: int) -> None:
        self._notify("$/cancelRequest", {"id": id})

    def _notify(self, method: str, params: Json) -> None:
        if not self._process.full or method == "$/cancelRequest":
            self._send(jsonrpc.notification(method, jsonrpc.dumps(params)))

    def _send(self, body: bytes) -> None:
        self._process.send(body)
