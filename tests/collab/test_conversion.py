"""Conversion of files that open read-only."""

from __future__ import annotations

import pytest

from cloudide.collab.conversion import convert
from cloudide.collab.text import decode
from cloudide.errors import InvalidInput, NotEditable

TEXT = "Grüße aus Köln,\nviele schöne Grüße.\nDie Straße führt über die Brücke.\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "windows-1252", "iso-8859-15"]
)
def test_the_encoding_is_guessed(encoding: str) -> None:
    done = convert(TEXT.encode(encoding))
    assert done.content.decode() == TEXT
    assert decode(done.content, 10**6)[0] == TEXT
    assert (done.eol, done.lines) == ("\n", 3)


@pytest.mark.parametrize(
    ("encoding", "text"), [("shift_jis", "日本語の文章です。\n"), ("koi8-r", "Привет, мир\n")]
)
def test_the_encoding_is_given(encoding: str, text: str) -> None:
    done = convert(text.encode(encoding), encoding)
    assert done.content.decode() == text
    assert done.encoding == encoding


def test_few_foreign_letters_are_taken_for_the_usual_encoding() -> None:
    done = convert("À bientôt\n".encode("windows-1252"))
    assert (done.content.decode(), done.encoding) == ("À bientôt\n", "windows-1252")


@pytest.mark.parametrize(
    ("content", "eol", "expected"),
    [
        (b"a\r\nb\r\nc\n", "", b"a\r\nb\r\nc\r\n"),
        (b"a\r\nb\nc\n", "", b"a\nb\nc\n"),
        (b"a\rb\r\n\nc", "", b"a\nb\n\nc"),  # a tie, and no final line end
        (b"a\r\nb\n", "\r\n", b"a\r\nb\r\n"),
        (b"", "", b""),
    ],
)
def test_line_ends_become_the_same(content: bytes, eol: str, expected: bytes) -> None:
    assert convert(content, eol=eol).content == expected


def test_any_bytes_without_zeros_become_text() -> None:
    content = bytes(range(1, 256))
    assert decode(convert(content).content, 10**6)[0]


@pytest.mark.parametrize("encoding", ["base64", "no-such-thing", "utf-8\0", "idna"])
def test_what_is_no_encoding(encoding: str) -> None:
    with pytest.raises(InvalidInput):
        convert(b"\xff\xfe\xfd", encoding)


def test_a_file_that_is_not_of_the_encoding_says_where() -> None:
    with pytest.raises(InvalidInput, match="byte 4"):
        convert(b"text\xff", "utf-8")


def test_binary_is_not_converted() -> None:
    with pytest.raises(NotEditable, match="binary"):
        convert(b"\x7fELF\0\0\1")


def test_line_ends_are_of_two_kinds() -> None:
    with pytest.raises(InvalidInput, match="eol"):
        convert(b"a\n", eol="\r")
