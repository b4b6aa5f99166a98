"""Formatting of `cloudide.toml` and `devcontainer.json`; comments stay, and so does what is said.

TOML: one space around `=`, an empty line before each table, no spaces at line ends. JSON: what is
written over several lines is indented anew, what stands on one line stays there.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from lsprotocol import types as lsp

from cloudide.languages.config.documents import Document
from cloudide.project.places import Span

_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n\ufeff]+)|(?P<line>//[^\n]*)|(?P<block>/\*.*?\*/)"
    r'|(?P<string>"(?:\\.|[^"\\\n])*")|(?P<mark>[{}\[\],:])|(?P<word>[^\s{}\[\],:"/]+)',
    re.DOTALL,
)
_TEXT = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}', re.DOTALL)
WHOLE = 2000  # lines; a longer text is replaced as one


def edits(document: Document, indent: str) -> list[lsp.TextEdit]:
    """What makes the text well formed, in few and small pieces; nothing while it has mistakes of
    form, since nobody knows what it is to become."""
    if any(mistake.offset >= 0 for mistake in document.mistakes) or document.value is None:
        return []
    text = document.text
    new = _toml(document) if document.format == "toml" else _json(text, indent)
    before, after = text.splitlines(keepends=True), new.splitlines(keepends=True)
    if len(before) > WHOLE or len(after) > WHOLE:
        return [] if text == new else [lsp.TextEdit(document.range(Span(0, len(text))), new)]
    starts = [0]
    for line in before:
        starts.append(starts[-1] + len(line))
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return [
        lsp.TextEdit(document.range(Span(starts[i], starts[j])), "".join(after[k:l]))
        for tag, i, j, k, l in matcher.get_opcodes()  # noqa: E741 - as difflib calls them
        if tag != "equal"
    ]


def _toml(document: Document) -> str:
    text = document.text
    pieces: list[str] = []
    at = 0
    for place in document.places:
        key = place.key
        if key is None or place.header or place.value.start <= key.end or key.start < at:
            continue
        between = text[key.end : place.value.start]
        if between.strip() == "=":
            pieces += [text[at : key.end], " = "]
            at = place.value.start
    return _toml_lines("".join([*pieces, text[at:]]))


def _toml_lines(text: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    # Lines within texts of several lines are what they are.
    texts = [(found.start(), found.end()) for found in _TEXT.finditer(text)]
    lines: list[str] = []
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        if not any(first < end < last for first, last in texts):
            line = line.rstrip()
        if any(first < start < last for first, last in texts):
            lines.append(line)
        elif line or (lines and lines[-1]):  # one empty line is enough
            if line.startswith("[") and lines and lines[-1] and not lines[-1].startswith("#"):
                lines.append("")
            lines.append(line)
        start = end + 1
    text = "\n".join(lines).rstrip("\n")
    return (text + "\n" if text else "").replace("\n", newline)


def _json(text: str, indent: str) -> str:
    parts = [(found.lastgroup or "", found[0]) for found in _TOKEN.finditer(text)]
    broken = _broken(parts)
    out: list[str] = []
    stack: list[bool] = []  # whether what is open goes over several lines
    newlines = 0  # in the space before
    for index, (kind, part) in enumerate(parts):
        if kind == "space":
            newlines = part.count("\n")
            continue
        last = out[-1] if out else ""
        closes = kind == "mark" and part in "}]"
        several = stack[-1] if stack else True
        if closes and stack:
            stack.pop()
        if last and part not in (",", ":"):
            out.append(_between(last, kind, part, newlines, several, indent * len(stack)))
        out.append(part.rstrip() if kind == "line" else part)
        if kind == "mark" and part in "{[":
            stack.append(index in broken)
        newlines = 0
    return "".join(out) + "\n" if out else ""


def _between(
    last: str, kind: str, part: str, newlines: int, several: bool, indentation: str
) -> str:
    """What stands between two parts, other than before `,` and `:`."""
    opened = last in ("{", "[")
    closes = kind == "mark" and part in "}]"
    if last == ":" or (kind in ("line", "block") and not newlines):
        return " "
    if opened and closes:
        return ""
    if not several:
        return "" if last == "[" or part == "]" else " "
    blank = "\n" if newlines > 1 and not opened and not closes else ""
    return f"\n{blank}{indentation}"


def _broken(parts: list[tuple[str, str]]) -> set[int]:
    """The brackets whose inside goes over several lines."""
    broken: set[int] = set()
    stack: list[int] = []
    for index, (kind, part) in enumerate(parts):
        if kind == "mark" and part in "{[":
            stack.append(index)
        elif kind == "mark" and part in "}]" and stack:
            stack.pop()
        elif kind == "line" or "\n" in part:
            broken.update(stack)
    return broken
