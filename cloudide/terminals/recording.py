"""A recording of what a terminal shows, in asciicast v2 (docs.asciinema.org/manual/asciicast/v2).

Newline-delimited JSON: a header, then `[seconds, "o", output]` and `[seconds, "r", "COLSxROWS"]`.
It begins with what is on the screen at its start. What is typed is not recorded, only what the
terminal shows of it.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable

import msgspec

from cloudide.identity.permissions import Person
from cloudide.protocol.agent import Exit
from cloudide.terminals.audience import Audience

_encode = msgspec.json.Encoder().encode


class Recording(Audience):
    """`truncated`: it was ended by its limit, in bytes."""

    def __init__(self, by: Person, title: str, limit: int, on_end: Callable[[], None]) -> None:
        self.by = by
        self.started_at = time.time()
        self.running = True
        self.truncated = False
        self._title = title
        self._limit = limit
        self._on_end = on_end
        self._began = time.monotonic()
        self._lines = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def size(self) -> int:
        return len(self._lines)

    def content(self) -> bytes:
        """The file, as far as it has come."""
        return bytes(self._lines)

    def end(self) -> None:
        if self.running:
            self.running = False
            self._on_end()

    # ── what it is shown ────────────────────────────────────────────────────────────────────────

    def replay(self, cols: int, rows: int) -> None:
        if self._lines:
            return
        self._began = time.monotonic()
        header = {
            "version": 2,
            "width": cols,
            "height": rows,
            "timestamp": int(self.started_at),
            "env": {"TERM": "xterm-256color"},
        }
        if self._title:
            header["title"] = self._title
        self._lines += _encode(header) + b"\n"

    def show_past(self, data: bytes) -> None:
        self.show(data)

    def show(self, data: bytes) -> None:
        # A character may come in two pieces.
        if text := self._decoder.decode(data):
            self._event("o", text)

    def resized(self, cols: int, rows: int) -> None:
        if self._lines:
            self._event("r", f"{cols}x{rows}")

    def ended(self, exit: Exit) -> None:
        self.end()

    def _event(self, kind: str, data: str) -> None:
        if not self.running:
            return
        line = _encode([round(time.monotonic() - self._began, 6), kind, data]) + b"\n"
        if len(self._lines) + len(line) > self._limit:
            self.truncated = True
            self.end()
        else:
            self._lines += line
