"""Where the keys and values of a TOML text stand (TOML 1.0).

Values are tomllib's business; this looks for places only, and is content with a text that somebody
is in the middle of typing: what it cannot read it skips, to the end of the line.
"""

from __future__ import annotations

import re
import tomllib

from cloudide.project.places import Path, Place, Places, Span

DEPTH_LIMIT = 50  # lists and inline tables within one another

_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\\n])*"'),
    re.compile(r"'[^'\n]*'"),
)
_REST = re.compile(r"[^,\]}#\n]*")


class _Unreadable(Exception):
    pass


def places(text: str) -> Places:
    """The places of all keys and values; lists of tables have the number of each in their paths."""
    scanner = _Scanner(text)
    scanner.document()
    return Places(scanner.places, len(text))


def too_deep(text: str) -> int:
    """Where a text nests more deeply than anybody needs, or -1.

    To be asked before tomllib is, which takes long for keys of thousands of parts.
    """
    for place in places(text):
        if len(place.path) > DEPTH_LIMIT:
            return (place.key or place.value).start
    return -1


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: list[Place] = []
        self._counts: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        header: tuple[Path, Span, int] | None = None
        while True:
            self._skip(_SPACE)
            if self.at >= len(self.text):
                break
            start = self.at
            try:
                if self.text[start] == "[":
                    self._close(header, start)
                    header = None
                    table, key = self._header()
                    header = table, key, len(self.places)
                else:
                    self._pair(table, 0)
            except _Unreadable:
                self._to_line_end()
        self._close(header, len(self.text))

    def _close(self, header: tuple[Path, Span, int] | None, end: int) -> None:
        if header is not None:
            path, key, index = header
            start = self.text.find("\n", key.end)
            start = start + 1 if 0 <= start < end else end
            self.places.insert(index, Place(path, key, Span(start, end), "table", True))

    def _header(self) -> tuple[Path, Span]:
        """`[a.b]` or `[[a.b]]`; also one whose end is not written yet."""
        listed = self.text.startswith("[[", self.at)
        self.at += 2 if listed else 1
        self._skip(_BLANK)
        path, key = self._key()
        brackets = "]]" if listed else "]"
        if self.text.startswith(brackets, self.at):
            self.at += len(brackets)
        self._to_line_end()
        path = self._numbered(path)
        if listed:
            number = self._counts[path] = self._counts.get(path, -1) + 1
            path = (*path, number)
        return path, key

    def _numbered(self, path: Path) -> Path:
        """The path with the number of the last table of each list on the way."""
        if len(path) > DEPTH_LIMIT:
            return path
        whole: Path = ()
        for index, part in enumerate(path):
            whole = (*whole, part)
            if whole in self._counts and index < len(path) - 1:
                whole = (*whole, self._counts[whole])
        return whole

    def _key(self) -> tuple[Path, Span]:
        """A key, dotted or not. Its span is that of all of it."""
        start, parts = self.at, list[str]()
        while True:
            self._skip(_BLANK)
            parts.append(self._part())
            end = self.at
            self._skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return tuple(parts), Span(start, end)
            self.at += 1

    def _part(self) -> str:
        if found := _BARE.match(self.text, self.at):
            self.at = found.end()
            return found[0]
        for pattern in _STRINGS[2:]:
            if found := pattern.match(self.text, self.at):
                self.at = found.end()
                try:
                    return next(iter(tomllib.loads(f"{found[0]} = 0")))
                except tomllib.TOMLDecodeError:
                    return found[0][1:-1]
        raise _Unreadable

    def _pair(self, table: Path, depth: int) -> None:
        key_path, key = self._key()
        self._skip(_BLANK)
        if not self.text.startswith("=", self.at):
            # Somebody is typing a key; it has no value yet.
            self.places.append(Place((*table, *key_path), key, Span(key.end, key.end)))
            raise _Unreadable
        self.at += 1
        self._skip(_BLANK)
        self._value((*table, *key_path), key, depth)

    def _value(self, path: Path, key: Span | None, depth: int) -> None:
        if depth > DEPTH_LIMIT:
            raise _Unreadable
        start, index = self.at, len(self.places)
        opening = self.text[start : start + 1]
        if opening == "[":
            self._list(path, depth)
            kind = "list"
        elif opening == "{":
            self._inline(path, depth)
            kind = "table"
        elif opening in ('"', "'") and opening:
            string = next((s for p in _STRINGS if (s := p.match(self.text, start))), None)
            self.at = string.end() if string else self._line_end()
            kind = "string"
        else:
            rest = _REST.match(self.text, start)
            assert rest is not None  # it matches nothing too
            self.at = start + len(rest[0].rstrip())
            kind = "scalar"
        self.places.insert(index, Place(path, key, Span(start, self.at), kind))

    def _list(self, path: Path, depth: int) -> None:
        self.at += 1
        number = 0
        while True:
            self._skip(_SPACE)
            if self.at >= len(self.text) or self.text[self.at] == "]":
                self.at += 1 if self.at < len(self.text) else 0
                return
            before = self.at
            self._value((*path, number), None, depth + 1)
            number += 1
            self._skip(_SPACE)
            if self.text.startswith(",", self.at):
                self.at += 1
            elif self.at == before:  # nothing that can stand here: the list ends unclosed
                return

    def _inline(self, path: Path, depth: int) -> None:
        self.at += 1
        while True:
            self._skip(_BLANK)
            if self.text.startswith("}", self.at):
                self.at += 1
                return
            try:
                self._pair(path, depth + 1)
            except _Unreadable:
                rest = _REST.match(self.text, self.at)
                self.at = rest.end() if rest else self.at
            self._skip(_BLANK)
            if self.text.startswith(",", self.at):
                self.at += 1
            elif not self.text.startswith("}", self.at):
                return  # the line ends before the table does

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _line_end(self) -> int:
        end = self.text.find("\n", self.at)
        return len(self.text) if end < 0 else end

    def _to_line_end(self) -> None:
        self.at = self._line_end()
