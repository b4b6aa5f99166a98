"""What a language server asks: answered once each, whether or not there is an editor.

Settings and folders are the workspace's, registrations and progress are kept, edits are done by the
host. What a person has to decide goes to one editor: who executes a command, else who came last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from cloudide.languages import capabilities
from cloudide.languages.editors import Answer, Editor, shows_progress
from cloudide.languages.methods import REFRESHES
from cloudide.languages.progress import Progress, token_of
from cloudide.languages.registrations import Registrations
from cloudide.languages.uris import Root
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import ErrorCode, Id, Malformed

PASSED_ON = 100  # that editors have not answered
PASSED_ON_SECONDS = 300.0  # a person has to answer

Json = dict[str, Any]


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


class Inquiries:
    """`settings` is what is answered for a server's configuration. `editors` is kept by its owner;
    `executing()` is whose command the server executes."""

    def __init__(
        self,
        root: Root,
        settings: Json,
        editors: list[Editor],
        host: Host,
        send: Callable[[bytes], None],
        executing: Callable[[], Editor | None],
        registrations: Registrations,
        progress: Progress,
    ) -> None:
        self.on_pull: Callable[[float], None] = lambda now: None  # diagnostics are to be asked for
        self._root = root
        self.settings = settings
        self._editors = editors
        self._host = host
        self._send = send
        self._executing = executing
        self._registrations = registrations
        self._progress = progress
        self._passed_on: dict[int, tuple[Editor, float, Callable[[Answer], None]]] = {}
        self._last = 0

    def answer(self, id: Id, method: str, raw: Any, now: float) -> None:
        """Answer a request, now or when a person has decided, whatever it holds."""
        try:
            self._answer(id, method, jsonrpc.loads(raw), now)
        except (Malformed, TypeError, KeyError, ValueError, AttributeError, RecursionError):
            message = f"The parameters of {method} are not understood."
            self._send(jsonrpc.failure(id, ErrorCode.INVALID_PARAMS, message))

    def leave(self, editor: Editor) -> None:
        """An editor goes: what it was to answer it does not."""
        self._give_up(lambda asked, deadline: asked is editor)

    def tick(self, now: float) -> None:
        if self._passed_on:
            self._give_up(lambda asked, deadline: deadline <= now)

    def show_progress(self, editor: Editor, token: str, values: list[Json]) -> None:
        """Tell an editor of a token of the server, and what was reported with it."""
        if shows_progress(editor):
            editor.asked("window/workDoneProgress/create", jsonrpc.dumps({"token": token}), None)
            for value in values:
                editor.told("$/progress", jsonrpc.dumps({"token": token, "value": value}))

    def _answer(self, id: Id, method: str, params: Any, now: float) -> None:
        match method:
            case "workspace/configuration":
                self._result(id, [self._setting(item.get("section")) for item in params["items"]])
            case "workspace/workspaceFolders":
                self._result(id, [self._root.workspace_folder])
            case "client/registerCapability":
                methods = self._registrations.register(params["registrations"], self._editors)
                self._result(id, None)
                if "textDocument/diagnostic" in methods:
                    self.on_pull(now)
            case "client/unregisterCapability":
                ids = [str(each["id"]) for each in params["unregisterations"]]
                self._registrations.unregister(ids, self._editors)
                self._result(id, None)
            case "window/workDoneProgress/create":
                if (token := self._progress.create(token_of(params["token"]))) is None:
                    raise ValueError("too many")
                for editor in self._editors:
                    self.show_progress(editor, token, [])
                self._result(id, None)
            case "workspace/applyEdit":
                self._host.apply_edit(self._executing(), params, partial(self._applied, id))
            case "window/showMessageRequest":
                self._host.logged(f"{params['message']}\n")
                self._pass_on(id, method, params, None, now)
            case "window/showDocument":
                if self._root.path(str(params["uri"])) is None:
                    raise ValueError("outside of the workspace")
                self._pass_on(id, method, params, {"success": False}, now)
            case _ if method in REFRESHES:
                self._result(id, None)
                self._refresh(method, now)
            case _:
                message = f"{method} is not known here."
                self._send(jsonrpc.failure(id, ErrorCode.METHOD_NOT_FOUND, message))

    def _result(self, id: Id, value: Any) -> None:
        self._send(jsonrpc.response(id, jsonrpc.dumps(value)))

    def _applied(self, id: Id, refusal: str) -> None:
        answer: Json = {"applied": not refusal}
        if refusal:
            answer["failureReason"] = refusal
        self._result(id, answer)

    def _setting(self, section: object) -> Any:
        """The settings of a section, `a.b.c`; null where there are none."""
        names = section.split(".") if isinstance(section, str) and section else []
        return capabilities.declared(self.settings, *names)

    def _refresh(self, method: str, now: float) -> None:
        if method == "workspace/diagnostic/refresh":
            self.on_pull(now)
            return
        for editor in self._editors:
            support = (REFRESHES[method], "refreshSupport")
            if capabilities.declared(editor.capabilities, "workspace", *support):
                editor.asked(method, b"", None)

    def _pass_on(self, id: Id, method: str, params: Json, otherwise: Any, now: float) -> None:
        """Have one editor answer; `otherwise` is the answer when none does."""
        editor = self._executing() or next(reversed(self._editors), None)
        if editor is None or len(self._passed_on) >= PASSED_ON:
            self._result(id, otherwise)
            return
        self._last += 1
        number = self._last

        def answer(given: Answer) -> None:
            if given.result is None:
                self._result(id, otherwise)
            else:
                self._send(jsonrpc.response(id, given.result))

        def done(given: Answer) -> None:
            if self._passed_on.pop(number, None) is not None:
                answer(given)

        self._passed_on[number] = (editor, now + PASSED_ON_SECONDS, answer)
        editor.asked(method, jsonrpc.dumps(params), done)

    def _give_up(self, given_up: Callable[[Editor, float], bool]) -> None:
        for number, (editor, deadline, answer) in list(self._passed_on.items()):
            if given_up(editor, deadline):
                del self._passed_on[number]
                answer(Answer())
