"""Text: a file's bytes to a document's text and back, and changes between two texts.

The document holds plain text with `\\n` line ends. What else the bytes say (a byte order mark,
`\\r\\n`) is kept beside it as a `FileFormat` and put back on writing, so that decode and encode are
each other's inverse byte for byte; a file for which they are not does not open for editing.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Callable

import fast_diff_match_patch
import msgspec
from pycrdt import Doc, Text

from cloudide.errors import NotEditable, TooLarge
from cloudide.protocol.sync import FileFormat

CONTENT = "content"  # the name of the Y.Text in every document
_BOM = b"\xef\xbb\xbf"
_DIFF_SECONDS = 0.2
_LEAST_SECONDS = 0.005  # for each change within lines; none at all would mean no limit
_MAX_LINES = 1_000_000  # different ones; there are hardly more characters


class Hunk(msgspec.Struct, frozen=True):
    """Replace the code points `start:end` of the old text by `text`."""

    start: int
    end: int
    text: str


def content_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def decode(content: bytes, limit: int) -> tuple[str, FileFormat]:
    """A file's text and format.

    Raises:
        TooLarge: more than `limit` bytes.
        NotEditable: binary, not UTF-8, or line ends that differ within the file.
    """
    if len(content) > limit:
        raise TooLarge(
            f"The file has {len(content):,} bytes; files up to {limit:,} bytes open for editing."
        )
    if b"\0" in content:
        raise NotEditable("This is a binary file; it opens read-only.")
    bom = content.startswith(_BOM)
    try:
        text = content[len(_BOM) if bom else 0 :].decode()
    except UnicodeDecodeError:
        raise NotEditable(
            "The file is not UTF-8 text; it opens read-only. Convert it to UTF-8 to edit it here."
        ) from None
    if "\r" not in text:
        return text, FileFormat(bom=bom)
    unified = text.replace("\r\n", "\n")
    # Every line end must be \r\n: a lone \r, or a lone \n beside one, could not be restored.
    if "\r" in unified or len(text) - len(unified) != unified.count("\n"):
        raise NotEditable(
            "The file mixes different line ends; it opens read-only. Convert them to edit it here."
        )
    return unified, FileFormat(bom=bom, eol="\r\n")


def encode(text: str, format: FileFormat) -> bytes:
    """The bytes of a file. A `\\r` that somebody typed stays as it is."""
    if format.eol != "\n":
        text = text.replace("\n", format.eol)
    return (_BOM if format.bom else b"") + text.encode()


def document_of(*updates: bytes) -> tuple[Doc[Text], Text]:
    """A new document with a fresh client id, and its text.

    A fresh id for every load: one that is used again after a loss makes replicas diverge. It has 31
    bits, which keeps updates small.
    """
    document: Doc[Text] = Doc(client_id=secrets.randbits(31) or 1)
    text = document.get(CONTENT, type=Text)
    if updates:
        with document.transaction():
            for update in updates:
                document.apply_update(update)
    return document, text


def diff(old: str, new: str) -> list[Hunk]:
    """The changes that make `new` of `old`: lines first, then within them, in bounded time.

    A line that is in both texts is never replaced by itself, however much is new around it: what
    people do in it meanwhile would go with the old one, or come back with the new one.
    """
    if old == new:
        return []
    until = time.monotonic() + _DIFF_SECONDS
    start, rest = _common_lines(old, new)
    # What they share at the end begins with a line end. Where that is nothing, as if there was one,
    # so that a last line without is a line like the others.
    old_lines, new_lines = (
        [line + "\n" for line in text[start : len(text) - rest].split("\n")] for text in (old, new)
    )
    if len({*old_lines, *new_lines}) > _MAX_LINES:
        return _within(old, new, 0, _DIFF_SECONDS)
    # Each different line becomes one character, so that the library compares whole lines.
    characters: dict[str, str] = {}
    for line in (*old_lines, *new_lines):
        characters.setdefault(line, _character(len(characters)))
    hunks: list[Hunk] = []
    position = start  # in characters
    at_old = at_new = 0  # in lines
    removed = added = ""
    operations = fast_diff_match_patch.diff(
        "".join(map(characters.__getitem__, old_lines)),
        "".join(map(characters.__getitem__, new_lines)),
        timelimit=_DIFF_SECONDS,
        checklines=False,
        cleanup="No",
    )
    for operation, count in (*operations, ("=", 0)):
        if operation == "-":
            removed += "".join(old_lines[at_old : at_old + count])
            at_old += count
        elif operation == "+":
            added += "".join(new_lines[at_new : at_new + count])
            at_new += count
        else:
            end = position + len(removed)
            if removed and added:
                left = max(until - time.monotonic(), _LEAST_SECONDS)
                hunks += _within(removed[:-1], added[:-1], position, left)
            elif removed or added:
                if end > len(old):
                    # There is no such line end: the one before it comes or goes instead.
                    position, end, added = position - 1, end - 1, ("\n" + added)[:-1]
                hunks.append(Hunk(position, end, added))
            position = end + sum(map(len, old_lines[at_old : at_old + count]))
            removed = added = ""
            at_old += count
            at_new += count
    return hunks


def _common_lines(one: str, other: str) -> tuple[int, int]:
    """How many characters of whole lines two texts share at their beginning, and at their end."""
    shortest = min(len(one), len(other))
    start = _longest(shortest, lambda size: one[:size] == other[:size])
    start = one.rfind("\n", 0, start) + 1
    end = _longest(shortest - start, lambda size: one.endswith(other[len(other) - size :]))
    line_end = one.find("\n", len(one) - end)
    return start, 0 if line_end < 0 else len(one) - line_end


def _longest(limit: int, holds: Callable[[int], bool]) -> int:
    """The greatest number up to `limit` for which something holds that holds for all below it."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def _character(number: int) -> str:
    """A character of its own for each number; there are none at the surrogates."""
    return chr(number + 1 if number < 0xD7FF else number + 0x801)


