"""The shape of a Yjs update (version 1), checked before a CRDT library sees it.

An update is structs by client, then a delete set:

    uint clients, for each:  uint structs, uint client, uint first clock, then each struct:
        info byte; its low five bits say what follows
        GC (0), Skip (10): uint length
        an item: [left origin] [right origin] [parent, when there is neither origin] content
    uint clients, for each:  uint client, uint ranges, for each:  uint clock, uint length

`read_update` walks all of it without building anything: it refuses lengths that do not fit, unknown
kinds and absurd nesting (each of them has crashed or bloated a decoder), and says which clocks the
update covers, so that a room can tell a duplicate from a gap.

Source: `readClientsStructRefs` and `readDeleteSet` of yjs 13 (`src/utils/encoding.js`,
`src/utils/DeleteSet.js`); the content kinds are listed in `src/structs/Item.js`.
"""

from __future__ import annotations

import msgspec

from cloudide.protocol.varint import MalformedFrame, Reader

GC, DELETED, JSON, BINARY, STRING, EMBED, FORMAT, TYPE, ANY, DOC, SKIP = range(11)
_LEFT_ORIGIN, _RIGHT_ORIGIN, _PARENT_SUB = 0x80, 0x40, 0x20
_NAMED_TYPES = (3, 5)  # YXmlElement and YXmlHook carry their name
_MAX_TYPE = 6
_MAX_DEPTH = 32
_MAX_CLIENT = 2**53 - 1

EMPTY_UPDATE = b"\x00\x00"


class UpdateShape(msgspec.Struct):
    """What an update covers: for each client its first clock and the one after its last."""

    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    deleted_ends: dict[int, int] = {}

    def missing_from(self, state: dict[int, int]) -> bool:
        """Whether `state` (next clock by client) lacks something this update carries or needs."""
        return any(state.get(client, 0) < end for client, end in self.ends.items()) or any(
            state.get(client, 0) < end for client, end in self.deleted_ends.items()
        )


def read_state_vector(data: bytes) -> dict[int, int]:
    """Decode a state vector: next clock by client.

    Raises:
        MalformedFrame: it is not one.
    """
    reader = Reader(data)
    state: dict[int, int] = {}
    for _ in range(reader.count(2)):
        client = reader.uint()
        state[client] = reader.uint()
    reader.finish()
    return state


def read_update(data: bytes) -> UpdateShape:
    """Check an update and say what it covers.

    Raises:
        MalformedFrame: it is not an update, or one this server does not take.
    """
    reader = Reader(data)
    shape = UpdateShape()
    for _ in range(reader.count(4)):
        structs = reader.count(2)
        client = reader.uint()
        clock = reader.uint()
        if client in shape.starts:
            raise MalformedFrame("An update names the same client twice.")
        shape.starts[client] = clock
        for _ in range(structs):
            clock += _read_struct(reader)
        if clock > _MAX_CLIENT:
            raise MalformedFrame("A clock in the update is too large.")
        shape.ends[client] = clock
    for _ in range(reader.count(3)):
        client = reader.uint()
        end = 0
        for _ in range(reader.count(2)):
            clock = reader.uint()
            end = max(end, clock + reader.uint())
        shape.deleted_ends[client] = max(end, shape.deleted_ends.get(client, 0))
    reader.finish()
    return shape


def _read_struct(reader: Reader) -> int:
    """Read one struct; returns how many clock ticks it covers."""
    info = reader.byte()
    kind = info & 0x1F
    if kind in (GC, SKIP):
        return _positive(reader.uint())
    if info & _LEFT_ORIGIN:
        reader.uint()
        reader.uint()
    if info & _RIGHT_ORIGIN:
        reader.uint()
        reader.uint()
    if not info & (_LEFT_ORIGIN | _RIGHT_ORIGIN):
        named = reader.uint()
        if named == 1:
            reader.text()
        elif named == 0:
            reader.uint()
            reader.uint()
        else:
            raise MalformedFrame("An update has a parent of an unknown kind.")
        if info & _PARENT_SUB:
            reader.text()
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
