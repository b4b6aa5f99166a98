"""A text as the Language Server Protocol counts it: lines, and columns in UTF-8 or UTF-16.

A line ends with `\\n`, `\\r\\n` or `\\r` and with nothing else (LSP 3.17, Text Documents), which
`str.splitlines` does not know. The CRDT library counts bytes of UTF-8. `Lines` leads from bytes to
positions and back while the text changes: it is kept in blocks of lines, so that an edit costs as
much as its block and a walk over the blocks, and what the text was before stays there for nothing.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal, NamedTuple

Encoding = Literal["utf-8", "utf-16"]
BLOCK = 128  # lines; a block has at most twice as many

_END = re.compile(r"\r\n|\r|\n")


class Position(NamedTuple):
    """A position in both encodings: the line, and the column in bytes and in UTF-16 units."""

    line: int
    utf8: int
    utf16: int

    def column(self, encoding: Encoding) -> int:
        return self.utf8 if encoding == "utf-8" else self.utf16


class Change(NamedTuple):
    """`text` in place of what was between `start` and `end`; it ends at `after` in the new text."""

    start: Position
    end: Position
    text: str
    after: Position


class Block(NamedTuple):
    """Lines with their ends, and their size in bytes."""

    lines: tuple[str, ...]
    size: int


class _Place(NamedTuple):
    block: int
    at: int  # of the line in the block
    line: int
    column: int  # bytes


class Lines:
    """The text has at least one line; the last one, and only that, has no end."""

    def __init__(self, text: str) -> None:
        self._blocks = _blocks(_split(text))

    def __str__(self) -> str:
        return "".join(line for block in self._blocks for line in block.lines)

    @property
    def size(self) -> int:
        """Bytes of UTF-8."""
        return sum(block.size for block in self._blocks)

    @property
    def count(self) -> int:
        return sum(len(block.lines) for block in self._blocks)

    def snapshot(self) -> Snapshot:
        return Snapshot(self._blocks)

    def replace(self, start: int, end: int, text: str) -> Change:
        """Replace the bytes `start:end`; returns the change as LSP tells it.

        A position between `\\r` and `\\n` does not exist there: such a change is told wider.

        Raises:
            ValueError: the bytes are not in the text, or begin or end within a character.
        """
        first, last = self._place(start), self._place(end)
        first_line = self._blocks[first.block].lines[first.at]
        last_line = self._blocks[last.block].lines[last.at]
        before = _cut(first_line, first.column)[0]
        behind = _cut(last_line, last.column)[1]
        told = text
        at, to = (
            _position(first.line, before),
            _position(last.line, _cut(last_line, last.column)[0]),
        )
        if behind.startswith("\n") and last_line.endswith("\r\n"):
            to, told = Position(last.line + 1, 0, 0), told + "\n"
        if before.endswith("\r"):
            at, told = _position(first.line, before[:-1]), "\r" + told
        first_block, index = first.block, first.at
        line = first.line
        middle = before + text + behind
        if middle.startswith("\n") and not before and (joined := self._open_end(first)):
            # What ended with \r goes on with \n: they are one line end now.
            first_block, index, previous = joined
            middle = previous + middle
            line -= 1
        head = self._blocks[first_block].lines[:index]
        tail = self._blocks[last.block].lines[last.at + 1 :]
        lines = _split(middle)
        if tail or last.block + 1 < len(self._blocks):
            lines.pop()  # what is behind the end of a line that is not the last one: nothing
        self._blocks[first_block : last.block + 1] = _blocks([*head, *lines, *tail])
        return Change(at, to, told, self.position(start + len(text.encode())))

    def _open_end(self, place: _Place) -> tuple[int, int, str] | None:
        """The line before, if it ends with a single \\r: its block, its index, itself."""
        if place.at:
            block, index = place.block, place.at - 1
        elif place.block:
            block = place.block - 1
            index = len(self._blocks[block].lines) - 1
        else:
            return None
        line = self._blocks[block].lines[index]
        return (block, index, line) if line.endswith("\r") else None

    def position(self, offset: int) -> Position:
        """Where a byte is.

        Raises:
            ValueError: it is not in the text, or within a character.
        """
        place = self._place(offset)
        return _position(
            place.line, _cut(self._blocks[place.block].lines[place.at], place.column)[0]
        )

    def offset(self, line: int, column: int, encoding: Encoding) -> int:
        """The byte at a position; a column behind the end of its line means that end.

        Raises:
            ValueError: there is no such line, or the column is within a character.
        """
        if line < 0 or column < 0:
            raise ValueError("a negative position")
        offset = 0
        for block in self._blocks:
            if line >= len(block.lines):
                line -= len(block.lines)
                offset += block.size
                continue
            offset += sum(map(_size, block.lines[:line]))
            return offset + _column(block.lines[line].rstrip("\r\n"), column, encoding)
        raise ValueError("no such line")

    def _place(self, offset: int) -> _Place:
        left, line = offset, 0
        last = len(self._blocks) - 1
        if left >= 0:
            for number, block in enumerate(self._blocks):
                if left >= block.size and number < last:
                    left -= block.size
                    line += len(block.lines)
                    continue
                end = len(block.lines) - 1 if number == last else -1
                for index, text in enumerate(block.lines):
                    size = _size(text)
                    if left < size or (index == end and left == size):
                        return _Place(number, index, line + index, left)
                    left -= size
        raise ValueError(f"byte {offset} is not in the text")


class Snapshot:
    """A text as it was; the lines that have not changed since are shared."""

    def __init__(self, blocks: list[Block]) -> None:
        self._blocks = (*blocks,)

    def __str__(self) -> str:
        return "".join(line for block in self._blocks for line in block.lines)

    def hash(self) -> str:
        """SHA-256 of the text, in hexadecimal digits."""
        return hashlib.sha256(str(self).encode()).hexdigest()


def _split(text: str) -> list[str]:
    lines: list[str] = []
    start = 0
    for end in _END.finditer(text):
        lines.append(text[start : end.end()])
        start = end.end()
    return [*lines, text[start:]]


def _blocks(lines: list[str]) -> list[Block]:
    size = 2 * BLOCK if len(lines) <= 2 * BLOCK else BLOCK
    return [
        Block(part, sum(map(_size, part)))
        for at in range(0, len(lines), size)
        if (part := (*lines[at : at + size],))
    ]


def _size(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode())


def _cut(line: str, column: int) -> tuple[str, str]:
    """What is before and behind a byte of a line."""
    if line.isascii():
        return line[:column], line[column:]
    encoded = line.encode()
    return encoded[:column].decode(), encoded[column:].decode()


def _position(line: int, before: str) -> Position:
    if before.isascii():
        return Position(line, len(before), len(before))
    return Position(line, len(before.encode()), len(before.encode("utf-16-le")) // 2)


def _column(line: str, column: int, encoding: Encoding) -> int:
    """Bytes of a line up to a column."""
    if line.isascii():
        return min(column, len(line))
    if encoding == "utf-8":
        encoded = line.encode()
        encoded[:column].decode()
        return min(column, len(encoded))
    return len(line.encode("utf-16-le")[: 2 * column].decode("utf-16-le").encode())
