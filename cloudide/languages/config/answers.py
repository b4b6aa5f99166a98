"""What the configuration server answers: pure functions of a document and a place in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from lsprotocol import types as lsp

from cloudide.languages.config.documents import Document, Json
from cloudide.languages.known import LANGUAGES
from cloudide.project.places import Place, Span

SOURCE = "cloudide"
_HEADER = re.compile(r"\[\[?([^\]\n]*)$")
_WORD = re.compile(r"[A-Za-z0-9_$.-]*$")
_WORD_REST = re.compile(r"[A-Za-z0-9_$-]*")


def diagnostics(document: Document) -> list[lsp.Diagnostic]:
    """Everything that is wrong, where it is. An unknown key is a warning: it does nothing."""
    found: list[lsp.Diagnostic] = []
    for mistake in document.mistakes:
        span = document.places.span_of(mistake)
        if mistake.offset >= 0:
            span = _around_error(document.text, mistake.offset)
        severity = lsp.DiagnosticSeverity.Warning if mistake.unknown else None
        found.append(
            lsp.Diagnostic(
                document.range(span),
                mistake.message,
                severity=severity or lsp.DiagnosticSeverity.Error,
                source=SOURCE,
            )
        )
    return found


def _around_error(text: str, offset: int) -> Span:
    """Something to underline: from where reading failed to the end of the word or line."""
    if offset >= len(text) or text[offset] in "\r\n":
        return Span(
            max(0, offset - 1) if offset and text[offset - 1] not in "\r\n" else offset, offset
        )
    word = re.compile(r"\w+|.").match(text, offset)
    return Span(offset, word.end() if word else offset)


def hover(document: Document, offset: int) -> lsp.Hover | None:
    """What the key under the cursor means, its type, its values and its default."""
    place = document.places.at(offset)
    if place is None or not place.path:
        return None
    path = place.path
    while path and isinstance(path[-1], int):
        path = path[:-1]
    schema = document.schema_at(path)
    if "description" not in schema and "type" not in schema:
        return None
    name = ".".join(map(str, path))
    parts = [f"**{name}**: {_type_name(schema)}", schema.get("description", "")]
    if "enum" in schema:
        parts.append("One of " + ", ".join(f"`{json.dumps(each)}`" for each in schema["enum"]))
    if schema.get("default") not in (None, "", [], {}) and not isinstance(schema["default"], dict):
        parts.append(f"Default: `{json.dumps(schema['default'])}`")
    span = place.key if place.key and place.key.holds(offset) else place.value
    text = "\n\n".join(part for part in parts if part)
    return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, text), document.range(span))


def _type_name(schema: Json) -> str:
    if "enum" in schema:
        return "choice"
    options = [_type_name(each) for each in schema.get("anyOf", []) if each.get("type") != "null"]
    names = {"object": "table", "array": "list", "string": "text", "boolean": "true or false"}
    kind = schema.get("type", "")
    return " or ".join(dict.fromkeys(options)) or names.get(kind, kind) or "any value"


def definition(document: Document, offset: int) -> lsp.Location | None:
    """Where what a value names is: the task of a dependency, or a file."""
    place = document.places.at(offset)
    if place is None or place.kind != "string" or not place.value.holds(offset):
        return None
    value = _value_at(document.value, place)
    if not isinstance(value, str):
        return None
    if document.format == "toml":
        if len(place.path) == 4 and place.path[2] == "depends_on":
            target = document.places.find((place.path[0], value))
            if target is not None:
                span = target.key or target.value
                return lsp.Location(document.uri, document.range(span))
        return None
    path = tuple(part for part in place.path if isinstance(part, str))
    if path in (("build", "dockerfile"), ("dockerFile",), ("dockerComposeFile",)) and value:
        folder = document.uri.rpartition("/")[0]
        start = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))
        return lsp.Location(_joined(folder, value), start)
    return None


def _joined(folder: str, path: str) -> str:
    """A relative path from a folder's URI, never above its root."""
    scheme, _, rest = folder.partition("://")
    parts = rest.split("/")
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1] if len(parts) > 1 else parts
        elif part not in ("", "."):
            parts.append(quote(part))
    return f"{scheme}://{'/'.join(parts)}"


def _value_at(value: Any, place: Place) -> Any:
    for key in place.path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


# ── completion ──────────────────────────────────────────────────────────────────────────────────


def completions(document: Document, offset: int) -> list[lsp.CompletionItem]:
    """Keys, tables and values that may stand at the cursor."""
    return list(_toml(document, offset) if document.format == "toml" else _json(document, offset))


