"""What comes from an attached terminal, however the kernel cuts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudide.protocol.agent import Exit, Exited, Ready, Replay, Resized
from cloudide.protocol.output import (
    MESSAGE_LIMIT,
    Malformed,
    OutputMessage,
    Splitter,
    message,
    output,
)

MESSAGES: list[OutputMessage] = [Replay(80, 24, 7), Ready(), Resized(100, 30), Exited(Exit(code=3))]
PIECES = st.lists(st.one_of(st.binary(max_size=50), st.sampled_from(MESSAGES)), max_size=8)


def joined(pieces: list[bytes | OutputMessage]) -> list[bytes | OutputMessage]:
    """With what is output between two messages as one, however it was cut."""
    found: list[bytes | OutputMessage] = []
    for piece in pieces:
        if isinstance(piece, bytes) and found and isinstance(last := found[-1], bytes):
            found[-1] = last + piece
        elif piece != b"":
            found.append(piece)
    return found


@given(PIECES, st.lists(st.integers(1, 40)))
def test_however_it_is_cut_the_same_comes_out(
    pieces: list[bytes | OutputMessage], sizes: list[int]
) -> None:
    sent = b"".join(output(each) if isinstance(each, bytes) else message(each) for each in pieces)
    splitter = Splitter()
    heard: list[bytes | OutputMessage] = []
    for size in sizes:
        heard += splitter.feed(sent[:size])
        sent = sent[size:]
    heard += splitter.feed(sent)
    assert joined(heard) == joined(pieces)


def test_output_is_not_waited_for_to_be_whole() -> None:
    splitter = Splitter()
    assert splitter.feed(output(b"x" * 100_000)[:10]) == [b"x" * 6]


@pytest.mark.parametrize(
    "frame",
    [
        ((1 << 31) | (MESSAGE_LIMIT + 1)).to_bytes(4),
        b"\xff\xff\xff\xff",
        b"\x80\0\0\0",
        b"\x80\0\0\2{}",
        b"\x80\0\0\2\xff\xff",
        b'\x80\0\0\x0f{"type": "eof"}',
        b'\x80\0\0\x14{"type":"replay","x"}',
    ],
)
def test_what_is_no_message_ends_it(frame: bytes) -> None:
    with pytest.raises(Malformed):
        Splitter().feed(output(b"before") + frame)
