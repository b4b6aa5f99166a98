"""The y-websocket protocol, frame by frame."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text

from cloudide.protocol import sync
from cloudide.protocol.varint import MalformedFrame, Reader, write_bytes, write_uint


def test_messages_round_trip() -> None:
    doc: Doc = Doc(client_id=7)
    doc.get("content", type=Text).insert(0, "hi")
    step_1 = sync.read_message(sync.step_1(doc.get_state()))
    assert isinstance(step_1, sync.SyncStep1)
    assert step_1.clocks == {7: 2}
    answer = sync.read_message(sync.step_2(doc.get_update()))
    assert isinstance(answer, sync.SyncUpdate)
    assert answer.answer
    change = sync.read_message(sync.update(doc.get_update()))
    assert isinstance(change, sync.SyncUpdate)
    assert not change.answer
    assert change.update == doc.get_update()


def test_awareness_round_trips() -> None:
    entries = [
        sync.AwarenessEntry(1, 3, {"cursor": {"a": "é"}}),
        sync.AwarenessEntry(2**40, 1, None),
    ]
    message = sync.read_message(sync.awareness(entries))
    assert message == sync.Awareness(entries)


def test_an_oversized_awareness_state_is_refused() -> None:
    frame = sync.awareness([sync.AwarenessEntry(1, 1, {"x": "y" * 5000})])
    with pytest.raises(MalformedFrame, match="4096"):
        sync.read_message(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"\x00\x09\x00",  # unknown step
        b"\x07",  # unknown message
        b"\x02\x00\x00",  # permission denied is the server's to say
        b"\x00\x00\x05\x01",  # body longer than the frame
        sync.step_1(b"\x00") + b"\x00",  # bytes after the message
        b"\x01" + write_bytes(write_uint(1) + b"\x01\x01" + write_bytes(b"[1]")),  # no object
        b"\x01" + write_bytes(b"\xff\xff\xff\x7f"),  # 268 million awareness entries
        b"\xff" * 12,
    ],
)
def test_malformed_frames_are_refused(frame: bytes) -> None:
    with pytest.raises(MalformedFrame):
        sync.read_message(frame)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_any_frame_is_a_message_or_a_clear_error(frame: bytes) -> None:
    with suppress(MalformedFrame):
        sync.read_message(frame)


def test_a_malformed_frame_stops_its_sender_for_good() -> None:
    with pytest.raises(MalformedFrame) as caught:
        sync.read_message(b"\x07")
    assert caught.value.close_code == 4400
    assert caught.value.message


def test_extension_messages_are_a_number_and_json() -> None:
    reader = Reader(sync.Ack(3).frame())
    assert reader.uint() == sync.EXTENSION
    assert msgspec.json.decode(reader.text()) == {"type": "ack", "count": 3}
    reader.finish()
