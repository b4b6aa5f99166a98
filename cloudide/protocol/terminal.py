"""A shared terminal, as its viewers see it over `WS /api/v1/workspaces/{id}/terminals/{tid}`.

Binary frames are the terminal's bytes, both ways, never decoded on the way. Text frames are JSON
control messages with a `type`.

The server begins with `replay` (the terminal's size and the replay's `number`), sends the past as
binary frames, and ends it with `ready`; from then on binary frames are live. The past shows an
emulator that was just reset what the others see, and holds no question that an emulator would
answer. A viewer that fell so far behind that its queue was dropped gets `replay` again: it resets
its screen, after what it has received before, and takes the past anew. Keys may be typed at any
time; of several viewers' emulators that answer one question of a program, one is heard.

`resize` from a viewer says how much room it has, `visible` whether anybody sees it there. The
terminal takes the smallest of all visible viewers' sizes, or that of the viewer who holds `control`
(`hold` true or false; one at a time, anybody who may type); the server tells everybody by `resize`.

`ack` says how many `bytes` since the replay of that `number` the viewer's emulator has drawn. Who
sends it at all is counted on: the program waits, for at most 5 s at a time, while the viewer in
control (who holds it, or typed last) is behind, and a viewer that is far behind gets a replay.

`typing` tells who may type: `mode` "everyone" (who may type at all), "owner" (one person alone) or
"approve" (others write, and only the owner's Enter runs it), the `owner`, who holds `control`, and
whether this viewer is `writable`. `held` says that somebody's Enter waits for the owner's. `typed`
says who types, at most once a second for each person. `viewers`, `title` and `recording` tell of
changes. `exit` is the last message; then the server closes with 1000.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

MIN_SIZE, MAX_SIZE = 1, 1000

TypingMode = Literal["everyone", "owner", "approve"]


class ViewerMessage(msgspec.Struct, tag_field="type"):
    """Base of the control messages that a viewer sends."""


class Resize(ViewerMessage, tag="resize"):
    cols: int
    rows: int


class Visible(ViewerMessage, tag="visible"):
    visible: bool


class Control(ViewerMessage, tag="control"):
    hold: bool


class Ack(ViewerMessage, tag="ack"):
    number: int
    bytes: int


class Ping(ViewerMessage, tag="ping"):
    pass


FromViewer = Resize | Visible | Control | Ack | Ping

# What writes and edits a line, and runs nothing: printable characters, erasing, moving (Home, End,
# arrows, with and without Ctrl), completing, pasting; Ctrl+A, B, E, F, K, U, W, Y. Then all else.
_KEYS = re.compile(
    rb"([\x20-\x7e\x80-\xff\x08\x09\x7f\x01\x02\x05\x06\x0b\x15\x17\x19]"
    rb"|\x1b(?:\[(?:1;[2-8])?[A-DFH]|O[A-DFH]|\[3~|\[20[01]~))"
    rb"|\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?|.",
    re.DOTALL,
)


def draft(typed: bytes) -> bytes:
    """The part of `typed` that may be typed by those whose Enter waits for somebody else's."""
    return b"".join(_KEYS.findall(typed))
