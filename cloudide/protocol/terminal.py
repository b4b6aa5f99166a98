"""A shared terminal, as its viewers see it over `WS /api/v1/workspaces/{id}/terminals/{tid}`.

Binary frames are the terminal's bytes, both ways, never decoded on the way. Text frames are JSON
control messages with a `type`.

The server begins with `replay` (the terminal's size), sends what is kept of the past as binary
frames, and ends it with `ready`; from then on binary frames are live. A viewer that fell so far
behind that its queue was dropped gets `replay` again: it resets its screen and takes the past anew.
While a replay is on, a viewer sends nothing: its emulator would answer questions that programs
asked long ago.

`resize` from a viewer says how much room it has; the terminal takes the smallest of all viewers'
sizes, and the server tells everybody when that changes. `exit` is the last message; then the server
closes with 1000.

`Scrollback` keeps the past: the last bytes up to a limit. What was cut off may end in the middle of
a character or of an escape sequence, so a replay begins behind the first line end after the cut.
"""

from __future__ import annotations

from collections import deque

import msgspec

MIN_SIZE, MAX_SIZE = 1, 1000
# How far to look for a line end behind a cut; output without any (a full-screen program) is given
# from the first byte that can begin a character.
_SEARCH = 16 * 1024


class ViewerMessage(msgspec.Struct, tag_field="type"):
    """Base of the control messages that a viewer sends."""


class Resize(ViewerMessage, tag="resize"):
    cols: int
    rows: int


class Ping(ViewerMessage, tag="ping"):
    pass


FromViewer = Resize | Ping


class Scrollback:
    """The last `limit` bytes of a terminal's output, in the pieces in which they came."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self.lost = 0  # bytes that are no longer kept
        self._limit = limit
        self._pieces: deque[bytes] = deque()

    def append(self, data: bytes) -> None:
        self._pieces.append(data)
        self.size += len(data)
        while self.size > self._limit:
            surplus = self.size - self._limit
            first = self._pieces[0]
            if len(first) <= surplus:
                self._pieces.popleft()
                gone = len(first)
            else:
                self._pieces[0] = first[surplus:]
                gone = surplus
            self.size -= gone
            self.lost += gone

    def clear(self, lost: int = 0) -> None:
        self._pieces.clear()
        self.size = 0
        self.lost = lost

    def replay(self) -> bytes:
        """What is kept, from a place where an emulator may begin."""
        data = b"".join(self._pieces)
        return data[safe_start(data) :] if self.lost else data


def safe_start(data: bytes) -> int:
    """Where to begin in bytes whose beginning was cut off."""
    line_end = data.find(b"\n", 0, _SEARCH)
    if line_end >= 0:
        return line_end + 1
    start = 0
    # UTF-8 continuation bytes (RFC 3629) belong to a character that was cut.
    while start < len(data) and data[start] & 0xC0 == 0x80:
        start += 1
    return start
