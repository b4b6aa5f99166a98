"""Real language servers in a container, on the source of real packages, while two people type.

What text a server has is seen by what it answers. Into the source two people type lines of which
each has a symbol of its own behind a note, and they write and delete in the notes and all around:
the server has to find exactly these symbols, each at its line and column in the text of the room.
So nothing that was typed can be missing in its text, be there twice, or be counted wrong. (What
breaks the syntax cannot be looked for like that; there each symbol has to be where it says.)
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from editor import WAIT_SECONDS, Editor
from lsprotocol import types as lsp
from peer import Peer
from pygls.io_ import run_websocket
from pygls.lsp.client import LanguageClient
from server import ADMIN_TOKEN, Server

Json = dict[str, Any]
HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
OURS: Json = {
    "experimental": {"cloudide": {"edits": True}},
    "textDocument": {"documentSymbol": {"hierarchicalDocumentSymbolSupport": True}},
}
EDITS = 25  # of each person in a round
LETTERS = ["a", "z ", "é", "ß", "字", "😀", "🇺🇳"]
MODULES = "/usr/local/lib/language-servers/node_modules"


class Case(NamedTuple):
    """`source` is copied to `path`; `function` is one that is put in, and `mark` a line with a
    symbol `name` behind a `note`."""

    language: str
    server: str
    path: str
    source: str
    comment: str
    function: str
    mark: str


CASES = [
    Case(
        "python",
        "basedpyright",
        "json/decoder.py",
        "cp -r /usr/lib/python3.11/json .",
        "# ",
        "def {name}():\n    return 1\n",
        '"{note}"; {name} = 1\n',
    ),
    Case(
        "typescript",
        "typescript",
        "analyser.ts",
        f"cp {MODULES}/bash-language-server/src/analyser.ts .",
        "// ",
        "function {name}() {{\n    return 1;\n}}\n",
        "/* {note} */ function {name}() {{ return 1; }}\n",
    ),
    Case(
        "c",
        "clangd",
        "cgo/gcc_libinit.c",
        "cp -r /usr/lib/go-*/src/runtime/cgo .",
        "// ",
        "int {name}(void) {{\n    return 1;\n}}\n",
        "/* {note} */ int {name}(void) {{ return 1; }}\n",
    ),
    Case(
        "go",
        "gopls",
        "list/list.go",
        "cp -r /usr/lib/go-*/src/container/list . && rm list/*_test.go"
        " && printf 'module example.org/list\\n' > list/go.mod",
        "// ",
        "func {name}() int {{\n\treturn 1\n}}\n",
        "/* {note} */ func {name}() int {{ return 1 }}\n",
    ),
]


@pytest.fixture(scope="module")
async def workspace(server: Server) -> AsyncIterator[str]:
    workspace = await server.api.create("languages", image="polyglot")
    for case in CASES:
        exit, output = await server.api.run(workspace, "sh", "-c", case.source)
        assert exit == {"code": 0}, output
    yield workspace
    await server.api.remove(workspace)


@asynccontextmanager
async def editing(server: Server, workspace: str, language: str) -> AsyncIterator[Editor]:
    path = f"/api/v1/workspaces/{workspace}/lsp/{language}"
    async with (
        server.api.socket(path, max_size=None) as socket,
        Editor(socket) as editor,
    ):
        await editor.initialize(OURS)
        yield editor


def peer(server: Server, workspace: str, path: str) -> Peer:
    url = f"{server.url}/api/v1/workspaces/{workspace}/collab/{path}"
    return Peer(url, additional_headers=HEADERS)


def symbols(answer: Any) -> list[Json]:
    return [
        symbol for each in answer or [] for symbol in (each, *symbols(each.get("children", [])))
    ]


def at(text: str, place: Json) -> str:
    """What stands in a range of one line."""
    line = re.split(r"\r\n|\r|\n", text)[place["start"]["line"]].encode("utf-16-le")
    start, end = place["start"]["character"], place["end"]["character"]
    return line[2 * start : 2 * end].decode("utf-16-le")


async def break_at_random(case: Case, client: Peer, seed: int) -> None:
    """Functions and comments come, lines go, and with them what holds the text together."""
    chance = random.Random(seed)  # noqa: S311
    for number in range(EDITS // 2):
        text = str(client)
        # What a file begins with stays, or all of it is nothing to some servers.
        starts = [found.end() for found in re.finditer("\n", text)]
        start = chance.choice(starts[len(starts) // 4 :])
        if chance.random() < 0.3:
            await delete(client, start, text.find("\n", start) + 1)
        elif chance.random() < 0.5:
            await client.insert(start, f"{case.comment}\u00e9 \U0001f600 {seed}\n")
        else:
            await client.insert(start, case.function.format(name=f"added_{abs(seed)}_{number}"))
        await asyncio.sleep(0)


async def delete(client: Peer, start: int, end: int) -> None:
    text = str(client)
    if end > start:
        first = len(text[:start].encode())
        del client.text[first : first + len(text[start:end].encode())]
        await client.flush()


def marks(case: Case, who: str, text: str) -> list[re.Match[str]]:
    """The lines of somebody that have a symbol, with `note` and `name`."""
    note, name = r"(?P<note>[^\n]*)", rf"(?P<name>{who}_\d+)"
    line = re.escape(case.mark.format(note="NOTE", name="NAME"))
    return [*re.finditer(line.replace("NOTE", note).replace("NAME", name), text)]


async def type_at_random(case: Case, client: Peer, who: str, seed: int) -> None:
    """Lines come and go, and notes in them are written; each person in their own, so that what one
    deletes is never in the middle of what the other writes."""
    chance = random.Random(seed)  # noqa: S311
    for number in range(EDITS):
        text, kind = str(client), chance.random()
        own = marks(case, who, text)
        if kind < 0.3 or not own:
            name = f"{who}_{seed * EDITS + number}"
            line = case.mark.format(note=chance.choice(LETTERS), name=name)
            await client.insert(chance.choice(own).start() if own else len(text), line)
        elif kind < 0.4:
            await delete(client, *chance.choice(own).span())
        elif kind < 0.5:
            # Anywhere in the source, where a line begins.
            starts = [found.end() for found in re.finditer("\n", text)]
            start = chance.choice(starts[3:])
            await client.insert(start, f"{case.comment}{chance.choice(LETTERS)}\n")
        else:
            start, end = chance.choice(own).span("note")
            at = chance.randint(start, end)
            if chance.random() < 0.4:
                await delete(client, at, min(at + chance.randint(1, 3), end))
            else:
                await client.insert(at, chance.choice(LETTERS))
        await asyncio.sleep(0)


def places(case: Case, text: str) -> dict[str, tuple[int, int]]:
    """Where the symbols of both people's lines are, in lines and UTF-16 units."""
    found: dict[str, tuple[int, int]] = {}
    for mark in (*marks(case, "ada", text), *marks(case, "bob", text)):
        start = text.rindex("\n", 0, mark.start("name")) + 1
        column = len(text[start : mark.start("name")].encode("utf-16-le")) // 2
        found[mark["name"]] = (text.count("\n", 0, start), column)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.server)
