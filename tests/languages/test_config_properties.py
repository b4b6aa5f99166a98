"""Whatever is in a file: reading it never fails, and formatting never changes what it says."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudide.languages.config import answers, formatting
from cloudide.languages.config.documents import Document
from cloudide.project import jsonc, toml

TOML = "file:///workspace/cloudide.toml"
JSON = "file:///workspace/devcontainer.json"

# Pieces that mean something in either format, put together at random.
PIECES = [
    *("[", "]", "{", "}", ",", ":", "=", ".", '"', "'", '"""', "'''", "\\", "#", "//", "/*", "*/"),
    *("\n", "\r\n", " ", "\t", "a", "b.c", "tasks", "command", "true", "1", "-2.5e3", "é", "😀"),
]
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)

floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)

# Parts of TOML that may follow each other; each pair has a key of its own.
spaces = st.sampled_from(["", " ", "\t", "   "])
toml_values = st.sampled_from(
    [
        *("1", "'a = b'", '"x # y"', "[1,2 , 3]", "[\n  1, # one\n\n\n  2,\n]", "{a=1,  b = 'c'}"),
        *(
            '"""\n  a = 1  \n\n\n[t]\n"""',
            "'''\n x\n\n\n y=2  '''",
            "1979-05-27 07:32:00",
            "[{a=1}]",
        ),
    ]
)
toml_lines = st.tuples(spaces, spaces, toml_values, st.sampled_from(["", " # why", "  "]))


@given(texts)
@settings(max_examples=300, deadline=None)
def test_any_text_is_read(text: str) -> None:
    for uri in (TOML, JSON):
        document = Document(uri, text)
        found = answers.diagnostics(document)
        for place in document.places:
            assert 0 <= place.value.start <= place.value.end <= len(text)
        for each in found:
            assert document.offset(each.range.start) <= document.offset(each.range.end)
        for offset in range(0, len(text) + 1, 3):
            answers.completions(document, offset)
            answers.hover(document, offset)
            answers.definition(document, offset)
            assert document.offset(document.position(offset)) == offset or text[offset - 1] == "\r"
        formatting.edits(document, "  ")


@given(json_values, st.sampled_from([None, 1, "\t"]))
@settings(max_examples=150, deadline=None)
def test_json_means_what_it_means_to_others(value: Any, indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    read, places, mistakes = jsonc.read(text)
    assert mistakes == [] or "is there twice" in mistakes[0].message
    assert read == value
    for place in places:
        inner = value
        for key in place.path:
            inner = inner[key]
        assert json.loads(text[place.value.start : place.value.end]) == inner
    formatted = applied(JSON, text)
    assert jsonc.read(formatted)[0] == value
    assert applied(JSON, formatted) == formatted


@given(st.lists(toml_lines | st.sampled_from(["", "# a remark", "[t{}]", " [[l]]  "]), max_size=8))
@settings(max_examples=150, deadline=None)
def test_formatting_toml_keeps_its_meaning(lines: list[Any]) -> None:
    text = ""
    for number, line in enumerate(lines):
        if isinstance(line, str):
            text += line.format(number) + "\n"
        else:
            before, behind, value, rest = line
            text += f"k{number}{before}={behind}{value}{rest}\n"
    formatted = applied(TOML, text)
    assert tomllib.loads(formatted) == tomllib.loads(text)
    assert applied(TOML, formatted) == formatted
    assert {place.path for place in toml.places(formatted)} == {p.path for p in toml.places(text)}


def applied(uri: str, text: str) -> str:
    document = Document(uri, text)
    for edit in reversed(formatting.edits(document, "  ")):
        start, end = document.offset(edit.range.start), document.offset(edit.range.end)
        text = text[:start] + edit.new_text + text[end:]
    return text
