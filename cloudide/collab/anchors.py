"""Where a Yjs relative position is in a room's text, in bytes of UTF-8.

A relative position (`encodeRelativePosition` of yjs) names a character by the client that typed it
and its clock, which counts UTF-16 units; so it means the same place in every replica that has that
character. The CRDT library finds the run of characters that it is in, and then takes the units into
that run for bytes. Here the beginning of the run is found, and they are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pycrdt import Doc, StickyIndex, Text

from cloudide.collab.text import CONTENT
from cloudide.errors import InvalidInput
from cloudide.protocol.varint import Reader, write_uint

ITEM, ROOT = 0, 1  # what a position is relative to
NEAR = 64  # UTF-16 units
AFTER, BEFORE = b"\x00", b"\x41"  # `assoc` as a lib0 varInt: 0 and -1


def resolve(doc: Doc[Text], text: Text, anchor: bytes, clocks: Mapping[int, int]) -> int | None:
    """The byte that `anchor` stands at; None when the document lacks what it is relative to.

    `clocks`: what the document has of each client.

    Raises:
        InvalidInput: it is no relative position.
    """
    kind, client, clock, after = _read(anchor)
    if kind == ROOT:
        return len(text) if after else 0
    if clock >= clocks.get(client, 0):
        return None
    content = str(text)
    with doc.transaction() as transaction:

        def library(clock: int, assoc: bytes = AFTER) -> int:
            encoded = bytes((ITEM,)) + write_uint(client) + write_uint(clock) + assoc
            return StickyIndex.decode(encoded, text).get_index(transaction)

        found = library(clock)
        # Behind the character, if it is still there.
        more = 0 if after else library(clock, BEFORE) - found
        start = clock  # where the run begins
        if not content.isascii():
            start = _first(clock, lambda each: library(each) == found - (clock - each))
    units = clock - start
    try:
        run = content.encode()[found - units :].decode()
        return found - units + _bytes(run, units + more)
    except UnicodeDecodeError:
        return None  # half a character


def _first(clock: int, within: Callable[[int], bool]) -> int:
    """The first clock of the run that `clock` is in.

    A clock of another run may look as if it was `within`, where the library's wrong counting makes
    up for what is between: the nearest ones are looked at one by one, and those of a long run in
    steps that double.
    """
    start, step = clock, 1
    while start and within(max(start - step, 0)):
        start = max(start - step, 0)
        if clock - start >= NEAR:
            step *= 2
    low = max(start - step + 1, 0)
    while low < start:
        middle = (low + start) // 2
        if within(middle):
            start = middle
        else:
            low = middle + 1
    return start


def _bytes(text: str, units: int) -> int:
    """Bytes of the first UTF-16 units of a text."""
    before = text[:units]  # at least as many
    return len(before.encode("utf-16-le")[: 2 * units].decode("utf-16-le").encode())


def _read(anchor: bytes) -> tuple[int, int, int, bool]:
    reader = Reader(anchor)
    kind = reader.uint()
    client = clock = 0
    if kind == ITEM:
        client, clock = reader.uint(), reader.uint()
    elif kind != ROOT or reader.text() != CONTENT:
        raise InvalidInput("The anchor is no relative position in this document.")
    assoc = anchor[reader.position :]
    if assoc not in (b"", AFTER, BEFORE):
        raise InvalidInput("The anchor is no relative position in this document.")
    return kind, client, clock, assoc != BEFORE