def _within(old: str, new: str, start: int, seconds: float) -> list[Hunk]:
    """Changes within lines, by character, as people would make them; `old` begins at `start`."""
    if (at := new.find(old)) >= 0:
        # All of it is still there, in one piece: it is not to be made of other letters.
        end = start + len(old)
        around = [Hunk(start, start, new[:at]), Hunk(end, end, new[at + len(old) :])]
        return [hunk for hunk in around if hunk.text]
    hunks: list[Hunk] = []
    position, read = start, 0
    begin, inserted = start, ""
    pending = False
    for operation, length in fast_diff_match_patch.diff(
        old, new, timelimit=seconds, checklines=True, cleanup="Semantic"
    ):
        if operation == "=":
            if pending:
                hunks.append(Hunk(begin, position, inserted))
                inserted, pending = "", False
            position += length
            read += length
            continue
        if not pending:
            begin, pending = position, True
        if operation == "-":
            position += length
        else:
            inserted += new[read : read + length]
            read += length
    if pending:
        hunks.append(Hunk(begin, position, inserted))
    return hunks


def apply(hunks: list[Hunk], text: Text, content: str) -> None:
    """Apply hunks made for `content` (the text as it is now), last first, inside a transaction.

    The CRDT library counts UTF-8 bytes; an offset inside a character would silently append.
    """
    ascii_only = content.isascii()
    for hunk in reversed(hunks):
        if ascii_only:
            start, end = hunk.start, hunk.end
        else:
            start = len(content[: hunk.start].encode())
            end = start + len(content[hunk.start : hunk.end].encode())
        if end > start:
            del text[start:end]
        if hunk.text:
            text.insert(start, hunk.text)


def merged(base: str, theirs: str, ours: str) -> str:
    """Both changes of `base`, merged as if two replicas had made them.

    Of what both put in one place theirs comes first, and what ours replaces is replaced where it
    is: text that theirs added right before or behind it stays there.
    """
    # Of two insertions at one place, that of the smaller client id comes first.
    beginning = _replica(1, b"", [Hunk(0, 0, base)], "").get_update()
    merged = _replica(2, beginning, diff(base, theirs), base)
    merged.apply_update(_replica(3, beginning, diff(base, ours), base).get_update())
    return str(merged.get(CONTENT, type=Text))


def _replica(client: int, update: bytes, hunks: list[Hunk], content: str) -> Doc[Text]:
    """A document made by `client` of another one's update, with hunks applied to its `content`."""
    document: Doc[Text] = Doc(client_id=client)
    text = document.get(CONTENT, type=Text)
    if update:
        document.apply_update(update)
    with document.transaction():
        for hunk in reversed(hunks):
            # The new text before the old one goes, so that it is on this side of what others put
            # behind that.
            start = len(content[: hunk.start].encode())
            if hunk.text:
                text.insert(start, hunk.text)
            end = start + len(hunk.text.encode())
            length = len(content[hunk.start : hunk.end].encode())
            if length:
                del text[end : end + length]
    return document


def overlap(one: list[Hunk], other: list[Hunk]) -> bool:
    """Whether two sets of hunks for the same text touch the same words."""
    mine, theirs = 0, 0
    while mine < len(one) and theirs < len(other):
        a, b = one[mine], other[theirs]
        if a.start <= b.end and b.start <= a.end:
            return True
        if a.end < b.start:
            mine += 1
        else:
            theirs += 1
    return False


def is_stale(base: str, written: str, found: str) -> bool:
    """Whether a program made `found` from `base`, not knowing that `written` had replaced it.

    It shows none of the lines that `written` brought, however they may have been reformatted, and
    holds again what `written` took away. A program that does know is far more common, so that any
    trace of `written` speaks for it. A beginning of `written` is a file that is being written.
    """
    if written.startswith(found):
        return False
    before = Counter(base.split("\n"))
    after = Counter(written.split("\n"))
    now = Counter(found.split("\n"))
    brought, removed = after - before, before - after
    if not brought:
        return bool(removed) and removed <= now
    new = "".join(_letters(line) for line in found.split("\n") if line not in before)
    # An empty line, or the line end at the end, shows nothing when there is more to look for.
    telling = [line for line in brought if line] or [*brought]
    return not any(
        line in now - before or (_letters(line) and _letters(line) in new) for line in telling
    )


def _letters(line: str) -> str:
    """What a formatter leaves of a line, wherever it breaks it."""
    return "".join(char for char in line if char.isalnum())
