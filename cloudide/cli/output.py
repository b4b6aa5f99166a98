"""What commands print: a table for people, or JSON for programs."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

GAP = "  "


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


class Output:
    def __init__(self, format: Format) -> None:
        self.format = format

    def rows(self, rows: Sequence[Mapping[str, Any]], *columns: str) -> None:
        """Each thing in a line: these of its fields, or all of it as JSON."""
        if self.format is Format.JSON:
            self._json(rows)
            return
        lines = [[name.replace("_", " ").upper() for name in columns]]
        lines += [[_cell(row.get(name)) for name in columns] for row in rows]
        widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (
                cell + " " * (width - _width(cell))
                for cell, width in zip(line, widths, strict=True)
            )
            _print(GAP.join(cells).rstrip())

    def one(self, thing: Mapping[str, Any]) -> None:
        """One thing: a line for each of its fields."""
        if self.format is Format.JSON:
            self._json(thing)
            return
        width = max(map(len, thing), default=0)
        for name, value in thing.items():
            _print(f"{name.replace('_', ' '):{width}}{GAP}{_cell(value)}".rstrip())

    def said(self, sentence: str, **thing: Any) -> None:
        """Something was done: a sentence, or what it was done to as JSON."""
        if self.format is Format.JSON:
            self._json(thing)
        else:
            _print(_visible(sentence))

    def _json(self, value: Any) -> None:
        _print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _cell(value: Any) -> str:
    """A value as people read it."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_cell, value)) or "-"
    if isinstance(value, Mapping):
        return msgspec.json.encode(value).decode()
    return _visible(_when(str(value)))


def _when(text: str) -> str:
    """A time of the server's (RFC 3339) in ours; anything else as it is."""
    if len(text) < 20 or text[10:11] != "T":
        return text
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text


def when(seconds: float) -> str:
    """Seconds since the epoch, as the server writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _visible(text: str) -> str:
    """Without what would move a terminal's cursor or change its colours: names are others'."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_control(each) else each for each in text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _width(text: str) -> int:
    """Columns of a terminal."""
    return sum(
        0
        if unicodedata.combining(each)
        else 2
        if unicodedata.east_asian_width(each) in ("W", "F")
        else 1
        for each in text
    )