async def test_a_real_server(
    server: Server, workspace: str, case: Case, soak: Callable[[int, int], int]
) -> None:
    root = f"/api/v1/workspaces/{workspace}"
    async with (
        peer(server, workspace, case.path) as ada,
        peer(server, workspace, case.path) as bob,
        editing(server, workspace, case.language) as editor,
    ):
        for each in (ada, bob):
            await each.until(lambda each=each: each.answered)
        uri = f"file:///workspace/{case.path}"
        document = {"textDocument": {"uri": uri}}
        await editor.open(uri)

        async def ask(method: str, **params: Any) -> Any:
            return await editor.request(f"textDocument/{method}", {**document, **params})

        # Something to find at the end, whatever happens before it.
        original = str(ada)
        await ada.append("\n" + case.function.format(name="the_last"))

        async def settled() -> str:
            for each in (ada, bob):
                await each.saved()
            await ada.until(lambda: str(ada) == str(bob))
            return str(ada)

        for round in range(soak(40, 4)):
            await asyncio.gather(
                type_at_random(case, ada, "ada", round), type_at_random(case, bob, "bob", round)
            )
            expected = places(case, await settled())
            assert len(expected) > EDITS // 10
            starts = {
                symbol["name"].partition("(")[0]: symbol["selectionRange"]["start"]
                for symbol in symbols(await ask("documentSymbol"))
            }
            found = {
                name: (place["line"], place["character"])
                for name, place in starts.items()
                if re.fullmatch(r"(ada|bob)_\d+", name)
            }
            assert found == expected
        for round in range(soak(10, 1)):
            seed = 10 * round + 1
            await asyncio.gather(
                break_at_random(case, ada, seed), break_at_random(case, bob, seed + 1)
            )
            text = await settled()
            all_of_them = symbols(await ask("documentSymbol"))
            assert all_of_them
            for symbol in all_of_them:
                name = symbol["name"].rpartition(".")[2].partition("(")[0]
                there = at(text, symbol["selectionRange"])
                assert name in there or there in symbol["name"], (symbol, there)
        # Back to what compiles: one person's edit of all of it.
        del ada.text[0 : len(str(ada).encode())]
        await ada.insert(0, original + "\n" + case.function.format(name="the_last"))
        await ada.saved()
        place = {"line": str(ada).count("\n", 0, str(ada).index("the_last"))}
        place["character"] = str(ada).splitlines()[place["line"]].index("the_last") + 1
        hover = await ask("hover", position=place)
        assert "the_last" in str(hover["contents"])
        await editor.until(lambda: uri in editor.diagnostics or case.server == "gopls")
        edited = await ask("rename", position=place, newName="renamed_here")
        assert (edited["files"], edited["edits"]) == ([case.path], 1)
        for each in (ada, bob):
            await each.until(lambda each=each: "renamed_here" in str(each))
        await ada.append(case.comment + "meanwhile\n")
        await ada.saved()
        await server.api.post(f"{root}/edits/{edited['id']}/undo")
        for each in (ada, bob):
            await each.until(lambda each=each: "renamed_here" not in str(each))
            assert str(each).endswith("meanwhile\n")
            assert str(each).count("the_last") == 1
        view = await server.api.get(f"{root}/languages")
        shown = next(each for each in view["servers"] if each["id"] == case.server)
        assert (shown["state"], shown["clients"], shown["restarts"]) == ("running", 1, 0)
        assert shown["version"]
        assert shown["memory"] > 0


