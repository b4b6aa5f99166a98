"""The shape of a Yjs update (version 1), checked before a CRDT library sees it.

An update is structs by client, then a delete set:

    uint clients, for each:  uint structs, uint client, uint first clock, then each struct:
        info byte; its low five bits say what follows
        GC (0), Skip (10): uint length
        an item: [left origin] [right origin] [parent, when there is neither origin] content
    uint clients, for each:  uint client, uint ranges, for each:  uint clock, uint length

`read_update` walks all of it without building anything: it refuses lengths that do not fit, unknown
kinds and absurd nesting (each of them has crashed or bloated a decoder), and says which clocks the
update covers and which it builds on. From that `UpdateShape.fit` tells, without a document, whether
an update can be taken whole, or lacks something it needs; `collisions.py` tells a duplicate from
one that reuses somebody's clocks for another text.

Source: `readClientsStructRefs` and `readDeleteSet` of yjs 13 (`src/utils/encoding.js`,
`src/utils/DeleteSet.js`); the content kinds are listed in `src/structs/Item.js`.
"""

from __future__ import annotations

import functools
import re
from enum import Enum

import msgspec

from cloudide.protocol.varint import MalformedFrame, Reader, write_uint

GC, DELETED, JSON, BINARY, STRING, EMBED, FORMAT, TYPE, ANY, DOC, SKIP = range(11)
LEFT_ORIGIN, RIGHT_ORIGIN, PARENT_SUB = 0x80, 0x40, 0x20
_NAMED_TYPES = (3, 5)  # YXmlElement and YXmlHook carry their name
_MAX_TYPE = 6
_MAX_DEPTH = 32
_MAX_CLIENT = 2**53 - 1
# Every Yjs client makes one run of what was typed in a row before it sends it. The CRDT library
# does so too when it gets them apart, in a time and memory that grow with the square of their
# number: a hundred thousand, which are a megabyte, took five gigabytes.
RUNS_LIMIT = 10_000

EMPTY_UPDATE = b"\x00\x00"

_N = rb"([\x80-\xff]{0,6}[\x00-\x7f])"  # a number of at most 49 bits
# One run of typed text, with both origins (0xC4), the left one (0x84) or the right one (0x44).
_TYPED = re.compile(
    rb"\x01\x01%b%b(?:\x84%b%b|\x44%b%b|\xc4%b%b%b%b)([\x00-\x7f])([\x00-\x7f]+)\x00" % ((_N,) * 10)
)
_WIDE = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")  # UTF-8 of four bytes, or chance
_ERASED = re.compile(rb"\x00\x01%b\x01%b%b" % ((_N,) * 3))

Clocks = dict[int, int]  # client → the clock after its last


class Fit(Enum):
    """How an update stands to a document: WHOLE can be taken; PARTLY_KNOWN covers clocks that the
    document has already; GAP builds on something that it lacks."""

    WHOLE = "whole"
    PARTLY_KNOWN = "partly known"
    GAP = "gap"


class UpdateShape(msgspec.Struct):
    """What an update covers: for each client its first clock and the one after its last; and the
    clocks it needs: of origins and deletions (`needs`), and of holes it leaves out (`holes`)."""

    starts: Clocks = {}
    ends: Clocks = {}
    needs: Clocks = {}
    holes: Clocks = {}
    # It may hold characters of two clocks; see `structs.second_halves`.
    wide: bool = False
    # It holds more than text: formats, embedded objects, entries of a map.
    rich: bool = False
    # Runs of text that go on where the one before ends; see `RUNS_LIMIT`.
    unmerged: int = 0

    def fit(self, clocks: Clocks) -> Fit:
        """How the update stands to a document that has `clocks`."""
        known = clocks.get
        whole = True
        for client, start in self.starts.items():
            have = known(client, 0)
            if start > have:
                return Fit.GAP
            if start < have:
                whole = False
        for client, need in self.needs.items():
            if known(client, 0) < need and self.ends.get(client, 0) < need:
                return Fit.GAP
        for client, end in self.holes.items():
            if known(client, 0) < end:
                return Fit.GAP
        return Fit.WHOLE if whole else Fit.PARTLY_KNOWN

    def add(self, other: UpdateShape) -> None:
        """Cover also what `other` covers."""
        advance(self.ends, other.ends)
        advance(self.needs, other.needs)

    def known_to(self, clocks: Clocks) -> bool:
        """Whether a document that has `clocks` has all that the update carries and needs."""
        known = clocks.get
        for covered in (self.ends, self.needs):
            for client, end in covered.items():
                if known(client, 0) < end:
                    return False
        return True


