"""JSON-RPC: envelopes keep ids and bodies as they came; frames may come in any pieces."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import ErrorCode, Framer, FramingError, Malformed

IDS = st.one_of(st.integers(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(IDS, JSON)
def test_a_request_keeps_its_id_and_its_body(id: int | str, params: object) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": id, "method": "m", "params": params})
    message = jsonrpc.read(body)
    assert message.id == id
    assert type(message.id) is type(id)
    again = json.loads(jsonrpc.request(id, "m", message.params))
    assert again == json.loads(body)


@given(IDS, JSON)
def test_a_response_keeps_its_body_also_null(id: int | str, result: object) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()
    message = jsonrpc.read(body)
    assert json.loads(jsonrpc.response(id, message.result)) == json.loads(body)
    assert not jsonrpc.is_error(message)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x",
        "[]",
        "[1]",
        "1",
        '"a"',
        "null",
        "{}",
        '{"id":1}',
        '{"id":1.5,"method":"m"}',
        '{"id":true,"method":"m"}',
        '{"id":[1],"method":"m"}',
        '{"id":{},"method":"m"}',
        '{"id":null,"method":"m"}',
        '{"method":1}',
        '{"id":1,"method":"m","params":{"a":NaN}}',
        '{"id":1,"result":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"id":1,"result":{"x":"\\ud800"}, "y": NaN}',
        '{"id":"\\ud800","method":"m"}',
        '{"id":true,"method":"m","params":"\\ud800"}',
        '{"id":1,"method":"\\ud800"}',
        '{"id":"' + "a" * 2000 + '","method":"m"}',
        b'{"id":1,"result":"\xff"}',
    ],
)
def test_what_is_no_message_is_refused(body: str | bytes) -> None:
    with pytest.raises(Malformed) as caught:
        jsonrpc.read(body)
    assert caught.value.code in (ErrorCode.PARSE_ERROR, ErrorCode.INVALID_REQUEST)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        jsonrpc.read(data)


def test_a_lone_surrogate_passes_through() -> None:
    message = jsonrpc.read('{"id":"a","method":"m","params":{"text":"x\\ud800y","more":[1]}}')
    assert json.loads(bytes(message.params)) == {"text": "x\ud800y", "more": [1]}
    assert jsonrpc.loads(message.params)["text"] == "x\ud800y"
    assert json.loads(jsonrpc.dumps({"text": "\ud800"})) == {"text": "\ud800"}


def test_large_numbers_and_unknown_members_are_kept() -> None:
    raw = b'{"x":123456789012345678901234567890,"y":1e400,"z":1.0}'
    message = jsonrpc.read(b'{"id":7,"extra":1,"method":"m","params":' + raw + b"}")
    assert bytes(message.params) == raw


def test_an_answer_with_a_null_error_is_no_failure() -> None:
    message = jsonrpc.read('{"id":1,"result":{},"error":null}')
    assert not jsonrpc.is_error(message)
    message = jsonrpc.read('{"id":1,"error":{"code":-32801,"message":"old"}}')
    assert jsonrpc.is_error(message)
    assert jsonrpc.error_of(message).code == ErrorCode.CONTENT_MODIFIED
    garbage = jsonrpc.read('{"id":1,"error":"what"}')
    assert jsonrpc.error_of(garbage).code == ErrorCode.INTERNAL_ERROR
    assert msgspec.json.decode(jsonrpc.failure(None, -1, "no"))["id"] is None


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.data())
def test_frames_come_in_any_pieces(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(jsonrpc.frame, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    framer = Framer(limit=40)
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += framer.feed(stream[start:end])
    assert found == bodies


def test_frames_come_byte_by_byte() -> None:
    stream = b"content-type: x\r\nCONTENT-LENGTH:  2 \r\n\r\n{}" + jsonrpc.frame(b"[]")
    framer = Framer(limit=40)
    assert [b for at in range(len(stream)) for b in framer.feed(stream[at : at + 1])] == [
        b"{}",
        b"[]",
    ]


@pytest.mark.parametrize(
    "stream",
    [
        b"hello\r\n\r\n",
        b"Content-Length: x\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 0\r\n\r\n",
        b"Content-Length: \xb2\r\n\r\n",
        b"Content-Length: 41\r\n\r\n",
        b"Content-Length: 99999999999999\r\n\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"Content-Type: x\r\n\r\n",
        b"x" * 5000,
        b"Content-Length: 1\r\nx: " + b"x" * 5000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_frame_is_refused(stream: bytes) -> None:
    with pytest.raises(FramingError):
        Framer(limit=40).feed(stream)
    framer = Framer(limit=40)
    with pytest.raises(FramingError):
        [framer.feed(bytes((byte,))) for byte in stream]
