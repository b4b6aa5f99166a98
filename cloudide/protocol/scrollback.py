"""What a terminal printed, as much as is kept for those who come later."""

from __future__ import annotations

import re

from cloudide.protocol.modes import STRING, Modes, last_screen
from cloudide.protocol.queries import without_queries

_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])")
SEQUENCE_LIMIT = 256  # bytes
LINE_LIMIT = 4096  # bytes within which the end of a line is looked for


class Scrollback:
    """The last `limit` bytes, starting between characters and escape sequences.

    Invariant: `content` begins where a terminal is in its ground state, and `modes` are the
    terminal's there.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.content = bytearray()
        self.lost = 0  # bytes that came before
        self.modes = Modes()

    def append(self, data: bytes) -> None:
        self.content += data
        # A quarter is let run over, so that cutting costs little for each byte.
        if len(self.content) > self.limit + self.limit // 4:
            self._drop(_cut(self.content, len(self.content) - self.limit))

    def replay(self) -> bytes:
        """What shows a terminal that was just reset what the others see, as far as is known.

        Nothing in it makes an emulator answer or ring.
        """
        return self.modes.restore() + without_queries(self.content)

    @property
    def needs_redraw(self) -> bool:
        """Whether a program draws the whole screen and began to before the content begins."""
        return bool(self.lost and self.modes.full_screen and last_screen(self.content) is None)

    def _drop(self, count: int) -> None:
        self.modes.scan(self.content[:count])
        del self.content[:count]
        self.lost += count


def _cut(content: bytearray, at: int) -> int:
    """Where to cut: after a line where one ends soon, so that the cursor is in the first column."""
    line = content.find(b"\n", at, at + LINE_LIMIT) + 1
    return line if line and safe_cut(content, line) == line else safe_cut(content, at)


def safe_cut(content: bytes | bytearray, at: int) -> int:
    """The first position from `at` on that is not inside a character or an escape sequence.

    `content` starts in the ground state.
    """
    # Looked at no further than needed; so a string that goes on behind that seems to end there.
    stop = at + (content[at - 1 : at] == b"\x1b")
    starts = [string.start() for string in STRING.finditer(content, 0, stop) if string.end() >= at]
    if starts and (string := STRING.match(content, starts[0])) and string.start() < at:
        at = max(at, string.end())
    start = content.rfind(b"\x1b", max(0, at - SEQUENCE_LIMIT), at)
    if start >= 0 and (match := _SEQUENCE.match(content, start)) and match.end() > at:
        at = match.end()
    # UTF-8 continuation bytes, RFC 3629 section 3; at most three belong to one character.
    for _ in range(3):
        if at < len(content) and content[at] & 0xC0 == 0x80:
            at += 1
    return at
