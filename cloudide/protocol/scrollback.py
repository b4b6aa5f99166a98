"""What a terminal printed, as much as is kept for those who come later."""

from __future__ import annotations

import re

# ECMA-48: control strings (DCS, OSC, SOS, PM, APC) end with ST, as xterm has it also with BEL;
# CAN and SUB abort them. They may be long (images); every other sequence is short.
_STRING = re.compile(rb"\x1b[\]PX^_][^\x07\x18\x1a\x1b]*(?:\x07|\x18|\x1a|\x1b\\|(?=\x1b)|\Z)")
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])")
SEQUENCE_LIMIT = 256  # bytes
TITLE_LIMIT = 256  # characters
_TITLE = re.compile(rb"\x1b\][02];([^\x07\x18\x1a\x1b]{0,1024})(?:\x07|\x1b\\)")


class Scrollback:
    """The last `limit` bytes, starting between characters and escape sequences.

    Invariant: `content` begins where a terminal is in its ground state.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.content = bytearray()
        self.lost = 0  # bytes that came before

    def append(self, data: bytes) -> None:
        self.content += data
        # A quarter is let run over, so that cutting costs little for each byte.
        if len(self.content) > self.limit + self.limit // 4:
            self._drop(safe_cut(self.content, len(self.content) - self.limit))

    def _drop(self, count: int) -> None:
        del self.content[:count]
        self.lost += count

    def restart(self, lost: int) -> None:
        """Forget everything; what comes next is preceded by `lost` bytes that nobody has."""
        self.content.clear()
        self.lost = lost

    def title(self, fresh: int) -> str | None:
        """The last title that was set within the last `fresh` bytes (OSC 0 and 2), if any."""
        tail = self.content[-(fresh + 1100) :]
        found = [*_TITLE.finditer(tail)]
        if not found or found[-1].end() <= len(tail) - fresh:
            return None
        text = found[-1][1].decode(errors="replace")
        return "".join(c for c in text if c.isprintable())[:TITLE_LIMIT]


def safe_cut(content: bytes | bytearray, at: int) -> int:
    """The first position from `at` on that is not inside a character or an escape sequence.

    `content` starts in the ground state.
    """
    for match in _STRING.finditer(content):
        if match.start() >= at:
            break
        if match.end() > at:
            at = match.end()
    start = content.rfind(b"\x1b", max(0, at - SEQUENCE_LIMIT), at)
    if start >= 0 and (match := _SEQUENCE.match(content, start)) and match.end() > at:
        at = match.end()
    # UTF-8 continuation bytes, RFC 3629 section 3; at most three belong to one character.
    for _ in range(3):
        if at < len(content) and content[at] & 0xC0 == 0x80:
            at += 1
    return at