def advance(clocks: Clocks, ends: Clocks) -> None:
    """Raise `clocks` to `ends` where those are higher."""
    for client, end in ends.items():
        if clocks.get(client, 0) < end:
            clocks[client] = end


def read_state_vector(data: bytes) -> Clocks:
    """Decode a state vector.

    Raises:
        MalformedFrame: it is not one.
    """
    reader = Reader(data)
    state: Clocks = {}
    for _ in range(reader.count(2)):
        client = reader.uint()
        state[client] = reader.uint()
    reader.finish()
    return state


def write_state_vector(clocks: Clocks) -> bytes:
    parts = [write_uint(len(clocks))]
    for client, clock in clocks.items():
        parts += write_uint(client), write_uint(clock)
    return b"".join(parts)


def read_update(data: bytes) -> UpdateShape:
    """Check an update and say what it covers.

    Raises:
        MalformedFrame: it is not an update, or one this server does not take.
    """
    return _read_keystroke(data) or _read_any_update(data)


def _read_keystroke(data: bytes) -> UpdateShape | None:
    """The shape of what nearly all updates are, ASCII text typed or a range erased, four times as
    fast as by walking it; None: it is something else."""
    if typed := _TYPED.fullmatch(data):
        owner, at, left, left_at, right, right_at, *both, length, text = typed.groups()
        if len(text) != length[0]:
            return None
        client, clock = _client(owner), _number(at)
        shape = UpdateShape({client: clock}, {client: clock + len(text)}, {}, {})
        if both[0] is not None:
            left, left_at, right, right_at = both
        if left is not None:
            origin = _number(left_at)
            if left != owner or origin >= clock:
                shape.needs[_client(left)] = origin + 1
        if right is not None:
            origin = _number(right_at)
            if right != owner or origin >= clock:
                _raise_to(shape.needs, _client(right), origin + 1)
        return shape
    if erased := _ERASED.fullmatch(data):
        owner, at, length = erased.groups()
        return UpdateShape({}, {}, {_client(owner): _number(at) + _number(length)}, {})
    return None


def _number(encoded: bytes) -> int:
    value = 0
    for byte in reversed(encoded):
        value = value << 7 | byte & 0x7F
    return value


_client = functools.lru_cache(4096)(_number)


def _read_any_update(data: bytes) -> UpdateShape:
    reader = Reader(data)
    shape = UpdateShape()
    for _ in range(reader.count(4)):
        structs = reader.count(2)
        client = reader.uint()
        clock = reader.uint()
        if client in shape.starts:
            raise MalformedFrame("An update names the same client twice.")
        shape.starts[client] = clock
        before = GC
        for _ in range(structs):
            kind = data[reader.position] & 0x1F if reader.position < len(data) else GC
            after, shape.unmerged = shape.unmerged, 0
            clock += _read_struct(reader, shape, client, clock)
            shape.unmerged = after + (shape.unmerged if before == kind == STRING else 0)
            before = kind
            if shape.unmerged > RUNS_LIMIT:
                raise MalformedFrame("An update has typed text in too many pieces; merge them.")
        if clock > _MAX_CLIENT:
            raise MalformedFrame("A clock in the update is too large.")
        shape.ends[client] = clock
    for _ in range(reader.count(3)):
        client = reader.uint()
        end = 0
        for _ in range(reader.count(2)):
            clock = reader.uint()
            end = max(end, clock + reader.uint())
        _raise_to(shape.needs, client, end)
    reader.finish()
    shape.wide = _WIDE.search(data) is not None
    return shape


