"""A relative position of a client is found in the room's text, whatever was typed around it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text

from cloudide.collab.anchors import AFTER, BEFORE, resolve
from cloudide.collab.text import CONTENT
from cloudide.errors import InvalidInput
from cloudide.protocol.varint import write_text, write_uint

ALPHABET = st.sampled_from(["a", "b", "\n", "é", "😀", "\u4e2d"])
STEPS = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 30), st.integers(0, 3), st.lists(ALPHABET, max_size=5)
    ),
    max_size=12,
)


class Replica:
    """A client that knows which of its clocks each character has."""

    def __init__(self, client: int) -> None:
        self.client = client
        self.clock = 0
        self.doc: Doc[Text] = Doc(client_id=client)
        self.text = self.doc.get(CONTENT, type=Text)

    def insert(self, at: int, typed: str) -> list[tuple[int, int]]:
        self.text.insert(len(str(self.text)[:at].encode()), typed)
        ids: list[tuple[int, int]] = []
        for char in typed:
            ids.append((self.client, self.clock))
            self.clock += len(char.encode("utf-16-le")) // 2
        return ids


def item(client: int, clock: int, assoc: bytes) -> bytes:
    return b"\x00" + write_uint(client) + write_uint(clock) + assoc


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_every_character_is_found(steps: list[tuple[int, int, int, list[str]]]) -> None:
    replicas = [Replica(5), Replica(7)]
    text = ""
    ids: list[tuple[int, int]] = []
    gone: list[tuple[int, int]] = []
    for who, at, removed, typed in steps:
        one, other = replicas[who], replicas[1 - who]
        at = min(at, len(text))
        if inserted := "".join(typed):
            ids[at:at] = one.insert(at, inserted)
            text = text[:at] + inserted + text[at:]
        end = min(at + removed, len(text))
        if end > at:
            start = len(text[:at].encode())
            del one.text[start : start + len(text[at:end].encode())]
            gone += ids[at:end]
            del ids[at:end]
            text = text[:at] + text[end:]
        other.doc.apply_update(one.doc.get_update(other.doc.get_state()))
    room = replicas[0]
    assert str(room.text) == text
    clocks = {each.client: each.clock for each in replicas}
    for number, (client, clock) in enumerate(ids):
        start = len(text[:number].encode())
        end = len(text[: number + 1].encode())
        assert resolve(room.doc, room.text, item(client, clock, AFTER), clocks) == start
        last = clock + len(text[number].encode("utf-16-le")) // 2 - 1
        assert resolve(room.doc, room.text, item(client, last, BEFORE), clocks) == end
    for client, clock in gone:
        for assoc in (AFTER, BEFORE):
            found = resolve(room.doc, room.text, item(client, clock, assoc), clocks)
            assert found is None or text.encode()[found:].decode() is not None


def test_the_ends_of_the_text_and_what_is_not_there() -> None:
    replica = Replica(5)
    replica.insert(0, "aé")
    root = b"\x01" + write_text(CONTENT)
    for anchor, found in (
        (root + AFTER, 3),
        (root + BEFORE, 0),
        (root, 3),
        (item(5, 2, AFTER), None),
        (item(9, 0, AFTER), None),
    ):
        assert resolve(replica.doc, replica.text, anchor, {5: 2}) == found


@pytest.mark.parametrize(
    "anchor",
    [
        b"",
        b"\x00",
        b"\x00\x05",
        b"\x02\x05\x00\x00",
        b"\x01\x01x\x00",
        b"\x00\x05\x00\x07",
        b"\x03",
    ],
)
def test_what_is_no_position_is_refused(anchor: bytes) -> None:
    replica = Replica(5)
    with pytest.raises(InvalidInput):
        resolve(replica.doc, replica.text, anchor, {5: 1})
