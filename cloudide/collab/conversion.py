"""Making a file editable: any text to UTF-8 with one kind of line ends.

What a document holds must give back the file's bytes exactly (`text.py`), so that files of another
encoding or with mixed line ends open read-only. Converting one changes its bytes on purpose, once,
and a person asks for it.
"""

from __future__ import annotations

import codecs
import re

import charset_normalizer
import msgspec

from cloudide.errors import InvalidInput, NotEditable

EOLS = ("\n", "\r\n")
# The longer marks first: the one of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_EVERY_BYTE = "latin-1"  # the encoding in which everything is text
_SAMPLE = 256 * 1024  # bytes that an encoding is guessed from
_ENOUGH = 32  # characters that are not ASCII: from fewer, nobody can tell
_USUAL = "windows-1252"  # what most files are that are neither UTF-8 nor ASCII
_LINE_END = re.compile(r"\r\n|\r|\n")


class Converted(msgspec.Struct, frozen=True):
    """The new bytes; the encoding they came from, the line ends they have now, and how many."""

    content: bytes
    encoding: str
    eol: str
    lines: int


def convert(content: bytes, encoding: str = "", eol: str = "") -> Converted:
    """The same text as UTF-8, without a byte order mark, with one kind of line ends.

    `encoding` is any that Python knows by name, or empty to guess it; `eol` is one of `EOLS`, or
    empty for the one that is more frequent already.

    Raises:
        InvalidInput: there is no such encoding, or the file is not of it.
        NotEditable: it is binary.
    """
    if eol and eol not in EOLS:
        raise InvalidInput(r"eol is \n or \r\n, or left out for the more frequent one.")
    encoding = _known(encoding) if encoding else _guess(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"The file is not {encoding}: byte {error.start} cannot be read. Choose another "
            "encoding, or none to have it guessed."
        ) from error
    if "\0" in text:
        raise NotEditable("This is a binary file; there is nothing to convert.")
    ends = _LINE_END.findall(text)
    if not eol:
        eol = "\r\n" if ends.count("\r\n") * 2 > len(ends) else "\n"
    unified = _LINE_END.sub(eol, text)
    return Converted(unified.encode(), _usual_name(encoding), eol, len(ends))


def _known(encoding: str) -> str:
    try:
        # Fails also for what Python calls an encoding, but is none of text (base64, zlib).
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        raise InvalidInput(
            f"There is no encoding {encoding!r}; windows-1252 is one, for example."
        ) from error


def _usual_name(encoding: str) -> str:
    """The name that people know: Python calls windows-1252 cp1252."""
    return re.sub(r"^cp(125\d)$", r"windows-\1", encoding)


def _guess(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    try:
        content.decode()
    except UnicodeDecodeError:
        foreign = sum(byte > 127 for byte in content[:_SAMPLE])
        found = [_USUAL]
        if foreign >= _ENOUGH and (best := charset_normalizer.from_bytes(content[:_SAMPLE]).best()):
            found.insert(0, best.encoding)
        return next((each for each in found if _decodes(content, each)), _EVERY_BYTE)
    return "utf-8"


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
