"""JSON with comments and trailing commas, as `devcontainer.json` has it: values and their places.

The reader goes on after a mistake, so that a text that somebody is in the middle of typing still
has places; each mistake is told with its offset.
"""

from __future__ import annotations

import json
import re
from typing import Any

from cloudide.project.places import Path, Place, Places, Span
from cloudide.project.problems import Mistake

DEPTH_LIMIT = 64
MISTAKES_LIMIT = 100

_SPACE = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
_WORD = re.compile(r"[^\s,:{}\[\]\"/]+")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORDS = {"true": True, "false": False, "null": None}


def read(text: str) -> tuple[Any, Places, list[Mistake]]:
    """The value (None where there is none), the places, and what is wrong with the text."""
    reader = _Reader(text)
    value = reader.document()
    return value, Places(reader.places, len(text)), reader.mistakes


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: list[Place] = []
        self.mistakes: list[Mistake] = []

    def document(self) -> Any:
        value = self._value((), None, 0)
        self._skip()
        if self.at < len(self.text):
            self._wrong("Here the document should end.")
        return value

    def _value(self, path: Path, key: Span | None, depth: int) -> Any:
        self._skip()
        start, index = self.at, len(self.places)
        opening = self.text[start : start + 1]
        kind, value = "scalar", None
        if opening in ("{", "[") and depth >= DEPTH_LIMIT:
            self._wrong("Values are nested too deeply.")
            self.at = len(self.text)
        elif opening == "{":
            kind, value = "table", self._object(path, depth)
        elif opening == "[":
            kind, value = "list", self._array(path, depth)
        elif opening == '"':
            kind, value = "string", self._string()
        else:
            value = self._scalar()
        self.places.insert(index, Place(path, key, Span(start, self.at), kind))
        return value

    def _object(self, path: Path, depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        self.at += 1
        while not self._ends("}"):
            start = self.at
            if self.text[start] != '"':
                self._wrong('A key in double quotes is expected here, or "}".')
                if not self._skip_word():
                    return value
                name = self.text[start : self.at]
            else:
                name = self._string()
            key = Span(start, self.at)
            if name in value:
                self._wrong(f"The key {name[:100]!r} is there twice.", start)
            self._skip()
            if colon := self.text.startswith(":", self.at):
                self.at += 1
            else:
                self._wrong('":" and a value are expected here.', key.end)
            # Without a colon what follows may still be the value.
            if colon or self.text[self.at : self.at + 1] not in ("", ",", "}", "]", '"'):
                value[name] = self._value((*path, name), key, depth + 1)
            else:
                self.places.append(Place((*path, name), key, Span(key.end, key.end)))
            if not self._comma("}"):
                return value
        self.at += self.at < len(self.text)
        return value

    def _array(self, path: Path, depth: int) -> list[Any]:
        value: list[Any] = []
        self.at += 1
        while not self._ends("]"):
            before = self.at
            value.append(self._value((*path, len(value)), None, depth + 1))
            if not self._comma("]") or self.at == before:
                return value
        self.at += self.at < len(self.text)
        return value

    def _ends(self, bracket: str) -> bool:
        self._skip()
        if self.at >= len(self.text):
            self._wrong(f'"{bracket}" is missing.')
            return True
        return self.text[self.at] == bracket

    def _comma(self, bracket: str) -> bool:
        """After an item: whether another, or the bracket, may follow."""
        self._skip()
        if self.text.startswith(",", self.at):
            self.at += 1
            return True
        if self.at >= len(self.text) or self.text[self.at] == bracket:
            return True
        self._wrong(f'"," or "{bracket}" is expected here.')
        # Another item without its comma is read; a bracket of another kind ends this one.
        return self.text[self.at] not in "]}:"

    def _string(self) -> str:
        found = _STRING.match(self.text, self.at)
        if found is None:
            self._wrong("The string does not end on this line.")
            end = self.text.find("\n", self.at)
            start, self.at = self.at, len(self.text) if end < 0 else end
            return self.text[start + 1 : self.at]
        start, self.at = self.at, found.end()
        try:
            return json.loads(found[0])
        except ValueError:
            self._wrong("The string holds a control character or an unknown escape.", start)
            return found[0][1:-1]

    def _scalar(self) -> Any:
        start = self.at
        if not self._skip_word():
            self._wrong("A value is expected here.")
            return None
        word = self.text[start : self.at]
        if word in _WORDS:
            return _WORDS[word]
        if _NUMBER.fullmatch(word) and len(word) < 400:
            return json.loads(word)
        self._wrong(f"{word[:100]!r} is not a value; is it missing its double quotes?", start)
        return word

    def _skip_word(self) -> bool:
        found = _WORD.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found is not None

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _wrong(self, message: str, offset: int = -1) -> None:
        if len(self.mistakes) < MISTAKES_LIMIT:
            self.mistakes.append(Mistake(message, offset=self.at if offset < 0 else offset))
