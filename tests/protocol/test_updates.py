"""Updates are checked before the CRDT library sees them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from cloudide.protocol.updates import RUNS_LIMIT, Fit, read_state_vector, read_update
from cloudide.protocol.varint import MalformedFrame, write_uint


def document() -> tuple[Doc, Text, list[bytes]]:
    doc: Doc = Doc(client_id=5)
    text = doc.get("content", type=Text)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    return doc, text, updates


def test_text_in_too_many_pieces_is_refused():
    """Ten thousand pieces of what was typed in a row; the CRDT library would take gigabytes for a
    few more."""

    def pieces(count: int) -> bytes:
        first = b"\x04\x01\x07content\x01x"
        rest = (b"\x84\x07" + write_uint(clock) + b"\x01x" for clock in range(count - 1))
        return b"\x01" + write_uint(count) + b"\x07\x00" + first + b"".join(rest) + b"\x00"

    assert read_update(pieces(RUNS_LIMIT + 1)).ends == {7: RUNS_LIMIT + 1}
    with pytest.raises(MalformedFrame, match="pieces"):
        read_update(pieces(RUNS_LIMIT + 2))


def test_clocks_count_utf_16_units() -> None:
    doc, text, updates = document()
    text += "a\N{ROCKET}é"
    assert read_update(updates[0]).ends == {5: 4}
    assert read_state_vector(doc.get_state()) == {5: 4}


def test_a_deletion_names_what_it_deletes() -> None:
    _, text, updates = document()
    text += "hello"
    del text[1:3]
    shape = read_update(updates[1])
    assert shape.ends == {}
    assert shape.needs == {5: 3}
    assert shape.fit({5: 5}) is Fit.WHOLE
    assert shape.fit({5: 2}) is Fit.GAP


def test_everything_a_yjs_client_may_put_beside_text_is_understood() -> None:
    doc, text, _ = document()
    text.insert(0, "bold", {"bold": True})
    text.insert_embed(0, {"image": "x"})
    values = doc.get("values", type=Map)
    values["any"] = [1, -2.5, "x", None, True, {"deep": [b"bytes"]}]
    values["text"] = Text()
    values["document"] = Doc()
    del values["any"]
    shape = read_update(doc.get_update())
    assert set(shape.ends) == {5}
    assert shape.ends == read_state_vector(doc.get_state())
    assert shape.rich


def test_nothing_is_nested() -> None:
    """What is inside another type names that by its id, which may be no type at all."""
    doc, _, updates = document()
    doc.get("values", type=Map)["array"] = Array([1, 2, 3])
    with pytest.raises(MalformedFrame, match="nests"):
        read_update(updates[-1])


@pytest.mark.parametrize(
    "hostile",
    [
        "01010328b1f7060300016100",  # content of an unknown kind: panicked a document
        "ffffffff0f",  # four billion clients
        "01ffffffff0f0500",  # four billion structs of one client
        "0101050004010763",  # ends inside a name
        "01010500840504ffffffff0f61",  # text longer than the message
        "0000ff",  # bytes after the end
        "",
    ],
)
def test_hostile_updates_are_refused(hostile: str) -> None:
    with pytest.raises(MalformedFrame):
        read_update(bytes.fromhex(hostile))


def test_a_state_vector_cannot_claim_more_than_it_carries() -> None:
    claim = write_uint(2**28)
    with pytest.raises(MalformedFrame):
        read_state_vector(claim + b"\x01\x01\x01")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_updates_are_refused_or_harmless(data: st.DataObject) -> None:
    doc, text, _ = document()
    for piece in data.draw(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5)):
        text.insert(0, piece.replace("\0", "x").encode("utf-8", "replace").decode())
    original = bytearray(doc.get_update())
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(original) - 1))
        original[index] = data.draw(st.integers(0, 255))
    try:
        read_update(bytes(original))
    except MalformedFrame:
        return


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_update_or_a_clear_error(data: bytes) -> None:
    try:
        shape = read_update(data)
    except MalformedFrame:
        return
    assert shape.starts.keys() == shape.ends.keys()
