"""Short websocket messages read without the library's machinery, which costs more than they do.

A keystroke is one masked frame of some thirty bytes. `short_messages` takes such frames off the
front of what was read; everything else (long or fragmented messages, control frames, whatever is
wrong) is left to the `websockets` library, which must then be given whole frames' bytes up to a
boundary: `whole_headers` says where one is.

Source: RFC 6455 section 5.2.
"""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask
except ImportError:  # built without a C compiler
    from websockets.utils import apply_mask

_BINARY = 0x82  # FIN, opcode 2
_MASKED = 0x80
_SHORT = 126  # a length below this is in the second byte; 126 and 127 announce 2 and 8 bytes more
_EXTENDED = {126: 2, 127: 8}


def short_messages(data: bytes) -> tuple[list[bytes], bytes]:
    """The payloads of the complete, short binary messages that `data` begins with, and the rest.

    `data` begins with a frame, and no fragmented message is under way.
    """
    messages: list[bytes] = []
    at, end = 0, len(data)
    while end - at >= 6 and data[at] == _BINARY and _MASKED <= data[at + 1] < _MASKED + _SHORT:
        stop = at + 6 + data[at + 1] - _MASKED
        if stop > end:
            break
        messages.append(apply_mask(data[at + 6 : stop], data[at + 2 : at + 6]))
        at = stop
    return messages, data[at:] if at else data


def whole_headers(data: bytes, owed: int) -> tuple[int, int]:
    """Where in `data` the last frame begins of which not even the length is there, or its end; and
    how many bytes of the frame before are still to come.

    The first `owed` bytes belong to an earlier frame.
    """
    at, end = owed, len(data)
    while at < end:
        if end - at < 2:
            return at, 0
        length = data[at + 1] & ~_MASKED
        header = 2 + _EXTENDED.get(length, 0)
        if end - at < header:
            return at, 0
        if length >= _SHORT:
            length = int.from_bytes(data[at + 2 : at + header])
        at += header + length + (4 if data[at + 1] & _MASKED else 0)
    return end, at - end
