"""What a server's multiplexer sees of an editor, and what an editor is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import ErrorCode

Json = dict[str, Any]
Done = Callable[["Answer"], None]


class Answer(msgspec.Struct, frozen=True):
    """A result or, when that is None, an error: the `error` of a response."""

    result: bytes | None = None
    error: bytes = b""

    @classmethod
    def failure(cls, code: ErrorCode, message: str) -> Answer:
        return cls(error=jsonrpc.dumps({"code": code, "message": message}))

    @property
    def code(self) -> int:
        """That of the error."""
        value: Any = jsonrpc.loads(self.error)
        return value.get("code", 0) if isinstance(value, dict) else 0  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


class Editor(Protocol):
    """`capabilities` are LSP's `ClientCapabilities`."""

    capabilities: Json

    def told(self, method: str, params: bytes) -> None: ...

    def asked(self, method: str, params: bytes, done: Done | None) -> None:
        """A request; `done` is None where the answer is of no interest."""
        ...

    def diagnosed(self, path: str) -> None:
        """The diagnostics of a file have changed."""
        ...


def shows_progress(editor: Editor) -> bool:
    window: Any = editor.capabilities.get("window")
    return isinstance(window, dict) and bool(window.get("workDoneProgress"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
