"""What our language server answers about `cloudide.toml` and `devcontainer.json`."""

from __future__ import annotations

import pytest
from lsprotocol import types as lsp

from cloudide.languages.config import answers, formatting
from cloudide.languages.config.documents import Document
from cloudide.project import devcontainer, jsonc, toml
from cloudide.project.places import Span

TOML = "file:///workspace/cloudide.toml"
JSON = "file:///workspace/.devcontainer/devcontainer.json"


def at(text: str, uri: str) -> tuple[Document, int]:
    """The document of a text and the offset of the cursor, which is written `|` in it."""
    offset = text.index("|")
    return Document(uri, text.replace("|", "", 1)), offset


def labels(text: str, uri: str = TOML) -> list[str]:
    return [item.label for item in answers.completions(*at(text, uri))]


def completed(text: str, label: str, uri: str = TOML) -> str:
    """The text after that completion was taken."""
    document, offset = at(text, uri)
    (item,) = [item for item in answers.completions(document, offset) if item.label == label]
    assert isinstance(item.text_edit, lsp.TextEdit)
    return applied(document, [item.text_edit])


def applied(document: Document, edits: list[lsp.TextEdit]) -> str:
    text = document.text
    for edit in reversed(edits):
        start, end = document.offset(edit.range.start), document.offset(edit.range.end)
        text = text[:start] + edit.new_text + text[end:]
    return text


def marked(document: Document) -> list[tuple[str, str]]:
    """What is underlined, and why."""
    found = answers.diagnostics(document)
    return [
        (document.text[document.offset(d.range.start) : document.offset(d.range.end)], d.message)
        for d in found
    ]


# ── mistakes ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("[tasks.a]\ncommand = 'x'\ncomand = 'x'\n", "comand", "no key 'comand'"),
        ("[tasks.a]\ncwd = 'x'\n", "tasks.a", "command is missing"),
        ("[tasks.a]\ncommand = 1\n", "1", "command: Expected"),
        ("[tasks.a]\ncommand = 'x'\nenv = { A = '1', B = 2 }\n", "2", "env.B"),
        ("[tasks.a]\ncommand = 'x'\nenv.B = 2\n", "2", "env.B"),
        ("[tasks.a]\ncommand = 'x'\ninputs = [\n 'ok',\n '../up',\n]\n", "'../up'", "not a path"),
        ("[tasks.a]\ncommand = 'x'\ninputs = ['a', 2]\n", "2", "inputs.1"),
        ('[tasks."ä b"]\ncommand = "x"\n', 'tasks."ä b"', "A name has"),
        ("other = 1\n", "other", "means nothing here"),
        ("[languages.zig]\nextensions = ['a/b']\n", "'a/b'", "not the end of a name"),
        ("[languages.zig]\ncommand = 'zls \"'\n", "'zls \"'", "not a command line"),
        ("[tasks.a]\ncommand = = 'x'\n", "=", "This is not TOML"),
        ("[tasks.a]\r\ncommand = 'x\r\n", "", "This is not TOML"),
    ],
)
def test_a_mistake_in_toml_is_where_it_is(text: str, where: str, message: str) -> None:
    (found,) = marked(Document(TOML, text))
    assert message in found[1]
    if where:
        assert found[0] == where


def test_all_mistakes_are_told_at_once() -> None:
    text = "[tasks.a]\ncommand = 1\ncwd = 2\nwhat = 3\n[tasks.b]\ncommand = ''\n"
    assert [where for where, _ in marked(Document(TOML, text))] == ["1", "2", "what", "''"]


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ('{"image": 1}', "1", "image: Expected"),
        ('{"image": "a", "waitFor": "never"}', '"never"', "waitFor"),
        ('{"build": {"args": {"A": 1}}}', "1", "build.args.A"),
        ('{"image": "a", "build": {}}', '"image"', "means nothing beside build"),
        ('{"dockerComposeFile": "a"}', '"dockerComposeFile"', "service is missing"),
        ('{"image": "a", // why\n "forwardPorts": [80, 1.5,],}', "1.5", "forwardPorts.1"),
        ('{"image": "a" "name": "b"}', '"', '"," or "}" is expected'),
        ('{"image": a}', "a", "missing its double quotes"),
        ('{"image": "a", "image": "b"}', '"', "is there twice"),
        ('{"image" "a"}', "", '":" and a value'),
        ("{}", "", "It says no image"),
        ("[]", "", "is an object"),
        ('{"image": "a"} x', "x", "should end"),
    ],
)
def test_a_mistake_in_json_is_where_it_is(text: str, where: str, message: str) -> None:
    found = marked(Document(JSON, text))
    assert message in found[0][1]
    if where:
        assert found[0][0] == where


