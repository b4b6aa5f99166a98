"""Answers that were made for an older text: taken along to the newest one, asked for once more, or
refused, by what the request is for."""

from __future__ import annotations

from cloudide.languages.answers import Shift, edited_outside, inside, uris_in
from cloudide.languages.documents import Stamps
from cloudide.languages.editors import Answer
from cloudide.languages.methods import COUNTED, PLACES, WRITING
from cloudide.languages.requests import Request
from cloudide.languages.synchronization import Synchronization
from cloudide.languages.tokens import FULL, SemanticTokens
from cloudide.languages.uris import Root
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import NULL, ErrorCode

ACTIONS = "textDocument/codeAction"
EDITING = {ACTIONS, "codeAction/resolve", "textDocument/rename"}  # other files than the one asked


class Freshness:
    def __init__(
        self, root: Root, stamps: Stamps, documents: Synchronization, tokens: SemanticTokens
    ) -> None:
        self._root = root
        self._stamps = stamps
        self._documents = documents
        self._tokens = tokens

    def question(self, request: Request) -> tuple[str, bytes]:
        """The method and parameters with which a request is sent to the server."""
        request.stamp = self._stamps.latest
        if request.method == FULL and request.path is not None:
            return self._tokens.question(self._root.uri_of(request.path))
        return request.method, request.params

    def prepared(self, request: Request, result: bytes) -> Answer | None:
        """The answer as an editor gets it; None when it is to be asked for once more.

        Raises:
            Malformed, AttributeError, KeyError, TypeError, ValueError: it is none of this method.
        """
        method, path = request.method, request.path
        if request.owner is None:
            return Answer(result)
        moved = self._stamps.latest > request.stamp
        own_moved = moved and self._documents.has_moved(path, request.stamp)
        if method == FULL and path is not None:
            whole = self._tokens.answer(self._root.uri_of(path), result)
            return None if (whole is None or own_moved) and request.again else Answer(whole or NULL)
        if method in COUNTED and own_moved and request.again:
            return None
        if method not in PLACES | EDITING and not (moved and result != NULL):
            return Answer(result)
        value = jsonrpc.loads(result)
        if method == ACTIONS:
            value = [
                each for each in value or [] if not edited_outside(each.get("edit"), self._root)
            ]
        elif method in EDITING and (uri := edited_outside(value, self._root)):
            return Answer.failure(
                ErrorCode.REQUEST_FAILED,
                f"The language server would change {uri}, which is no file of this workspace.",
            )
        changes_of = self._documents.changes_since(request.stamp)
        if moved and method in WRITING:
            if own_moved or any(changes_of(uri) for uri in uris_in(value)):
                return Answer.failure(
                    ErrorCode.CONTENT_MODIFIED, "The text has changed meanwhile. Try again."
                )
        elif moved:
            shift = Shift(changes_of, self._documents.encoding)
            value = shift.body(value, self._root.uri_of(path or ""))
        if method in PLACES:
            value = inside(value, self._root)
        return Answer(jsonrpc.dumps(value))

    def renew(self, request: Request) -> None:
        """Make a request ready to be sent once more, for the same places in the newest text.

        Raises: as `prepared`, for the parameters.
        """
        request.again = False
        if request.path is not None and self._documents.has_moved(request.path, request.stamp):
            changes = self._documents.changes_since(request.stamp)
            shift = Shift(changes, self._documents.encoding)
            params = shift.body(jsonrpc.loads(request.params), self._root.uri_of(request.path))
            request.params = jsonrpc.dumps(params)
