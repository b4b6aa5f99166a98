"""Requests while people type: asked about the newest text, answered for the newest text."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from scripted import BOB, EVERYTHING, World, problem, span, uri

Json = dict[str, Any]
HOVER, REFERENCES, RENAME = (
    "textDocument/hover",
    "textDocument/references",
    "textDocument/rename",
)
NATIVE: Json = {"experimental": {"cloudide": {"edits": True}}}


async def test_a_request_ahead_of_its_update_waits_and_asks_about_the_newest_text() -> None:
    world = World(a="name\n")
    server = world.server()
    ada = await world.editor(capabilities=NATIVE)
    await ada.open("a.py")
    world.waiting = asyncio.get_running_loop().create_future()
    anchor, end = base64.b64encode(b"here").decode(), base64.b64encode(b"there").decode()
    world.anchors = {b"here": 8, b"there": 9}
    typing = {"client": 5, "updates": 3, "anchor": anchor, "end": end}
    asking = asyncio.create_task(ada.at(HOVER, "a.py", 0, 2, cloudide=typing, strange=1))
    await asyncio.sleep(0)
    assert server.count(HOVER) == 0
    world.type("a.py", 0, 0, "import\n")  # the update arrives
    world.waiting.set_result(None)
    await asking
    assert [each.get("method") for each in server.heard[-2:]] == [
        "textDocument/didChange",
        HOVER,
    ]
    params = server.asked(HOVER)["params"]
    assert params["position"] == {"line": 1, "character": 1}
    assert params["strange"] == 1
    assert "cloudide" not in params
    world.waiting = None
    ranged = {"textDocument": {"uri": uri("a.py")}, "range": span(0, 0, 1), "cloudide": typing}
    await ada.request("textDocument/inlayHint", ranged, id=2)
    assert server.asked("textDocument/inlayHint")["params"]["range"] == span(1, 1, 2)


@pytest.mark.parametrize("anchor", ["", "?", base64.b64encode(b"nowhere").decode(), "A" * 999])
async def test_without_a_place_that_can_be_found_the_plain_one_counts(anchor: str) -> None:
    world = World(a="name\n")
    server = world.server()
    ada = await world.editor(capabilities=NATIVE)
    await ada.open("a.py")
    await ada.at(HOVER, "a.py", 0, 2, cloudide={"client": 5, "updates": 3, "anchor": anchor})
    assert server.asked(HOVER)["params"]["position"] == {"line": 0, "character": 2}


async def test_ranges_of_an_answer_are_taken_to_the_newest_text() -> None:
    world = World(a="one two\n", b="x\n")
    server = world.server()
    ada = await world.editor(capabilities=NATIVE)
    await ada.open("a.py")
    await ada.open("b.py")
    await ada.at(REFERENCES, "a.py", 0, 0)
    world.type("a.py", 0, 0, "# \U0001f600\n")
    world.type("a.py", 10, 0, "-")
    places = [
        {"uri": uri("a.py"), "range": span(0, 4, 7)},
        {"uri": uri("b.py"), "range": span(0, 0, 1)},
        {"uri": uri("unopened.py"), "range": span(3, 0, 1)},
    ]
    server.answer(server.asked(REFERENCES), places)
    assert ada.answers[1]["result"] == [
        {"uri": uri("a.py"), "range": span(1, 5, 8)},
        {"uri": uri("b.py"), "range": span(0, 0, 1)},
        {"uri": uri("unopened.py"), "range": span(3, 0, 1)},
    ]
    await ada.at(HOVER, "a.py", 1, 0, id=2)
    world.type("a.py", 0, 7, "")
    server.answer(server.asked(HOVER), {"contents": "c", "range": span(1, 0, 3), "data": 1})
    assert ada.answers[2]["result"] == {"contents": "c", "range": span(0, 0, 3), "data": 1}


async def test_an_answer_passes_untouched_while_nobody_types() -> None:
    world = World(a="one two\n")
    server = world.server()
    ada = await world.editor()
    await ada.open("a.py")
    await ada.at(HOVER, "a.py", 0, 0)
    id = server.asked(HOVER)["id"]
    server.say(b'{"jsonrpc":"2.0","id":%d,"result": {"x" : 1.50 } }' % id)
    assert ada.answers[1]["result"] == {"x": 1.5}


async def test_what_would_write_for_an_older_text_is_refused() -> None:
    world = World(a="name\n", b="name\n")
    server = world.server()
    ada = await world.editor()
    await ada.open("a.py")
    await ada.open("b.py")
    edit = {"changes": {uri("b.py"): [{"range": span(0, 0, 4), "newText": "x"}]}}
    for path in ("a.py", "b.py"):
        await ada.at(RENAME, "a.py", 0, 0, id=path, newName="x")
        world.type(path, 0, 0, "!")
        server.answer(server.asked(RENAME), edit)
        assert ada.answers[path]["error"]["code"] == -32801
    await ada.at(RENAME, "a.py", 0, 0, id="fine", newName="x")
    server.answer(server.asked(RENAME), edit)
    assert ada.answers["fine"]["result"] == edit


async def test_what_only_looks_is_asked_once_more() -> None:
    world = World(a="name\n")
    provider = {"legend": {}, "full": True, "range": True}
    server = world.server(capabilities={**EVERYTHING, "semanticTokensProvider": provider})
    ada = await world.editor()
    await ada.open("a.py")
    await ada.at(HOVER, "a.py", 0, 1)
    world.type("a.py", 0, 0, "\n")
    server.fail(server.asked(HOVER), -32801)
    assert server.asked(HOVER)["params"]["position"] == {"line": 1, "character": 1}
    server.fail(server.asked(HOVER), -32801)
    assert ada.answers[1]["error"]["code"] == -32801  # once, not for ever
    full = "textDocument/semanticTokens/full"
    await ada.request(full, {"textDocument": {"uri": uri("a.py")}}, id=2)
    world.type("a.py", 0, 0, "\n")
    server.answer(server.asked(full), {"data": [0, 0, 1, 1, 1]})
    assert 2 not in ada.answers
    server.answer(server.asked(full), {"data": [2, 0, 1, 1, 1]})
    assert ada.answers[2]["result"] == {"data": [2, 0, 1, 1, 1]}
    await ada.at(RENAME, "a.py", 0, 0, id=3, newName="x")
    server.fail(server.asked(RENAME), -32801)
    assert ada.answers[3]["error"]["code"] == -32801


async def test_diagnostics_keep_their_place() -> None:
    world = World(a="one two\n")
    server = world.server()
    ada = await world.editor()
    await ada.open("a.py", version=3)
    version = world.opened["a.py"].version
    world.type("a.py", 0, 0, "\n")  # the server does not know yet what it says it of
    server.notify(
        "textDocument/publishDiagnostics",
        {"uri": uri("a.py"), "version": version, "diagnostics": [problem(0, 4, 7)]},
    )
    assert ada.diagnostics("a.py")["diagnostics"] == [problem(1, 4, 7)]
    said = len(ada.told("textDocument/publishDiagnostics"))
    for _ in range(10):
        world.type("a.py", 0, 0, "\n")
    assert len(ada.told("textDocument/publishDiagnostics")) == said
    world.tick(0.6)
    assert len(ada.told("textDocument/publishDiagnostics")) == said + 1
    assert ada.diagnostics("a.py")["diagnostics"] == [problem(11, 4, 7)]
    world.tick(5)
    assert len(ada.told("textDocument/publishDiagnostics")) == said + 1
    bob = await world.editor(BOB)
    assert bob.diagnostics("a.py")["diagnostics"] == [problem(11, 4, 7)]


async def test_a_plain_editor_is_served_at_its_last_known_version() -> None:
    world = World(a="one two\n")
    server = world.server()
    ada = await world.editor()
    await ada.open("a.py", "one two\n", version=1)
    world.type("a.py", 0, 0, "# new\n")
    await ada.at(HOVER, "a.py", 0, 4)
    assert server.asked(HOVER)["params"]["position"] == {"line": 1, "character": 4}
    server.answer(server.asked(HOVER), {"contents": "two", "range": span(1, 4, 7)})
    assert ada.answers[1]["result"]["range"] == span(0, 4, 7)
    server.notify(
        "textDocument/publishDiagnostics",
        {
            "uri": uri("a.py"),
            "version": world.opened["a.py"].version,
            "diagnostics": [problem(1, 4, 7)],
        },
    )
    assert ada.diagnostics("a.py")["diagnostics"] == [problem(0, 4, 7)]
    change = {
        "textDocument": {"uri": uri("a.py"), "version": 2},
        "contentChanges": [{"text": "# new\none two\n"}],
    }
    await ada.notify("textDocument/didChange", change)
    await ada.at(HOVER, "a.py", 1, 4, id=2)
    assert server.asked(HOVER)["params"]["position"] == {"line": 1, "character": 4}


async def test_another_spelling_of_an_address_is_the_same_document() -> None:
    world = World(a="x\n")
    server = world.server()
    ada = await world.editor()
    odd = "file:///workspace/%61.py"
    item = {"uri": odd, "languageId": "python", "version": 9, "text": ""}
    await ada.notify("textDocument/didOpen", {"textDocument": item})
    place = {"line": 0, "character": 0}
    await ada.request(HOVER, {"textDocument": {"uri": odd}, "position": place})
    assert server.asked(HOVER)["params"]["textDocument"]["uri"] == uri("a.py")
    server.notify(
        "textDocument/publishDiagnostics", {"uri": uri("a.py"), "diagnostics": [problem(0, 0, 1)]}
    )
    (told,) = [each for each in ada.told("textDocument/publishDiagnostics") if each["diagnostics"]]
    assert (told["uri"], told["version"]) == (odd, 9)


async def test_edits_of_our_own_editor_are_applied_here() -> None:
    world = World(a="name\n")
    server = world.server()
    ada = await world.editor(capabilities=NATIVE)
    await ada.open("a.py")
    await ada.at(RENAME, "a.py", 0, 0, newName="x")
    edit = {"changes": {uri("a.py"): [{"range": span(0, 0, 4), "newText": "x"}]}}
    server.answer(server.asked(RENAME), edit)
    await asyncio.sleep(0)
    assert ada.answers[1]["result"] == {
        "id": "e1",
        "label": "Rename",
        "files": ["a.py"],
        "edits": 1,
    }
    ((grant, _, applied, _),) = world.applied
    assert (grant.person.name, applied) == ("Ada", edit)
    options = {"textDocument": {"uri": uri("a.py")}, "options": {}}
    for id, result in (("none", None), ("empty", [])):
        await ada.request("textDocument/formatting", options, id=id)
        server.answer(server.asked("textDocument/formatting"), result)
        assert ada.answers[id]["result"] is None
    await ada.request("textDocument/formatting", options, id="some")
    edits = [{"range": span(0, 0, 0), "newText": " "}]
    server.answer(server.asked("textDocument/formatting"), edits)
    await asyncio.sleep(0)
    assert world.applied[-1][2] == {"changes": {uri("a.py"): edits}}
    action: Json = {"title": "Fix", "data": 1}
    await ada.request("cloudide/applyCodeAction", action, id="act")
    await asyncio.sleep(0)
    command = {"title": "c", "command": "do.it", "arguments": [1]}
    server.answer(server.asked("codeAction/resolve"), {**action, "edit": edit, "command": command})
    for _ in range(3):
        await asyncio.sleep(0)
    assert world.applied[-1][1:3] == ("Fix", edit)
    executing = server.asked("workspace/executeCommand")
    assert executing["params"] == {"command": "do.it", "arguments": [1]}
    server.say({"id": 9, "method": "workspace/applyEdit", "params": {"edit": edit}})
    ((owner, params, done),) = server.edits
    assert (owner, params) == (ada.session, {"edit": edit})
    done("")
    assert server.heard[-1] == {"jsonrpc": "2.0", "id": 9, "result": {"applied": True}}
    server.answer(executing, None)
    for _ in range(3):
        await asyncio.sleep(0)
    assert ada.answers["act"]["result"]["id"] == "e1"


async def test_an_edit_that_nobody_asked_for_has_no_owner() -> None:
    world = World(a="name\n")
    server = world.server()
    server.start()
    server.say({"id": 9, "method": "workspace/applyEdit", "params": {"edit": {}}})
    ((owner, _, done),) = server.edits
    assert owner is None
    done("Nobody asked.")
    assert server.heard[-1]["result"] == {"applied": False, "failureReason": "Nobody asked."}


async def test_several_servers_answer_as_one() -> None:
    world = World(a="name\n")
    first = world.server("first")
    second = world.server(
        "second",
        {
            "textDocumentSync": 2,
            "completionProvider": {"triggerCharacters": ["("]},
            "codeActionProvider": True,
            "executeCommandProvider": {"commands": ["second.do"]},
        },
    )
    ada = await world.editor()
    provider = ada.result["capabilities"]["completionProvider"]
    assert provider["triggerCharacters"] == [".", "("]
    await ada.open("a.py")
    completion = "textDocument/completion"
    await ada.at(completion, "a.py", 0, 0)
    second.answer(second.asked(completion), {"isIncomplete": True, "items": [{"label": "b"}]})
    assert 1 not in ada.answers
    first.answer(first.asked(completion), [{"label": "a", "data": {"x": 1}}])
    result = ada.answers[1]["result"]
    assert [each["label"] for each in result["items"]] == ["a", "b"]
    assert result["isIncomplete"] is True
    await ada.request("completionItem/resolve", result["items"][0], id=2)
    assert first.asked("completionItem/resolve")["params"] == {"label": "a", "data": {"x": 1}}
    await ada.at(completion, "a.py", 0, 0, id=3)
    first.fail(first.asked(completion), -32603)
    second.answer(second.asked(completion), [{"label": "b"}])
    assert [each["label"] for each in ada.answers[3]["result"]["items"]] == ["b"]
    for server, message in ((second, "from second"), (first, "from first")):
        server.notify(
            "textDocument/publishDiagnostics",
            {"uri": uri("a.py"), "diagnostics": [problem(0, 0, 1, message)]},
        )
    messages = [each["message"] for each in ada.diagnostics("a.py")["diagnostics"]]
    assert messages == ["from first", "from second"]
    await ada.request("workspace/executeCommand", {"command": "second.do"}, id=4)
    assert second.count("workspace/executeCommand") == 1
    assert first.count("workspace/executeCommand") == 0
    await ada.at(HOVER, "a.py", 0, 0, id=5)
    assert second.count(HOVER) == 0
