"""A configuration file as an editor has it: its text, places, schema and mistakes."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from typing import Any

import msgspec
from lsprotocol import types as lsp

from cloudide.project import configuration, devcontainer, jsonc, schema, toml
from cloudide.project.places import Path, Places, Span
from cloudide.project.problems import Mistake

Json = dict[str, Any]

_LINE_END = re.compile(r"\r\n|\r|\n")
_SCHEMAS: dict[str, Json] = {
    "toml": msgspec.json.schema(schema.Configuration),
    "jsonc": msgspec.json.schema(devcontainer.Configuration),
}


def format_of(uri: str) -> str:
    """ "toml" or "jsonc" by the file's name; "" of a file that is none of ours."""
    name = uri.rpartition("/")[2]
    if name == schema.FILE:
        return "toml"
    return "jsonc" if name in devcontainer.FILES else ""


class Document:
    """One text. Everything is computed when it is first asked for, and may take a while for a
    large one: ask in a thread."""

    def __init__(self, uri: str, text: str, encoding: str = "utf-16") -> None:
        self.uri = uri
        self.text = text
        self.format = format_of(uri)
        self._encoding = encoding
        ends = [found.end() for found in _LINE_END.finditer(text)]
        self._starts = [0, *ends]

    # ── positions ───────────────────────────────────────────────────────────────────────────────

    def position(self, offset: int) -> lsp.Position:
        line = bisect_right(self._starts, offset) - 1
        before = self.text[self._starts[line] : offset]
        return lsp.Position(line, _units(before, self._encoding))

    def range(self, span: Span) -> lsp.Range:
        return lsp.Range(self.position(span.start), self.position(span.end))

    def offset(self, position: lsp.Position) -> int:
        """The offset of a position; one that is behind its line or the text is at its end."""
        if position.line >= len(self._starts):
            return len(self.text)
        start = self._starts[position.line]
        later = self._starts[position.line + 1 :][:1]
        line = self.text[start : later[0] if later else len(self.text)].rstrip("\r\n")
        if line.isascii() or self._encoding == "utf-32":
            return start + min(position.character, len(line))
        units = 0
        for index, letter in enumerate(line):
            if units >= position.character:
                return start + index
            units += _units(letter, self._encoding)
        return start + len(line)

    # ── content ─────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _read(self) -> tuple[Any, Places, list[Mistake]]:
        if self.format == "toml":
            # An encoder that knows no lone surrogate: there are none in what LSP carries.
            text, value, mistakes = configuration.load(self.text.encode(errors="replace"))
            if not mistakes:
                mistakes += configuration.everything(value)
            return value, toml.places(text), mistakes
        if len(self.text) > devcontainer.FILE_LIMIT:
            limit = devcontainer.FILE_LIMIT // 1024
            return None, Places([], 0), [Mistake(f"The file is larger than {limit} KiB.")]
        value, places, mistakes = jsonc.read(self.text)
        return value, places, mistakes or devcontainer.check(value)

    @property
    def value(self) -> Any:
        """What the text says; {} of a TOML text that is not in order."""
        return self._read[0]

    @property
    def places(self) -> Places:
        return self._read[1]

    @property
    def mistakes(self) -> list[Mistake]:
        return self._read[2]

    # ── schema ──────────────────────────────────────────────────────────────────────────────────

    def schema_at(self, path: Path) -> Json:
        """The JSON Schema of what is at a path; {} where anything may be."""
        whole = _SCHEMAS[self.format]
        found: Json = whole
        for key in path:
            found = _step(resolve(found, whole), key, whole)
        return {**found, **resolve(found, whole), **_described(found)}

    def properties(self, path: Path) -> dict[str, Json]:
        """The schemas of the keys that a table at a path may have, by key."""
        return self.schema_at(path).get("properties", {})


def resolve(schema: Json, whole: Json) -> Json:
    """Follow a reference within the schema."""
    while reference := schema.get("$ref"):
        schema = whole["$defs"][reference.rpartition("/")[2]]
    return schema


def _step(schema: Json, key: str | int, whole: Json) -> Json:
    for option in schema.get("anyOf", [schema]):
        option = resolve(option, whole)
        if isinstance(key, int):
            found = option.get("items")
        else:
            found = option.get("properties", {}).get(key, option.get("additionalProperties"))
        if isinstance(found, dict):
            return found
    return {}


def _described(schema: Json) -> Json:
    """What a key says of itself goes before what its type says."""
    return {"description": schema["description"]} if "description" in schema else {}


def _units(text: str, encoding: str) -> int:
    if encoding == "utf-32" or text.isascii():
        return len(text)
    if encoding == "utf-8":
        return len(text.encode(errors="replace"))
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2
