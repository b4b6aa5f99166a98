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
"""

from __future__ import annotations

import msgspec

MIN_SIZE, MAX_SIZE = 1, 1000


class ViewerMessage(msgspec.Struct, tag_field="type"):
    """Base of the control messages that a viewer sends."""


class Resize(ViewerMessage, tag="resize"):
    cols: int
    rows: int


class Ping(ViewerMessage, tag="ping"):
    pass


FromViewer = Resize | Ping
