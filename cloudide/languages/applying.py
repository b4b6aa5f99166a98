"""What an editor has done by servers: edits that they answer with, and code actions.

It is done in the rooms, for the editor's person, all or nothing; the editor is answered with what
was changed (`protocol.languages.Edited`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from cloudide.errors import CloudIDEError
from cloudide.identity.permissions import Grant
from cloudide.languages import capabilities
from cloudide.languages.documents import Stamps
from cloudide.languages.lines import Encoding
from cloudide.languages.merging import origin
from cloudide.languages.multiplexer import Multiplexer
from cloudide.languages.upstreams import Upstreams
from cloudide.languages.uris import Root
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import ErrorCode, Id, Malformed
from cloudide.protocol.languages import APPLY_CODE_ACTION, APPLY_EDIT, Edited

LABEL = 200  # characters
_LABELS = {
    "textDocument/rename": "Rename",
    "textDocument/formatting": "Format document",
    "textDocument/rangeFormatting": "Format selection",
    "textDocument/onTypeFormatting": "Format while typing",
}

Json = dict[str, Any]


class Workspace(Protocol):
    root: Root
    stamps: Stamps

    async def apply(
        self, grant: Grant, label: str, edit: Json, encoding: Encoding, stamp: int
    ) -> Edited | None:
        """Apply a `WorkspaceEdit` that was made when the documents stood at `stamp`.

        Raises:
            CloudIDEError: it cannot be, and nothing was.
        """
        ...


class Applying:
    """`under_way` are the ids of the editor's requests; `send` takes messages to it."""

    def __init__(
        self,
        grant: Grant,
        workspace: Workspace,
        servers: Upstreams,
        under_way: set[Id],
        send: Callable[[bytes], None],
    ) -> None:
        self._grant = grant
        self._workspace = workspace
        self._servers = servers
        self._under_way = under_way
        self._send = send
        self._tasks: set[asyncio.Task[None]] = set()

    def cancel(self) -> None:
        """The editor has gone."""
        for task in self._tasks:
            task.cancel()

    def request(self, id: Id, method: str, params: bytes) -> None:
        """One of our own methods.

        Raises:
            Malformed, TypeError, KeyError, ValueError: the parameters are none.
        """
        value: Any = jsonrpc.loads(params)
        if method == APPLY_EDIT:
            label, edit = str(value["label"])[:LABEL], dict(value["edit"])
            self._begin(id, self._apply(id, label, edit, self._workspace.stamps.latest))
        elif method == APPLY_CODE_ACTION:
            self._begin(id, self._apply_action(id, dict(value)))
        else:
            self._fail(id, ErrorCode.METHOD_NOT_FOUND, f"{method} is not known here.")

    def answer(self, id: Id, method: str, path: str | None, result: bytes) -> None:
        """Do what an answer would change; `path` is the document that was asked about."""
        try:
            value: Any = jsonrpc.loads(result)
            if value and isinstance(value, list):  # edits of the document itself
                value = {"changes": {self._workspace.root.uri_of(path or ""): value}}
        except Malformed as error:
            self._under_way.discard(id)
            self._fail(id, ErrorCode.INTERNAL_ERROR, error.message)
            return
        if not value:
            self._under_way.discard(id)
            self._send(jsonrpc.response(id))
            return
        self._begin(id, self._apply(id, _LABELS[method], value, self._workspace.stamps.latest))

    async def _apply(self, id: Id, label: str, edit: Json, stamp: int) -> None:
        encoding = self._servers.encoding
        edited = await self._workspace.apply(self._grant, label, edit, encoding, stamp)
        self._send(jsonrpc.response(id, jsonrpc.dumps(edited)))

    async def _apply_action(self, id: Id, action: Json) -> None:
        """Resolve a code action if it has to be, apply its edit and execute its command."""
        stamp = self._workspace.stamps.latest
        server, action = origin(action)
        action = await self._resolved(server, action)
        edited: Edited | None = None
        if action.get("edit"):
            label, encoding = str(action.get("title", ""))[:LABEL], self._servers.encoding
            edited = await self._workspace.apply(
                self._grant, label, action["edit"], encoding, stamp
            )
        command: Any = action.get("command")
        if isinstance(command, str):
            command = action  # a plain `Command`
        if command:
            params = {"command": command["command"], "arguments": command.get("arguments", [])}
            executing = self._servers.executing(params["command"])
            if not executing:
                raise _Refused(_error("No server here has this command."))
            await self._ask(executing[0][1], "workspace/executeCommand", params)
        self._send(jsonrpc.response(id, jsonrpc.dumps(edited)))

    async def _resolved(self, server: str | None, action: Json) -> Json:
        asked = [
            multiplexer
            for name, multiplexer in self._servers.of("textDocument/codeAction")
            if server in (None, name)
        ]
        if action.get("edit") or not asked or not asked[0].provides("codeAction/resolve"):
            return action
        provider = asked[0].capabilities.get("codeActionProvider")
        if not capabilities.declared({"p": provider}, "p", "resolveProvider"):
            return action
        result = await self._ask(asked[0], "codeAction/resolve", action)
        return dict(jsonrpc.loads(result) or action)

    async def _ask(self, multiplexer: Multiplexer, method: str, params: Json) -> bytes:
        """Raises: _Refused: the server answered with an error."""
        answer = await self._servers.answer_of(multiplexer, method, params)
        if answer.result is None:
            raise _Refused(answer.error)
        return answer.result

    def _begin(self, id: Id, work: Awaitable[None]) -> None:
        """Work beside other messages."""
        self._under_way.add(id)

        async def run() -> None:
            try:
                await work
            except _Refused as refused:
                self._send(jsonrpc.failed(id, refused.error))
            except CloudIDEError as error:
                self._fail(id, ErrorCode.REQUEST_FAILED, error.message)
            except (Malformed, TypeError, KeyError, ValueError, AttributeError) as error:
                self._fail(id, ErrorCode.INVALID_PARAMS, f"The edit is none: {error}")
            finally:
                self._under_way.discard(id)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _fail(self, id: Id, code: ErrorCode, message: str) -> None:
        self._send(jsonrpc.failure(id, code, message))


class _Refused(Exception):
    """`error`: the `error` of a response."""

    def __init__(self, error: bytes) -> None:
        super().__init__(error)
        self.error = error


def _error(message: str) -> bytes:
    return jsonrpc.dumps({"code": ErrorCode.REQUEST_FAILED, "message": message})
