"""What a program says of itself between the lines: its title, its directory, its bells.

Title: OSC 0 and 2 of xterm's "Control Sequences". Directory: OSC 7, a `file:` URL. A BEL that ends
a control string is no bell.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from cloudide.protocol.modes import AFTER_ESC

TITLE_LIMIT = 256  # characters
DIRECTORY_LIMIT = 4096  # characters, as of any path
CARRY_LIMIT = 8 * 1024  # bytes of a control string that is not over yet

_SIGN = re.compile(rb"[\x07\x1b](?:(?<!\x1b)|(" + AFTER_ESC + rb"))")
_BEGUN = re.compile(rb"\x1b(?:[\]PX^_][^\x07\x18\x1a\x1b]*\x1b?)?\Z")
_TITLE = re.compile(rb"\][02];(.*)", re.DOTALL)
_DIRECTORY = re.compile(rb"\]7;file://([^/]{0,255})(/.*)", re.DOTALL)
_END = re.compile(rb"(?:\x07|\x18|\x1a|\x1b\\)\Z")


class Signs:
    """`title` and `directory` are "" until told; `bells` counts."""

    def __init__(self, hosts: frozenset[str] = frozenset()) -> None:
        """`hosts`: names of this machine; a directory on another one is not taken."""
        self.title = ""
        self.directory = ""
        self.bells = 0
        self._hosts = {"", "localhost", *hosts}
        self._carry: bytes = b""

    def feed(self, data: bytes) -> bool:
        """Read the next output; returns whether anything changed."""
        if not self._carry and b"\x07" not in data:
            if b"\x1b" not in data:
                return False  # most output
            begins = b"\x1b]" in data[-CARRY_LIMIT:] or data[-1:] == b"\x1b"
            if not begins and b"\x1b\\" not in data:
                return False
        data = self._carry + data
        begun = _BEGUN.search(data, max(0, len(data) - CARRY_LIMIT))
        self._carry = data[begun.start() :] if begun else b""
        before = self.title, self.directory, self.bells
        for found in _SIGN.finditer(data, 0, begun.start() if begun else len(data)):
            if found[1] is None:
                self.bells += 1
            elif _END.search(found[1]):
                self._take(_END.sub(b"", found[1]))
        return before != (self.title, self.directory, self.bells)

    def _take(self, string: bytes) -> None:
        if title := _TITLE.match(string):
            self.title = _printable(title[1][: 4 * TITLE_LIMIT], TITLE_LIMIT)
        elif (place := _DIRECTORY.match(string)) and place[1].decode(
            errors="replace"
        ) in self._hosts:
            self.directory = _printable(unquote_to_bytes(place[2]), DIRECTORY_LIMIT)


def _printable(text: bytes, limit: int) -> str:
    return "".join(c for c in text.decode(errors="replace") if c.isprintable())[:limit]