def _toml(document: Document, offset: int) -> Iterator[lsp.CompletionItem]:
    line = document.text[document.text.rfind("\n", 0, offset) + 1 : offset]
    if header := _HEADER.match(line.lstrip()):
        yield from _headers(document, offset, header[1])
        return
    if line.lstrip().startswith("#"):
        return
    place = _valued(document, offset)
    if place is not None:
        yield from _values(document, place, offset)
        return
    around = document.places.around(offset)
    if around.kind == "list":
        yield from _values(document, Place((*around.path, 0), None, Span(offset, offset)), offset)
    elif _WORD.fullmatch(line.lstrip()) or (around.path and not around.header):
        yield from _keys(document, around, offset)


def _headers(document: Document, offset: int, typed: str) -> Iterator[lsp.CompletionItem]:
    section, dot, _ = typed.partition(".")
    span = Span(offset - len(typed), offset)
    if not dot:
        for name, schema in document.properties(()).items():
            yield _item(document, span, name, f"{name}.", schema, lsp.CompletionItemKind.Module)
    elif section.strip() == "languages":
        there = set(document.places.children(("languages",)))
        for language in LANGUAGES:
            if language not in there and "." not in language:
                text = f"languages.{language}"
                yield _item(document, span, language, text, {}, lsp.CompletionItemKind.Module)


def _keys(document: Document, around: Place, offset: int) -> Iterator[lsp.CompletionItem]:
    there = set(document.places.children(around.path))
    start = offset - len(_word_before(document.text, offset))
    rest = _WORD_REST.match(document.text, offset)
    span = Span(start, rest.end() if rest else offset)
    typed = document.text[span.start : span.end]
    follows = re.compile(r"[ \t]*=").match(document.text, span.end) is not None
    for name, schema in document.properties(around.path).items():
        if name in there and name != typed:
            continue
        text = name if follows else f"{name} = "
        yield _item(document, span, name, text, schema, lsp.CompletionItemKind.Property)


def _json(document: Document, offset: int) -> Iterator[lsp.CompletionItem]:
    touched = document.places.at(offset)
    if touched is not None and touched.key is not None and touched.key.holds(offset):
        around = document.places.find(touched.path[:-1]) or document.places.around(offset)
        yield from _json_keys(document, around, touched.key, touched)
        return
    place = _valued(document, offset)
    if place is not None:
        yield from _values(document, place, offset)
        return
    around = document.places.around(offset)
    if around.kind == "list":
        yield from _values(document, Place((*around.path, 0), None, Span(offset, offset)), offset)
    elif around.kind == "table":
        yield from _json_keys(document, around, Span(offset, offset), None)


def _json_keys(
    document: Document, around: Place, span: Span, touched: Place | None
) -> Iterator[lsp.CompletionItem]:
    there = set(document.places.children(around.path))
    typed = touched.path[-1] if touched else None
    valued = touched is not None and touched.value.start > span.end
    for name, schema in document.properties(around.path).items():
        if name in there and name != typed:
            continue
        text = json.dumps(name) + ("" if valued else ": ")
        yield _item(document, span, name, text, schema, lsp.CompletionItemKind.Property, '"' + name)


def _valued(document: Document, offset: int) -> Place | None:
    """The place whose value the cursor is at: in it, or between its key and it."""
    found = None
    for place in document.places:
        if place.header or place.kind in ("table", "list"):
            continue
        start = place.key.end + 1 if place.key else place.value.start
        if place.key and place.value.start <= place.key.end:
            continue  # a key without a value
        if start <= offset <= place.value.end:
            found = place
    return found


def _values(document: Document, place: Place, offset: int) -> Iterator[lsp.CompletionItem]:
    schema = document.schema_at(place.path)
    span = place.value if place.value.holds(offset) else Span(offset, offset)
    values: list[Any] = list(schema.get("enum", []))
    if schema.get("type") == "boolean":
        values = [True, False]
    if document.format == "toml" and len(place.path) == 4 and place.path[2] == "depends_on":
        section = str(place.path[0])  # tasks or services
        values = [name for name in document.value.get(section, {}) if name != place.path[1]]
        if not values:  # the text is not in order just now
            names = dict.fromkeys(document.places.children((section,)))
            values = [name for name in names if name != place.path[1]]
    for value in values:
        text = json.dumps(value, ensure_ascii=False)
        label = value if isinstance(value, str) else text
        yield _item(document, span, label, text, {}, lsp.CompletionItemKind.Value, text)


def _item(
    document: Document,
    span: Span,
    label: str,
    text: str,
    schema: Json,
    kind: lsp.CompletionItemKind,
    filter_text: str | None = None,
) -> lsp.CompletionItem:
    description = schema.get("description")
    return lsp.CompletionItem(
        label,
        kind=kind,
        detail=_type_name(schema) if schema else None,
        documentation=lsp.MarkupContent(lsp.MarkupKind.Markdown, description)
        if description
        else None,
        filter_text=filter_text,
        text_edit=lsp.TextEdit(document.range(span), text),
    )


def _word_before(text: str, offset: int) -> str:
    found = re.compile(r"[A-Za-z0-9_$-]*$").search(text, max(0, offset - 200), offset)
    return found[0] if found else ""
