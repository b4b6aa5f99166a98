"""The connection of a terminal that is attached: what it prints, and what is told of that.

server → agent   what is typed, and nothing else
agent → server   frames: a header of four bytes, big-endian, whose lower 31 bits are a length, and
                 so many bytes. They are output or, where the highest bit is set, a message as JSON.

Output is handed on as it comes, in parts of a frame too; a message comes whole.
"""

from __future__ import annotations

import msgspec

from cloudide.protocol.agent import Exited, Ready, Replay, Resized

MESSAGE_LIMIT = 64 * 1024  # bytes

OutputMessage = Replay | Ready | Resized | Exited

_HEADER = 4
_MESSAGE = 1 << 31

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(OutputMessage)


class Malformed(ValueError):
    """What came is no such frame; the connection can't be read any further."""


def output(data: bytes) -> bytes:
    return len(data).to_bytes(_HEADER) + data


def message(message: OutputMessage) -> bytes:
    content = _encoder.encode(message)
    return (len(content) | _MESSAGE).to_bytes(_HEADER) + content


class Splitter:
    """Takes apart what comes from an agent; holds at most one header and one message."""

    def __init__(self) -> None:
        self._owed = 0  # bytes to come of the output that is on
        self._partial = b""  # the beginning of a header, or of a message

    def feed(self, data: bytes) -> list[bytes | OutputMessage]:
        """What is complete with `data`, in order. Raises: Malformed."""
        if not self._owed and not self._partial:
            # Mostly it is one frame of output.
            if int.from_bytes(data[:_HEADER]) == len(data) - _HEADER:
                return [data[_HEADER:]]
        elif self._partial:
            data, self._partial = self._partial + data, b""
        pieces: list[bytes | OutputMessage] = []
        at, end = 0, len(data)
        while at < end:
            if self._owed:
                part = data[at : at + self._owed]
                pieces.append(part)
                self._owed -= len(part)
                at += len(part)
                continue
            content = at + _HEADER
            if content > end:
                break
            length = int.from_bytes(data[at:content])
            if not length & _MESSAGE:
                self._owed = length
                at = content
                continue
            length ^= _MESSAGE
            if length > MESSAGE_LIMIT:
                raise Malformed(f"A message of {length} bytes.")
            if content + length > end:
                break
            at = content + length
            pieces.append(_decoded(data[content:at]))
        self._partial = data[at:]
        return pieces


def _decoded(content: bytes) -> OutputMessage:
    try:
        return _decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from error
