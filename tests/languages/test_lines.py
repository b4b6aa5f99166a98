"""Lines and columns while a text changes: as by somebody who splits the whole text anew."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudide.languages import lines as module
from cloudide.languages.lines import Change, Encoding, Lines

ALPHABET = st.sampled_from(
    ["a", "b", "\n", "\r", "\r\n", "é", "😀", "\x0b", "\x0c", "\u2028", "\x85"]
)
TEXT = st.lists(ALPHABET, max_size=12).map("".join)


def split(text: str) -> list[str]:
    return re.split(r"\r\n|\r|\n", text)


def apply(text: str, change: Change, encoding: Encoding) -> str:
    """A server's work, done naively."""
    ends: list[int] = []
    for position in (change.start, change.end):
        pieces = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$|$", text)
        line = pieces[position.line] if position.line < len(pieces) else ""
        code = "utf-8" if encoding == "utf-8" else "utf-16-le"
        unit = 1 if encoding == "utf-8" else 2
        column = len(line.encode(code)[: position.column(encoding) * unit].decode(code))
        assert column <= len(line.rstrip("\r\n"))
        ends.append(sum(map(len, pieces[: position.line])) + column)
    return text[: ends[0]] + change.text + text[ends[1] :]


@settings(max_examples=300)
@given(TEXT, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6), TEXT), max_size=8))
def test_a_mirror_that_is_told_the_changes_has_the_same_text(
    text: str, edits: list[tuple[int, int, str]]
) -> None:
    lines = Lines(text)
    mirrors = {"utf-8": text, "utf-16": text}
    blocks = module.BLOCK
    module.BLOCK = 2
    try:
        for at, length, inserted in edits:
            at = min(at, len(text))
            end = min(at + length, len(text))
            before = lines.snapshot()
            change = lines.replace(len(text[:at].encode()), len(text[:end].encode()), inserted)
            assert str(before) == text
            text = text[:at] + inserted + text[end:]
            assert str(lines) == text
            assert lines.count == len(split(text))
            assert lines.size == len(text.encode())
            for encoding in ("utf-8", "utf-16"):
                mirrors[encoding] = apply(mirrors[encoding], change, encoding)
                assert mirrors[encoding] == text
    finally:
        module.BLOCK = blocks


@given(TEXT)
def test_bytes_and_positions_lead_to_each_other(text: str) -> None:
    lines = Lines(text)
    for at in range(len(text) + 1):
        offset = len(text[:at].encode())
        position = lines.position(offset)
        if text[at - 1 : at + 1] == "\r\n":
            continue
        for encoding in ("utf-8", "utf-16"):
            assert lines.offset(position.line, position.column(encoding), encoding) == offset


def test_a_column_behind_the_end_of_a_line_means_its_end() -> None:
    lines = Lines("ab\r\ncdé")
    assert lines.offset(0, 99, "utf-16") == 2
    assert lines.offset(1, 99, "utf-16") == 8
    assert lines.offset(1, 99, "utf-8") == 8


@pytest.mark.parametrize("where", [(2, 0), (-1, 0), (0, -1), (1, 3)])
def test_positions_that_do_not_exist_are_refused(where: tuple[int, int]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Lines("ab\né😀").offset(*where, "utf-8")


def test_bytes_that_are_not_there_are_refused() -> None:
    lines = Lines("aé")
    for start, end in ((0, 9), (9, 9), (-1, 0), (0, 2), (2, 3)):
        with pytest.raises(ValueError):  # noqa: PT011
            lines.replace(start, end, "")
    assert str(lines) == "aé"


def test_a_large_text_is_kept_in_blocks() -> None:
    text = "line\n" * 10_000
    lines = Lines(text)
    change = lines.replace(25_002, 25_002, "x\ny")
    assert change.start[0] == 5000
    assert change.after == (5001, 1, 1)
    assert lines.position(lines.size) == (10_001, 0, 0)
    assert str(lines) == text[:25_002] + "x\ny" + text[25_002:]


def test_one_long_line_costs_no_more_than_its_length() -> None:
    # With a pattern that looks for the end from each character anew this takes hours.
    lines = Lines("x" * 2_000_000)
    assert lines.replace(1_000_000, 1_000_000, "y").after == (0, 1_000_001, 1_000_001)
    assert lines.count == 1