async def test_two_servers_for_python_answer_as_one(server: Server, workspace: str) -> None:
    await server.api.write(workspace, "unused.py", "import os\n\nx: int = 'text'\n")
    async with editing(server, workspace, "python") as editor:
        uri = "file:///workspace/unused.py"
        await editor.open(uri)

        def sources() -> set[str]:
            found = editor.diagnostics.get(uri, {"diagnostics": []})["diagnostics"]
            return {each.get("source", "") for each in found}

        await editor.until(lambda: {"basedpyright", "Ruff"} <= sources())


async def test_a_client_that_knows_nothing_of_us(server: Server, workspace: str) -> None:
    """pygls's own, with its own websocket loop: whole texts, plain positions, no extension."""
    text = "def greet(name: str) -> str:\n    return name\n\n\ngreet(1)\n"
    await server.api.write(workspace, "plain.py", text)
    uri = "file:///workspace/plain.py"
    client = LanguageClient("plain", "1")
    diagnosed: asyncio.Queue[lsp.PublishDiagnosticsParams] = asyncio.Queue()

    @client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def publish(params: lsp.PublishDiagnosticsParams) -> None:
        diagnosed.put_nowait(params)

    stop = threading.Event()
    path = f"/api/v1/workspaces/{workspace}/lsp/python"
    async with server.api.socket(path, max_size=None) as socket, asyncio.timeout(WAIT_SECONDS):
        running = asyncio.create_task(
            run_websocket(websocket=socket, stop_event=stop, protocol=client.protocol)
        )
        await asyncio.sleep(0)
        capabilities = lsp.ClientCapabilities()
        result = await client.initialize_async(lsp.InitializeParams(capabilities=capabilities))
        assert result.capabilities.hover_provider
        client.initialized(lsp.InitializedParams())
        item = lsp.TextDocumentItem(uri, "python", 1, text)
        client.text_document_did_open(lsp.DidOpenTextDocumentParams(item))
        document = lsp.TextDocumentIdentifier(uri)
        place = lsp.Position(4, 2)
        hover = await client.text_document_hover_async(lsp.HoverParams(document, place))
        assert hover is not None
        assert "greet" in str(hover.contents)
        found = await client.text_document_definition_async(lsp.DefinitionParams(document, place))
        assert isinstance(found, list)
        assert isinstance(found[0], lsp.Location)
        assert (found[0].uri, found[0].range.start) == (uri, lsp.Position(0, 4))
        edit = await client.text_document_rename_async(lsp.RenameParams(document, place, "hello"))
        assert edit is not None
        assert edit.changes is not None
        assert [each.new_text for each in edit.changes[uri]] == ["hello", "hello"]
        while not any("str" in each.message for each in (await diagnosed.get()).diagnostics):
            pass
        # What it types goes nowhere; what others type is what it is served.
        async with peer(server, workspace, "plain.py") as ada:
            await ada.until(lambda: str(ada) == text)
            await ada.insert(0, "# new\n")
            await ada.saved()
            hover = await client.text_document_hover_async(lsp.HoverParams(document, place))
            assert hover is not None
            assert "greet" in str(hover.contents)
            assert str(ada) == "# new\n" + text
        await client.shutdown_async(None)
        client.exit(None)
        await socket.close()
        await running
