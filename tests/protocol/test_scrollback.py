"""Replays start where a terminal is in its ground state."""

from __future__ import annotations

import pytest

from cloudide.protocol.scrollback import Scrollback, safe_cut

PIECES = [
    b"plain",
    "é".encode(),
    "🐍".encode(),
    b"\x1b[1;31m",
    b"\x1b[?2004h",
    b"\x1b]0;a title\x07",
    b"\x1b]8;;http://example.org\x1b\\",
    b"\x1bP1;2q#0~~\x1b\\",
    b"\x1b(B",
    b"\x1b7",
    b"\x1b_G" + b"A" * 1000 + b"\x1b\\",
]


@pytest.mark.parametrize("piece", PIECES)
def test_no_piece_is_cut(piece: bytes) -> None:
    before = b"\x1b[0mbefore"
    content = before + piece + b"after"
    plain = not piece.startswith(b"\x1b") and piece.isascii()
    for at in range(len(before) + 1, len(before) + len(piece)):
        assert safe_cut(content, at) == (at if plain else len(before) + len(piece))


def test_keeps_at_least_the_limit_and_counts_the_rest() -> None:
    scrollback = Scrollback(1000)
    for number in range(1000):
        scrollback.append(b"\x1b[3%dmline %d\x1b[0m\r\n" % (number % 8, number))
    assert 950 <= len(scrollback.content) <= 1250
    assert scrollback.lost + len(scrollback.content) == sum(
        len(b"\x1b[3%dmline %d\x1b[0m\r\n" % (n % 8, n)) for n in range(1000)
    )
    assert scrollback.content.endswith(b"line 999\x1b[0m\r\n")


def test_a_string_without_an_end_is_not_kept_for_ever() -> None:
    scrollback = Scrollback(1000)
    scrollback.append(b"\x1bP" + b"x" * 5000)
    assert len(scrollback.content) <= 1250