def _raise_to(clocks: Clocks, client: int, end: int) -> None:
    if clocks.get(client, 0) < end:
        clocks[client] = end


def _read_struct(reader: Reader, shape: UpdateShape, owner: int, at: int) -> int:
    """Read one struct of `owner`, whose clock is `at`; returns how many clock ticks it covers."""
    info = reader.byte()
    kind = info & 0x1F
    if kind == GC:
        return _positive(reader.uint())
    if kind == SKIP:
        length = _positive(reader.uint())
        _raise_to(shape.holes, owner, at + length)
        return length
    if kind not in (STRING, DELETED) or info & PARENT_SUB:
        shape.rich = True
    if info & LEFT_ORIGIN:
        client = reader.uint()
        clock = reader.uint()
        if client != owner or clock >= at:
            _raise_to(shape.needs, client, clock + 1)
        elif clock == at - 1:
            shape.unmerged = 1
    if info & RIGHT_ORIGIN:
        client = reader.uint()
        clock = reader.uint()
        if client != owner or clock >= at:
            _raise_to(shape.needs, client, clock + 1)
    if not info & (LEFT_ORIGIN | RIGHT_ORIGIN):
        named = reader.uint()
        if named == 1:
            reader.text()
        else:
            # A type inside another one has its parent's id here. A file has no use for them, and
            # with a parent that is no type they break a document, now or at some later update.
            raise MalformedFrame("An update nests types, which the document of a file cannot hold.")
        if info & PARENT_SUB:
            reader.text()
    return read_content(reader, kind)


def read_content(reader: Reader, kind: int) -> int:
    """Read an item's content; returns how many clock ticks it covers."""
    if kind == STRING:
        text = reader.text()
        # Clocks count UTF-16 code units.
        return _positive(len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2)
    if kind == DELETED:
        return _positive(reader.uint())
    return _read_rare_content(reader, kind)


def _read_rare_content(reader: Reader, kind: int) -> int:
    """Content that plain text does not use, but that a Yjs client may put beside it."""
    if kind == JSON:
        items = reader.count(1)
        for _ in range(items):
            reader.text()
        return _positive(items)
    if kind == BINARY:
        reader.skip(reader.uint())
    elif kind == EMBED:
        reader.text()
    elif kind == FORMAT:
        reader.text()
        reader.text()
    elif kind == TYPE:
        type_ref = reader.uint()
        if type_ref > _MAX_TYPE:
            raise MalformedFrame("An update has a shared type of an unknown kind.")
        if type_ref in _NAMED_TYPES:
            reader.text()
    elif kind == ANY:
        items = reader.count(1)
        for _ in range(items):
            _read_any(reader, _MAX_DEPTH)
        return _positive(items)
    elif kind == DOC:
        reader.text()
        _read_any(reader, _MAX_DEPTH)
    else:
        raise MalformedFrame("An update has content of an unknown kind.")
    return 1


def _positive(length: int) -> int:
    if not length:
        raise MalformedFrame("An update has an item without length.")
    return length


def _read_any(reader: Reader, depth: int) -> None:
    """Skip one lib0 `any` value (`lib0/encoding.writeAny`)."""
    if not depth:
        raise MalformedFrame("A value in the update is nested too deeply.")
    tag = reader.byte()
    if tag in (127, 126, 121, 120):  # undefined, null, false, true
        return
    if tag == 125:  # a variable-length integer with sign
        for _ in range(10):
            if reader.byte() < 0x80:
                return
        raise MalformedFrame("A number in the update is too large.")
    if tag == 124:  # float32
        reader.skip(4)
    elif tag in (123, 122):  # float64, bigint
        reader.skip(8)
    elif tag == 119:
        reader.text()
    elif tag == 118:
        for _ in range(reader.count(2)):
            reader.text()
            _read_any(reader, depth - 1)
    elif tag == 117:
        for _ in range(reader.count(1)):
            _read_any(reader, depth - 1)
    elif tag == 116:
        reader.skip(reader.uint())
    else:
        raise MalformedFrame("An update has a value of an unknown kind.")
