"""Values taken out of what programs print, as it comes.

A value may stand across the borders of chunks, so that the end of a chunk that could be the
beginning of one is held back until more comes. Looked for are the value, its lines, as JSON, in a
URL, and in base64 wherever it begins in what was encoded. Whoever wants to can print it otherwise
(reversed, in hexadecimal, character by character): this keeps accidents from being seen, not people
who may run programs from what their programs know.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

SHORTEST = 6  # bytes; shorter values would take ordinary text away
LONGEST = 4096  # bytes of a pattern; of longer values, the lines
HIDDEN = "[secret %s]"


class Redactor:
    """`values`: what is to be hidden, by name. Feed it with chunks, and `flush` it at the end."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._names: dict[bytes, bytes] = {}
        for name, value in values.items():
            for form in forms(value):
                self._names.setdefault(form, (HIDDEN % name).encode())
        # The longest first: a value that another one begins with is found whole.
        self._patterns = sorted(self._names, key=len, reverse=True)
        self._search = re.compile(b"|".join(map(re.escape, self._patterns)) or rb"(?!)")
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What may be shown by now."""
        if not self._patterns:
            return chunk
        text = self._held + chunk
        shown: list[bytes] = []
        at, hold = 0, self._unfinished(text, 0)
        for match in self._search.finditer(text):
            if match.start() >= hold:
                break  # more may make it another, longer one
            shown += (text[at : match.start()], self._names[match[0]])
            at = match.end()
            if at > hold:
                hold = self._unfinished(text, at)
        shown.append(text[at:hold])
        self._held = text[hold:]
        return b"".join(shown)

    def flush(self) -> bytes:
        """The rest; nothing comes any more."""
        rest, self._held = self._held, b""
        return self._search.sub(lambda match: self._names[match[0]], rest)

    def _unfinished(self, text: bytes, start: int) -> int:
        """Where, from `start` on, what may become a value begins; the end, if nothing may."""
        earliest = len(text)
        for pattern in self._patterns:
            at = text.find(pattern[:1], max(start, len(text) - len(pattern) + 1))
            while 0 <= at < earliest:
                if pattern.startswith(text[at:]):
                    earliest = at
                    break
                at = text.find(pattern[:1], at + 1)
        return earliest


def forms(value: bytes) -> list[bytes]:
    """How a value may stand in a text; none of one that is too short."""
    value = value.strip()
    parts = [value]
    if b"\n" in value:
        # A terminal ends lines its own way, and programs print them one by one.
        parts.append(value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        parts += [line.strip() for line in value.splitlines()]
    found: dict[bytes, None] = {}
    for part in parts:
        if SHORTEST <= len(part) <= LONGEST:
            for form in _written(part):
                found[form] = None
    return list(found)


def _written(part: bytes) -> Iterable[bytes]:
    yield part
    try:
        text = part.decode()
    except UnicodeDecodeError:
        pass
    else:
        yield json.dumps(text)[1:-1].encode()
        yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
        yield quote(text, safe="").encode()
        yield quote(text).encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # Three bytes are four characters; of those at either end, some bits are the
            # neighbours', so that only what is the value's alone can be looked for.
            encoded = encode(b"\0" * before + part).rstrip(b"=")
            begin = (0, 2, 3)[before]
            end = len(encoded) - (1 if (before + len(part)) % 3 else 0)
            if end - begin >= SHORTEST:
                yield encoded[begin:end]
