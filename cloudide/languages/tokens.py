"""Semantic tokens: what differs is asked of the server, and editors get the whole.

A delta leads on from the result that its asker had last; editors have different ones, so that the
multiplexer keeps one result for each document and asks what has changed since (LSP 3.17, Semantic
Tokens). One that cannot be followed is asked for anew.
"""

from __future__ import annotations

import msgspec

from cloudide.protocol import jsonrpc

FULL = "textDocument/semanticTokens/full"
DELTA = "textDocument/semanticTokens/full/delta"
DOCUMENTS = 32  # whose last result is kept
NUMBERS = 200_000  # of a result that is kept


class _Edit(msgspec.Struct):
    start: int
    deleteCount: int
    data: list[int] = []


class _Answer(msgspec.Struct):
    resultId: str | None = None
    data: list[int] | None = None
    edits: list[_Edit] | None = None


_answers = msgspec.json.Decoder(_Answer | None)


class SemanticTokens:
    def __init__(self) -> None:
        self.deltas = False  # whether the server makes them
        self._kept: dict[str, tuple[str, list[int]]] = {}

    def question(self, uri: str) -> tuple[str, bytes]:
        """The method and parameters that ask for the tokens of a document."""
        document = {"textDocument": {"uri": uri}}
        if self.deltas and (kept := self._kept.get(uri)):
            return DELTA, jsonrpc.dumps({**document, "previousResultId": kept[0]})
        return FULL, jsonrpc.dumps(document)

    def answer(self, uri: str, raw: bytes) -> bytes | None:
        """The whole result, of what the server answered; None when it is to be asked anew."""
        kept = self._kept.pop(uri, None)
        try:
            answer = _answers.decode(raw)
        except msgspec.DecodeError:
            return jsonrpc.NULL
        if answer is None:
            return jsonrpc.NULL
        data = answer.data
        if data is None:
            data = _apply(kept[1], answer.edits or []) if kept else None
            if data is None:
                return None
        if answer.resultId is not None and self.deltas and len(data) <= NUMBERS:
            self._kept[uri] = (answer.resultId, data)
            if len(self._kept) > DOCUMENTS:
                del self._kept[next(iter(self._kept))]
        return jsonrpc.dumps({"data": data})

    def forget(self, uri: str) -> None:
        self._kept.pop(uri, None)


def _apply(data: list[int], edits: list[_Edit]) -> list[int] | None:
    """The numbers after the edits, which all count in the numbers before; None if they cannot."""
    result = data
    before = len(data)
    for edit in sorted(edits, key=lambda each: each.start, reverse=True):
        end = edit.start + edit.deleteCount
        if not 0 <= edit.start <= end <= before:
            return None
        result = [*result[: edit.start], *edit.data, *result[end:]]
        before = edit.start
    return result
