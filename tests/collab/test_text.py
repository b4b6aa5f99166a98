"""Bytes to text and back, and changes between texts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudide.collab.text import (
    Hunk,
    apply,
    decode,
    diff,
    document_of,
    encode,
    is_stale,
    merged,
    overlap,
)
from cloudide.errors import NotEditable, TooLarge

texts = st.text(alphabet="ab \n\r\té€\N{ROCKET}", max_size=80)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a",
        b"a\n",
        b"a\nb",
        b"a\r\nb\r\n",
        b"\xef\xbb\xbfa\r\n",
        "é€🚀\n".encode(),
        b"\x0c\x85",
    ],
)
def test_bytes_survive_a_round_trip(content: bytes) -> None:
    try:
        text, format = decode(content, 1000)
    except NotEditable:
        assert content == b"\x0c\x85"
        return
    assert encode(text, format) == content
    assert "\r" not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\0b", "binary"),
        (b"caf\xe9", "UTF-8"),
        (b"a\r\nb\n", "line ends"),
        (b"a\rb\r\n", "line ends"),
        (b"old mac\r", "line ends"),
    ],
)
def test_what_cannot_be_restored_is_not_edited(content: bytes, reason: str) -> None:
    with pytest.raises(NotEditable, match=reason):
        decode(content, 1000)


def test_a_file_over_the_limit_says_so() -> None:
    with pytest.raises(TooLarge, match="6 bytes"):
        decode(b"123456", 5)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_whatever_decodes_encodes_to_the_same_bytes(text: str) -> None:
    try:
        decoded, format = decode(text.encode(), 10_000)
    except NotEditable:
        return
    assert encode(decoded, format) == text.encode()


@settings(max_examples=300, deadline=None)
@given(texts, texts)
def test_a_diff_leads_from_one_text_to_the_other(old: str, new: str) -> None:
    document, text = document_of()
    text += old
    with document.transaction():
        apply(diff(old, new), text, old)
    assert str(text) == new


def test_a_line_between_new_ones_stays_as_it_is() -> None:
    """Or whoever deletes it meanwhile would delete a part of what is new."""
    assert diff("[01]\n[02]\n", "[26]\n[01]\n[31]\n[18]\n[02]\n") == [
        Hunk(0, 0, "[26]\n"),
        Hunk(5, 5, "[31]\n[18]\n"),
    ]
    assert diff("[01]", "[26]\n[01][12]\n[27]\n") == [
        Hunk(0, 0, "[26]\n"),
        Hunk(4, 4, "[12]\n[27]\n"),
    ]
    assert diff("one\ntwo three\nfour", "one\ntwo 3\nfour\nfive") == [
        Hunk(8, 13, "3"),
        Hunk(18, 18, "\nfive"),
    ]


def test_a_line_end_at_the_end_is_no_trace_of_what_was_written() -> None:
    assert is_stale("one", "one 54\n", "one 72\n")
    assert not is_stale("one", "one 54\n", "one 54\ntwo\n")
    assert not is_stale("one", "one\n", "one\ntwo\n")


def test_hunks_that_touch_overlap() -> None:
    base = "one two three"
    assert overlap(diff(base, "one 2 three"), diff(base, "one TWO three"))
    assert not overlap(diff(base, "1 two three"), diff(base, "one two 3"))


@given(st.text("ab\né😀", max_size=12), st.text("ab\né😀", max_size=12))
def test_a_change_is_merged_with_none(base: str, new: str) -> None:
    assert merged(base, base, new) == merged(base, new, base) == new


@pytest.mark.parametrize(
    ("base", "theirs", "ours", "expected"),
    [
        ("other = 1\n", "# mine\nother_too = 1\n", "name = 1\n", "# mine\nname_too = 1\n"),
        ("a b c", "a b c d", "x b c", "x b c d"),
        ("f(other)", "f(another)", "f(name)", "f(anname)"),
        ("one\ntwo\n", "one\n", "1\ntwo\n", "1\n"),
    ],
)
def test_two_changes_are_merged_the_same_each_time(
    base: str, theirs: str, ours: str, expected: str
) -> None:
    for _ in range(5):
        assert merged(base, theirs, ours) == expected
