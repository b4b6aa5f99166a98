"""Short messages are read past the library, which must never notice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from cloudide.web.framing import short_messages, whole_headers

LENGTHS = st.one_of(st.integers(0, 140), st.sampled_from([65_535, 65_536, 70_000]))
FRAMES = st.lists(
    st.tuples(st.sampled_from([Opcode.BINARY, Opcode.TEXT, Opcode.PING]), LENGTHS), max_size=12
)


def _read(chunks: list[bytes]) -> list[tuple[Opcode, bytes]]:
    """What a socket that reads these chunks receives, in order."""
    library = ServerProtocol(state=State.OPEN, max_size=None)
    partial, owed = b"", 0
    received: list[tuple[Opcode, bytes]] = []
    for chunk in chunks:
        data, partial = partial + chunk, b""
        if not owed:
            messages, data = short_messages(data)
            received += [(Opcode.BINARY, message) for message in messages]
        boundary, owed = whole_headers(data, owed)
        partial = data[boundary:]
        library.receive_data(data[:boundary])
        assert library.parser_exc is None
        for event in library.events_received():
            assert isinstance(event, Frame)
            received.append((event.opcode, bytes(event.data)))
    return received


@given(FRAMES, st.lists(st.integers(0, 200_000), max_size=20))
def test_every_cut_of_a_stream_gives_the_messages_in_order(
    frames: list[tuple[Opcode, int]], cuts: list[int]
):
    sent: list[tuple[Opcode, bytes]] = []
    stream = b""
    for number, (opcode, length) in enumerate(frames):
        if opcode is Opcode.PING:
            length %= 126  # RFC 6455 section 5.5
        payload = bytes((97 + number,)) * length
        sent.append((opcode, payload))
        stream += Frame(opcode, payload).serialize(mask=True)
    ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {len(stream)})
    chunks = [stream[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    assert _read(chunks) == sent


@given(FRAMES)
def test_a_stream_in_single_bytes(frames: list[tuple[Opcode, int]]):
    sent = [(opcode, b"x" * (length % 126)) for opcode, length in frames]
    stream = b"".join(Frame(opcode, data).serialize(mask=True) for opcode, data in sent)
    assert _read([stream[at : at + 1] for at in range(len(stream))]) == sent


def test_an_unmasked_or_fragmented_frame_is_left_to_the_library():
    unmasked = Frame(Opcode.BINARY, b"abc").serialize(mask=False)
    first = Frame(Opcode.BINARY, b"abc", fin=False).serialize(mask=True)
    for frame in (unmasked, first):
        assert short_messages(frame) == ([], frame)
