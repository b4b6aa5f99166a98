"""What ripgrep is told, and what it says: `rg --json` (grep-printer, "JSON output"), strictly read.

Pure: the program runs elsewhere. Everything that comes from it comes from a container, so that each
line is bounded and typed, and whatever is not understood is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

QUERY_LIMIT = 4096  # characters
GLOBS_LIMIT = 50  # of files to look in, and of those not to
LINE_LIMIT = 1024 * 1024  # bytes of one of its messages; a longer line of text is left out
SHOWN = 300  # characters of a line that are shown
BEFORE = 80  # of them, at most, before its first match
FILE_SIZE = "20M"
NEWLINE = "\ue0f0\ue0f1"  # in a replacement, as ripgrep's output has a line for each match

_COMMON = ("--no-config", "--color=never", "--hidden", "--glob=!**/.git/**")


class Query(msgspec.Struct, frozen=True):
    """`query` is a text, or with `regex` an expression (Rust's `regex` crate). `include` and
    `exclude`: patterns as in .gitignore. `ignored`: also what .gitignore names."""

    query: str
    regex: bool = False
    case: bool = False
    word: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignored: bool = False


class Match(msgspec.Struct, frozen=True):
    """`line` counts from 1. `start` and `end` are columns in UTF-16 units, `bytes` in bytes of
    UTF-8, both from 0; `text` is what matched."""

    line: int
    start: int
    end: int
    bytes: tuple[int, int]
    text: str


class Line(msgspec.Struct, frozen=True):
    """A line with matches. `text` is the part of it that is shown, from its column `offset`."""

    text: str
    offset: int
    matches: list[Match]


class Found(msgspec.Struct, frozen=True):
    path: str
    lines: list[Line]

    @property
    def count(self) -> int:
        return sum(len(line.matches) for line in self.lines)


def arguments(query: Query, paths: Sequence[str] = ()) -> list[str]:
    """The command for a search, in `paths` (default: everywhere)."""
    return ["rg", "--json", *_selection(query), "--", query.query, *_paths(paths)]


def replacing(query: Query, replacement: str, paths: Sequence[str]) -> list[str]:
    """The command that prints, for each match, what it becomes: `path NUL line:column:text`."""
    text = _GROUP.sub(_number, replacement).replace("\n", NEWLINE)
    shape = ("--only-matching", "--line-number", "--column", "--no-heading", "--null")
    return [
        *("rg", *shape, "--with-filename", f"--replace={text}"),
        *_selection(query),
        *("--", query.query, *_paths(paths)),
    ]


# To ripgrep "$1st" is the group "1st"; to everybody else the first group, and "st".
_GROUP = re.compile(r"\$(\$|\d+)")


def _number(group: re.Match[str]) -> str:
    return "$$" if group[1] == "$" else f"${{{group[1]}}}"


def listing() -> list[str]:
    """The command that prints the paths of all files, each with a NUL behind it."""
    return ["rg", "--files", "--null", *_COMMON, "--sort=path", "--", "./"]


def _selection(query: Query) -> Iterator[str]:
    yield from _COMMON
    yield f"--max-filesize={FILE_SIZE}"
    yield "--crlf"  # so that $ is where people see the end of a line
    if not query.regex:
        yield "--fixed-strings"
    yield "--case-sensitive" if query.case else "--ignore-case"
    if query.word:
        yield "--word-regexp"
    if query.ignored:
        yield "--no-ignore"
    for glob in query.include:
        yield f"--glob={_glob(glob)}"
    for glob in query.exclude:
        yield f"--glob=!{_glob(glob)}"


def _glob(pattern: str) -> str:
    """`src/` and `./src` are what people write for all below."""
    pattern = pattern.strip().removeprefix("./").lstrip("!")
    return f"{pattern}**" if pattern.endswith("/") else pattern


def _paths(paths: Sequence[str]) -> list[str]:
    return [f"./{path}" for path in paths] or ["./"]


class _Text(msgspec.Struct):
    """ripgrep's "arbitrary data": without `text` it is not UTF-8."""

    text: str | None = None


class _Submatch(msgspec.Struct):
    match: _Text
    start: int
    end: int


class _Data(msgspec.Struct):
    path: _Text | None = None
    lines: _Text | None = None
    line_number: int | None = None
    submatches: list[_Submatch] = []


class _Message(msgspec.Struct):
    type: str
    data: _Data


_decoder = msgspec.json.Decoder(_Message)


class Reader:
    """Turns output, as it comes, into files with their matches."""

    def __init__(self) -> None:
        self.skipped = False  # something was too long to be looked at
        self._partial = bytearray()
        self._dropping = False
        self._path = ""
        self._lines: list[Line] = []

    def feed(self, data: bytes) -> Iterator[Found]:
        for part in data.splitlines(keepends=True):
            whole = part.endswith(b"\n")
            if self._dropping:
                self._dropping = not whole
                continue
            self._partial += part
            if len(self._partial) > LINE_LIMIT:
                self._partial.clear()
                self.skipped = True
                self._dropping = not whole
            elif whole:
                line = bytes(self._partial)
                self._partial.clear()
                yield from self._take(line)

    def end(self) -> Iterator[Found]:
        """What is left when the program was ended in the middle of a file."""
        yield from self._flush()

    def _take(self, line: bytes) -> Iterator[Found]:
        try:
            message = _decoder.decode(line)
        except msgspec.DecodeError:
            self.skipped = True
            return
        data = message.data
        match message.type:
            case "begin":
                self._path = _path(data.path)
            case "match" if self._path and data.lines and data.line_number:
                if found := _line(data.lines, data.line_number, data.submatches):
                    self._lines.append(found)
            case "end":
                yield from self._flush()
            case _:
                pass  # the summary, or what a later version adds

    def _flush(self) -> Iterator[Found]:
        if self._path and self._lines:
            yield Found(self._path, self._lines)
        self._path, self._lines = "", []


def _path(path: _Text | None) -> str:
    """ "" for a path that is not UTF-8: no editor could open it."""
    text = (path.text or "") if path else ""
    return text.removeprefix("./")


def _line(lines: _Text, number: int, submatches: Sequence[_Submatch]) -> Line | None:
    if lines.text is None:
        return None  # not UTF-8: it opens in no editor, and its columns would be others
    raw = lines.text.encode()
    text = lines.text.rstrip("\r\n")
    size = len(text.encode())
    matches: list[Match] = []
    for each in submatches:
        if not 0 <= each.start <= each.end <= len(raw):
            continue
        end = min(each.end, size)
        start = min(each.start, end)
        try:
            before, part = raw[:start].decode(), raw[start:end].decode()
        except UnicodeDecodeError:
            continue
        at = _units(before)
        matches.append(Match(number, at, at + _units(part), (start, end), part[:SHOWN]))
    if not matches:
        return None
    first = len(raw[: matches[0].bytes[0]].decode())
    cut = max(0, first - BEFORE) if len(text) > SHOWN else 0
    return Line(text[cut : cut + SHOWN], _units(text[:cut]), matches)


def _units(text: str) -> int:
    """The length as JavaScript and LSP count it."""
    return len(text.encode("utf-16-le")) // 2


_REPLACED = re.compile(r"(\d+):(\d+):(.*)", re.DOTALL)


def replaced(output: bytes) -> dict[tuple[str, int, int], str]:
    """What `replacing` printed: by path, line from 1 and column in bytes from 0, the new text."""
    found: dict[tuple[str, int, int], str] = {}
    for line in output.decode(errors="replace").split("\n"):
        # With --crlf each of its lines ends so.
        path, _, rest = line.removesuffix("\r").partition("\0")
        if read := _REPLACED.fullmatch(rest):
            text = read[3].replace(NEWLINE, "\n")
            found[path.removeprefix("./"), int(read[1]), int(read[2]) - 1] = text
    return found


def paths_of(output: bytes, limit: int) -> tuple[list[str], bool]:
    """The paths that `listing` printed, and whether there are more than `limit`."""
    names = output.split(b"\0")[:-1]
    found: list[str] = []
    for name in names[:limit]:
        try:
            found.append(name.decode().removeprefix("./"))
        except UnicodeDecodeError:
            continue  # no editor could open it
    return found, len(names) > limit