def test_a_good_file_has_no_mistakes() -> None:
    assert answers.diagnostics(Document(TOML, "[tasks.a]\ncommand = 'x'\n[languages.q]\n")) == []
    text = (
        '{\n  // all\n  "image": "a", /* of it */\n  "features": {"x": {"y": 1}},\n  "own": 1,\n}\n'
    )
    assert answers.diagnostics(Document(JSON, text)) == []


@pytest.mark.parametrize(
    "letter", ["[", "{", '"', "'", "/*", "[[a]]\n", "a={b=", '{"a":', "\0", "a.b=1\n"]
)
def test_hostile_texts_end_soon(letter: str) -> None:
    """Nothing in them takes more than its length: no recursion, no quadratic search."""
    text = letter * (60_000 // len(letter))
    for uri in (TOML, JSON):
        document = Document(uri, text)
        assert answers.diagnostics(document)
        answers.completions(document, len(text))
        assert len(document.mistakes) <= 2 * devcontainer.MISTAKES_LIMIT


def test_positions_are_counted_as_the_client_counts() -> None:
    text = '[tasks.a]\ncommand = "😀é"\nenv = { "😀" = 1 }\n'
    for encoding, column in (("utf-16", 15), ("utf-8", 17), ("utf-32", 14)):
        document = Document(TOML, text, encoding)
        (found,) = answers.diagnostics(document)
        assert (found.range.start.line, found.range.start.character) == (2, column)
        assert document.offset(found.range.start) == text.index("1 }")
    # Only these end a line.
    assert Document(TOML, "a\x0bb\x0c\u2028c\rd\r\ne\nf").position(12) == lsp.Position(3, 0)


# ── places ──────────────────────────────────────────────────────────────────────────────────────


def test_places_of_toml() -> None:
    text = "a.b = 1\n[t]\nc = [1, {d = 2}]\n[[l]]\nx = 1\n[[l]]\nx = 2\n[l.m]\ny = 3\n"
    found = {place.path: text[place.value.start : place.value.end] for place in toml.places(text)}
    assert found[("a", "b")] == "1"
    assert found[("t", "c", 1, "d")] == "2"
    assert found[("l", 1, "x")] == "2"
    assert found[("l", 1, "m", "y")] == "3"
    assert found[("t",)] == "c = [1, {d = 2}]\n"


def test_json_is_read_as_json_is() -> None:
    text = '\ufeff{"a": [1, -2.5e3, true, null, "\\u00e4"], /* c */ "b": {},}'
    value, places, mistakes = jsonc.read(text)
    assert value == {"a": [1, -2500.0, True, None, "ä"], "b": {}}
    assert mistakes == []
    assert places.find(("a", 4)) is not None
    assert places.around(text.index("{}") + 1).path == ("b",)
    assert places.at(text.index("true")) is not None
    assert Span(1, 3).holds(3)


# ── completion ──────────────────────────────────────────────────────────────────────────────────


def test_completion_in_toml() -> None:
    assert labels("[|") == ["workspace", "ports", "tasks", "languages", "services", "prebuild"]
    assert "python" in labels("[languages.|]\n")
    assert "python" not in labels("[languages.python]\n[languages.|")
    assert "command" in labels("[tasks.a]\n|\n[tasks.b]\ncommand = 'x'\n")
    assert "command" not in labels("[tasks.a]\ncommand = 'x'\n|")
    assert labels("[tasks.a]\nbackground = |\n") == ["true", "false"]
    assert labels("[tasks.a]\ndepends_on = ['|']\n[tasks.b]\n[tasks.'c d']\n") == ["b", "c d"]
    assert labels("[tasks.a]\ndepends_on = [|]\n[tasks.b]\n") == ["b"]
    assert labels("[tasks.a]\ncwd = '|'\n") == []
    assert labels("# [tasks.a|\n") == []
    assert completed("[tasks.a]\ncom|\n", "command") == "[tasks.a]\ncommand = \n"
    assert completed("[tasks.a]\nc|wd = 'x'\n", "command") == "[tasks.a]\ncommand = 'x'\n"
    assert completed("[languages.py|", "python") == "[languages.python"


def test_completion_in_json() -> None:
    assert "image" in labels("{|}", JSON)
    assert "image" not in labels('{"image": "a", |}', JSON)
    assert "dockerfile" in labels('{"build": {"do|"}}', JSON)
    assert labels('{"waitFor": "|"}', JSON)[:1] == ["initializeCommand"]
    assert labels('{"init": |}', JSON) == ["true", "false"]
    assert completed('{"im|"}', "image", JSON) == '{"image": }'
    assert completed('{"im|": "a"}', "image", JSON) == '{"image": "a"}'
    assert (
        completed('{"waitFor": "|"}', "onCreateCommand", JSON) == '{"waitFor": "onCreateCommand"}'
    )
    assert completed('{"waitFor": |', "onCreateCommand", JSON) == '{"waitFor": "onCreateCommand"'


# ── hover, definition, formatting ───────────────────────────────────────────────────────────────


def test_hover_says_what_a_key_means() -> None:
    document, offset = at("[tasks.a]\ncommand = 'x'\nready_|when = 80\n", TOML)
    hover = answers.hover(document, offset)
    assert hover is not None
    assert isinstance(hover.contents, lsp.MarkupContent)
    assert hover.contents.value.startswith("**tasks.a.ready_when**: text or integer")
    assert hover.range == lsp.Range(lsp.Position(2, 0), lsp.Position(2, 10))
    hover = answers.hover(*at('{"build": {"docker|file": "x"}}', JSON))
    assert hover is not None
    assert "relative to this file" in str(hover.contents)
    assert answers.hover(*at('{"own": "docker|file"}', JSON)) is None


def test_definitions() -> None:
    text = "[tasks.a]\ndepends_on = ['|b']\n[tasks.b]\ncommand = 'x'\n"
    found = answers.definition(*at(text, TOML))
    assert found is not None
    assert found.range.start == lsp.Position(2, 1)
    found = answers.definition(*at('{"build": {"dockerfile": "../Docker|file"}}', JSON))
    assert found is not None
    assert found.uri == "file:///workspace/Dockerfile"
    assert answers.definition(*at('{"name": "../Docker|file"}', JSON)) is None


@pytest.mark.parametrize(
    ("uri", "before", "after"),
    [
        (
            TOML,
            "[tasks.a]\ncommand='x'   \nenv   = {A=1}\n\n\n\n[tasks.b]\ncommand  =  'y' # why",
            None,
        ),
        (TOML, 'a = """\n  x  \n\n\n[y]\n"""  \n', 'a = """\n  x  \n\n\n[y]\n"""\n'),
        (JSON, '{"a":1,"b":[1,2 , 3]}', '{ "a": 1, "b": [1, 2, 3] }\n'),
        (
            JSON,
            '{// all\n"a":{"b":1},\n\n\n  /* x */ "c":[\n1,2]}',
            '{ // all\n  "a": { "b": 1 },\n\n  /* x */\n  "c": [\n    1,\n    2\n  ]\n}\n',
        ),
    ],
)
def test_formatting(uri: str, before: str, after: str | None) -> None:
    if after is None:
        after = "[tasks.a]\ncommand = 'x'\nenv = {A = 1}\n\n[tasks.b]\ncommand = 'y' # why\n"
    document = Document(uri, before)
    assert applied(document, formatting.edits(document, "  ")) == after
    # What is well formed stays as it is.
    assert formatting.edits(Document(uri, after), "  ") == []


def test_a_text_that_is_not_in_order_is_not_formatted() -> None:
    assert formatting.edits(Document(TOML, "[tasks.a\nx=1"), "  ") == []
    assert formatting.edits(Document(JSON, '{"a":'), "  ") == []
