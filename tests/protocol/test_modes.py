"""Modes, questions and signs, byte by byte; tests/xterm compares them with a real emulator."""

from __future__ import annotations

import pytest

from cloudide.protocol.modes import Modes
from cloudide.protocol.queries import is_answer, without_queries
from cloudide.protocol.signs import CARRY_LIMIT, Signs
from cloudide.protocol.terminal import draft


def after(output: bytes) -> bytes:
    modes = Modes()
    modes.scan(output)
    return modes.restore()


@pytest.mark.parametrize(
    ("output", "restored"),
    [
        (b"plain", b""),
        (b"\x1b[?1049h\x1b[2;5r\x1b[?25l", b"\x1b[?1049h\x1b[2;5r\x1b[?25l"),
        (b"\x1b[?1049h\x1b[2;5r\x1b[?25l\x1b[?25h\x1b[?1049l", b""),
        (b"\x1b[3;9r\x1b[?1049h\x1b[r", b"\x1b[3;9r\x1b[?1049h"),
        (b"\x1b[?1000;1006h\x1b[?1002h", b"\x1b[?1002h\x1b[?1006h"),
        (b"\x1b[?7l\x1b[4h\x1b=\x1b[5 q", b"\x1b[?7l\x1b[4h\x1b=\x1b[5 q"),
        (b"\x1b[1;31m\x1b[44;4:3m\x1b[22m", b"\x1b[31m\x1b[44m\x1b[4:3m"),
        (b"\x1b[38;2;1;2;3;48;5;9mx\x1b[39m", b"\x1b[48;5;9m"),
        (b"\x1b[1mx\x1b[0;3mx", b"\x1b[3m"),
        (b"\x1b(0\x0e", b"\x1b(0\x0e"),
        (b"\x1b(0\x0e\x0f", b"\x1b(0"),
        (b"\x1b]0;one\x07\x1b]2;two\x1b\\", b"\x1b]2;two\x1b\\"),
        (b"\x1b]8;;http://x\x07", b"\x1b]8;;http://x\x1b\\"),
        (b"\x1b]8;;http://x\x07y\x1b]8;;\x07", b""),
        (b"\x1b[?2004h\x1b[1mx\x1bc", b""),
        (b"\x1b[?1h\x1b[1m\x1b[?2004h\x1b[!p", b"\x1b[?2004h"),
        (b"\x1b]0;a \x1b[?25l b\x07", b"\x1b[?25l"),  # an escape aborts a string
        ("\x9b?25l".encode(), b"\x1b[?25l"),
    ],
)
def test_modes(output: bytes, restored: bytes) -> None:
    got = after(output)
    assert got.replace(b"\x1b]2;a \x1b\\", b"") == restored
    assert after(got) == got


def test_questions_are_left_out_and_nothing_else() -> None:
    output = b"a\x1b[c\x07b\x1b]0;t\x07\x1b[6nc\x1b]11;?\x07\x1b[3 q\x1b]52;c;eA==\x07d\x1b[31m"
    assert without_queries(output) == b"ab\x1b]0;t\x07c\x1b[3 qd\x1b[31m"


@pytest.mark.parametrize(
    "key", [b"a", b"\r", b"\x1b", b"\x1b[A", b"\x1bOP", b"\x1b[15~", b"\x1b[<0;1;1M"]
)
def test_keys_are_no_answers(key: bytes) -> None:
    assert not is_answer(key)


@pytest.mark.parametrize(
    "answer", [b"\x1b[?1;2c", b"\x1b[24;80R", b"\x1b[0n", b"\x1b[I", b"\x1bP1$r0m\x1b\\"]
)
def test_answers(answer: bytes) -> None:
    assert is_answer(answer)
    assert is_answer(answer * 2)
    assert not is_answer(answer + b"x")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
def test_signs_come_in_any_pieces(size: int) -> None:
    signs = Signs()
    output = b"x\x07\x1b]0;one\x07\x1b]7;file:///a%20b\x1b\\\x07\x1b]2;t\xc3\xa4o\x1b\\y"
    for start in range(0, len(output), size):
        signs.feed(output[start : start + size])
    assert (signs.title, signs.directory, signs.bells) == ("täo", "/a b", 2)


def test_a_string_without_an_end_is_not_kept() -> None:
    signs = Signs()
    for _ in range(100):
        signs.feed(b"\x1b]0;" + b"x" * CARRY_LIMIT)
    signs.feed(b"\x07\x1b]0;end\x07")
    assert signs.title == "end"


def test_a_draft_runs_nothing() -> None:
    assert draft(b"ls\x1b[D\xc3\xa9\x7f\r\n\x03\x04\x0f\x1bOM\x1b\r\x1b[13u\x1b.x") == (
        b"ls\x1b[D\xc3\xa9\x7fx"
    )
