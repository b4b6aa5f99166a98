"""Secrets do not stand in what is printed, however it comes."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudide.secrets.redaction import Redactor

VALUE = b"s3cr3t/with+chars & more"


def redacted(text: bytes, values: dict[str, bytes], size: int = 1) -> bytes:
    redactor = Redactor(values)
    shown = [redactor.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return b"".join(shown) + redactor.flush()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_value_in_pieces(size: int) -> None:
    text = b"before " + VALUE + b"\nand s3cr3t again " + VALUE + VALUE
    expected = b"before [secret TOKEN]\nand s3cr3t again [secret TOKEN][secret TOKEN]"
    assert redacted(text, {"TOKEN": VALUE}, size) == expected


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"user:", b"{'x': "])
@pytest.mark.parametrize("after", [b"", b"a", b"ab", b"\n"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_wherever_it_begins(before: bytes, after: bytes, encode) -> None:
    encoded = encode(before + VALUE + after)
    shown = redacted(b"Authorization: Basic " + encoded, {"TOKEN": VALUE})
    assert b"[secret TOKEN]" in shown
    # At most the characters at the ends that are its neighbours' too are left.
    left = shown.replace(b"Authorization: Basic ", b"").replace(b"[secret TOKEN]", b"")
    assert len(left) <= len(encode(before)) + len(encode(after)) + 4


def test_other_ways_of_writing_it() -> None:
    value = 'a "quoted"\\ pässword'
    for form in (json.dumps(value), json.dumps(value, ensure_ascii=False), quote(value, safe="")):
        shown = redacted(form.encode(), {"P": value.encode()})
        assert b"quoted" not in shown, form


def test_lines_of_a_key() -> None:
    key = b"-----BEGIN KEY-----\nAAAABBBBCCCC\nDDDDEEEEFFFF\n-----END KEY-----\n"
    assert b"AAAA" not in redacted(key.replace(b"\n", b"\r\n"), {"KEY": key})
    assert redacted(b"only DDDDEEEEFFFF here", {"KEY": key}) == b"only [secret KEY] here"


def test_short_values_take_no_text_away() -> None:
    assert redacted(b"a yes is a yes", {"ANSWER": b"yes"}) == b"a yes is a yes"


def test_what_only_begins_like_it_is_shown_at_the_end() -> None:
    redactor = Redactor({"TOKEN": VALUE})
    assert redactor.feed(b"see s3cr3t/wi") == b"see "
    assert redactor.flush() == b"s3cr3t/wi"
    redactor = Redactor({"TOKEN": VALUE})
    assert redactor.feed(b"s3cr3t/wi") + redactor.feed(b"thout it") == b"s3cr3t/without it"


def test_a_value_that_begins_with_another() -> None:
    values = {"SHORT": b"abcdef", "LONG": b"abcdefghij"}
    assert redacted(b"abcdefghij abcdefgh", values) == b"[secret LONG] [secret SHORT]gh"


ALPHABET = st.sampled_from(b"ab")
VALUES = st.lists(st.lists(ALPHABET, min_size=6, max_size=9).map(bytes), min_size=1, max_size=3)


@given(st.lists(ALPHABET, max_size=60).map(bytes), VALUES, st.data())
def test_pieces_make_no_difference(text: bytes, secrets: list[bytes], data: st.DataObject) -> None:
    values = {f"S{n}": value for n, value in enumerate(secrets)}
    whole = redacted(text, values, size=max(1, len(text)))
    redactor, shown, at = Redactor(values), b"", 0
    while at < len(text):
        size = data.draw(st.integers(1, 9))
        shown += redactor.feed(text[at : at + size])
        at += size
    shown += redactor.flush()
    assert shown == whole
    assert not any(value in shown for value in values.values())
