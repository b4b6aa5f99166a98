"""lib0 binary encoding: variable-length integers, byte strings and text, read with bounds.

Source: the `lib0/encoding` and `lib0/decoding` modules that Yjs uses on the wire. A number is
little-endian in groups of seven bits, the eighth bit saying that more follow; text is the length of
its UTF-8 bytes, then those.
"""

from __future__ import annotations

from cloudide.errors import InvalidInput

# JavaScript's largest exact integer; Yjs throws above it.
MAX_SAFE_INTEGER = 2**53 - 1


class MalformedFrame(InvalidInput):
    title = "A message could not be understood"


def write_uint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_bytes(value: bytes) -> bytes:
    return write_uint(len(value)) + value


def write_text(value: str) -> bytes:
    return write_bytes(value.encode())


class Reader:
    """Reads lib0 values from `data`; reading past its end raises MalformedFrame."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end

    @property
    def remaining(self) -> int:
        return self.end - self.position

    def byte(self) -> int:
        position = self.position
        if position >= self.end:
            raise MalformedFrame("The message ends too early.")
        self.position = position + 1
        return self.data[position]

    def uint(self) -> int:
        data, position, end = self.data, self.position, self.end
        value = shift = 0
        while position < end:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > MAX_SAFE_INTEGER:
                    break
                self.position = position
                return value
            shift += 7
            if shift > 56:
                break
        else:
            raise MalformedFrame("The message ends inside a number.")
        raise MalformedFrame("A number in the message is too large.")

    def count(self, least: int) -> int:
        """A number of items of at least `least` bytes each, which must fit into what is left.

        Bounding it here is what keeps a ten-byte message from claiming half a gigabyte.
        """
        value = self.uint()
        if value * least > self.remaining:
            raise MalformedFrame("The message claims more items than it has room for.")
        return value

    def skip(self, length: int) -> None:
        if length > self.remaining:
            raise MalformedFrame("The message ends inside a field.")
        self.position += length

    def buffer(self) -> bytes:
        length = self.uint()
        start = self.position
        self.skip(length)
        return self.data[start : self.position]

    def text(self) -> str:
        try:
            return self.buffer().decode()
        except UnicodeDecodeError as error:
            raise MalformedFrame("The message holds text that is not UTF-8.") from error

    def finish(self) -> None:
        if self.position != self.end:
            raise MalformedFrame("The message has bytes after its end.")
