"""One server, many editors: ids, cancellation, what the server asks, what late ones are told."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from scripted import BOB, EVERYTHING, World, problem, span, uri

from cloudide.identity.permissions import Role
from cloudide.languages import diagnostics

Json = dict[str, Any]
HOVER = "textDocument/hover"


async def test_the_same_id_from_two_editors() -> None:
    world = World(a="x = 1\n")
    server = world.server()
    ada, bob = await world.editor(), await world.editor(BOB)
    await ada.at(HOVER, "a.py", 0, 0, id=7)
    first = server.asked(HOVER)
    await bob.at(HOVER, "a.py", 0, 1, id=7)
    second = server.asked(HOVER)
    assert first["id"] != second["id"]
    server.answer(second, "for bob")
    server.answer(first, "for ada")
    assert ada.answers[7]["result"] == "for ada"
    assert bob.answers[7]["result"] == "for bob"


async def test_ids_keep_their_kind() -> None:
    world = World(a="x")
    server = world.server()
    ada = await world.editor()
    for id in ("7", 7, "x-\u00e9", -1):
        await ada.at(HOVER, "a.py", 0, 0, id=id)
        server.answer(server.asked(HOVER), id)
        assert ada.answers[id] == {"jsonrpc": "2.0", "id": id, "result": id}


async def test_a_cancelled_request_is_cancelled_by_its_own_id_and_answered() -> None:
    world = World(a="x")
    server = world.server()
    ada, bob = await world.editor(), await world.editor(BOB)
    await ada.at(HOVER, "a.py", 0, 0, id="q")
    request = server.asked(HOVER)
    await bob.notify("$/cancelRequest", {"id": "q"})
    assert server.told("$/cancelRequest") == []
    await ada.notify("$/cancelRequest", {"id": "q"})
    assert server.told("$/cancelRequest") == [{"id": request["id"]}]
    server.fail(request, -32800)
    assert ada.answers["q"]["error"]["code"] == -32800
    await ada.notify("$/cancelRequest", {"id": "q"})  # too late: it means nothing
    assert len(server.told("$/cancelRequest")) == 1


async def test_a_server_is_initialized_once_and_each_editor_gets_its_result() -> None:
    world = World()
    server = world.server(capabilities={**EVERYTHING, "diagnosticProvider": {"identifier": "x"}})
    ada = await world.editor()
    bob = await world.editor(BOB, capabilities={"experimental": {"cloudide": {"edits": True}}})
    assert server.count("initialize") == server.count("initialized") == 1
    params = server.asked("initialize")["params"]
    assert params["processId"] is None
    assert params["rootUri"] == "file:///workspace"
    offered = ada.result["capabilities"]
    assert offered["hoverProvider"] is True
    assert offered["textDocumentSync"]["change"] == 1
    assert "diagnosticProvider" not in offered
    own = bob.result["capabilities"]
    assert own["textDocumentSync"]["change"] == 0
    assert own["experimental"] == {"cloudide": {"root": "file:///workspace"}}


async def test_one_editors_exit_is_nobody_elses() -> None:
    world = World(a="x")
    server = world.server()
    ada, bob = await world.editor(), await world.editor(BOB)
    await ada.at(HOVER, "a.py", 0, 0, id=1)
    request = server.asked(HOVER)
    await ada.request("shutdown", None, id=2)
    assert ada.answers[2]["result"] is None
    await ada.notify("exit", None)
    ada.leave()
    assert server.count("shutdown") == server.count("exit") == 0
    assert server.told("$/cancelRequest") == [{"id": request["id"]}]
    server.answer(request, "late")
    assert 1 not in ada.answers
    await bob.at(HOVER, "a.py", 0, 0, id=1)
    server.answer(server.asked(HOVER), "still here")
    assert bob.answers[1]["result"] == "still here"


async def test_configuration_is_answered_without_any_editor() -> None:
    world = World()
    settings = {"python": {"analysis": {"mode": "strict"}}}
    server = world.server(settings=settings)
    server.start()
    items = [{"section": "python.analysis"}, {"section": "python.x.y"}, {"scopeUri": "x"}]
    answer = server.ask(1, "workspace/configuration", {"items": items})
    assert answer["result"] == [{"mode": "strict"}, None, settings]
    assert server.told("workspace/didChangeConfiguration") == [{"settings": settings}]


@pytest.mark.parametrize("editors", [0, 2])
async def test_each_request_of_the_server_gets_one_answer(editors: int) -> None:
    world = World()
    server = world.server()
    server.start()
    for _ in range(editors):
        await world.editor()
    asked: list[tuple[str, Any, Any]] = [
        ("workspace/configuration", {"items": [{}]}, [{}]),
        ("workspace/workspaceFolders", None, [{"uri": "file:///workspace", "name": "workspace"}]),
        ("client/registerCapability", {"registrations": [{"id": "1", "method": "m"}]}, None),
        ("client/unregisterCapability", {"unregisterations": [{"id": "1", "method": "m"}]}, None),
        ("window/workDoneProgress/create", {"token": 1}, None),
        ("workspace/semanticTokens/refresh", None, None),
        ("workspace/inlayHint/refresh", None, None),
        ("workspace/diagnostic/refresh", None, None),
    ]
    for number, (method, params, result) in enumerate(asked):
        for id in (number, str(number)):
            assert server.ask(id, method, params)["result"] == result
    for method, params in (
        ("workspace/configuration", {"items": 7}),
        ("workspace/configuration", None),
        ("client/registerCapability", {"registrations": [7]}),
        ("window/workDoneProgress/create", {"token": [1]}),
        ("window/showDocument", {"uri": "https://example.org"}),
        ("no/such/method", {}),
    ):
        assert server.ask("bad", method, params)["error"]["code"] in (-32602, -32601)


async def test_what_a_person_has_to_decide_goes_to_one_editor() -> None:
    world = World()
    server = world.server()
    server.start()
    show: Json = {"type": 3, "message": "Sure?", "actions": [{"title": "Yes"}]}
    assert server.ask(1, "window/showMessageRequest", show)["result"] is None  # nobody is there
    ada, bob = await world.editor(), await world.editor(BOB)
    server.say({"id": 2, "method": "window/showMessageRequest", "params": show})
    assert not ada.told("window/showMessageRequest")
    (request,) = [each for each in bob.heard if each["method"] == "window/showMessageRequest"]
    await bob.say({"id": request["id"], "result": {"title": "Yes"}})
    await bob.say({"id": request["id"], "result": {"title": "again"}})
    assert [each for each in server.heard if each.get("id") == 2] == [
        {"jsonrpc": "2.0", "id": 2, "result": {"title": "Yes"}}
    ]
    server.say({"id": 3, "method": "window/showMessageRequest", "params": show})
    bob.leave()  # without an answer
    assert server.heard[-1] == {"jsonrpc": "2.0", "id": 3, "result": None}
    server.say({"id": 4, "method": "window/showMessageRequest", "params": show})
    world.tick(1000)
    assert server.heard[-1] == {"jsonrpc": "2.0", "id": 4, "result": None}


async def test_late_editors_are_told_registrations_progress_and_diagnostics() -> None:
    world = World(a="x\n")
    server = world.server()
    dynamic: Json = {
        "textDocument": {"hover": {"dynamicRegistration": True}},
        "window": {"workDoneProgress": True},
    }
    ada = await world.editor(capabilities=dynamic)
    kept = {"id": "1", "method": HOVER, "registerOptions": {"x": [1]}}
    other = {"id": "2", "method": "textDocument/codeLens"}
    gone = {"id": "3", "method": HOVER}
    server.ask(1, "client/registerCapability", {"registrations": [kept, other, gone]})
    server.ask(2, "client/unregisterCapability", {"unregisterations": [gone]})
    server.ask(3, "window/workDoneProgress/create", {"token": "t"})
    for value in ({"kind": "begin", "title": "Indexing"}, {"kind": "report", "percentage": 50}):
        server.notify("$/progress", {"token": "t", "value": value})
    server.notify(
        "textDocument/publishDiagnostics", {"uri": uri("a.py"), "diagnostics": [problem(0, 0, 1)]}
    )
    bob = await world.editor(BOB, capabilities=dynamic)
    for editor in (ada, bob):
        registered = [
            each
            for asked in editor.told("client/registerCapability")
            for each in asked["registrations"]
        ]
        assert {**kept, "id": "one:1"} in registered
        assert all(each["method"] == HOVER for each in registered)
        (create,) = editor.told("window/workDoneProgress/create")
        values = [each["value"] for each in editor.told("$/progress")]
        assert [each["kind"] for each in values] == ["begin", "report"]
        assert all(each["token"] == create["token"] for each in editor.told("$/progress"))
        assert editor.diagnostics("a.py")["diagnostics"] == [problem(0, 0, 1)]
    assert len(bob.told("client/registerCapability")[0]["registrations"]) == 1
    plain = await world.editor()
    assert not plain.told("client/registerCapability")
    assert not plain.told("$/progress")


async def test_equal_progress_tokens_of_two_editors() -> None:
    world = World(a="x")
    server = world.server()
    ada, bob = await world.editor(), await world.editor(BOB)
    await ada.at(HOVER, "a.py", 0, 0, workDoneToken="t", partialResultToken="p")
    first = server.asked(HOVER)
    await bob.at(HOVER, "a.py", 0, 0, workDoneToken="t")
    second = server.asked(HOVER)
    assert first["params"]["workDoneToken"] != second["params"]["workDoneToken"]
    assert "partialResultToken" not in first["params"]
    for request, title in ((first, "ada"), (second, "bob")):
        token = request["params"]["workDoneToken"]
        value = {"kind": "begin", "title": title}
        server.notify("$/progress", {"token": token, "value": value})
    for editor, title in ((ada, "ada"), (bob, "bob")):
        (progress,) = editor.told("$/progress")
        assert (progress["token"], progress["value"]["title"]) == ("t", title)
    server.answer(first, None)
    server.notify("$/progress", {"token": first["params"]["workDoneToken"], "value": {}})
    assert len(ada.told("$/progress")) == 1


async def test_an_editor_cancels_what_the_server_reports() -> None:
    world = World()
    server = world.server()
    ada = await world.editor(capabilities={"window": {"workDoneProgress": True}})
    server.ask(1, "window/workDoneProgress/create", {"token": 5})
    (create,) = ada.told("window/workDoneProgress/create")
    await ada.notify("window/workDoneProgress/cancel", {"token": create["token"]})
    assert server.told("window/workDoneProgress/cancel") == [{"token": 5}]


async def test_documents_are_opened_once_and_closed_after_the_last() -> None:
    world = World(a="text\n")
    server = world.server()
    ada, bob = await world.editor(), await world.editor(BOB)
    await ada.open("a.py", "another text")
    await bob.open("a.py")
    await bob.open("a.py")
    (opened,) = server.told("textDocument/didOpen")
    assert opened["textDocument"]["text"] == "text\n"
    assert opened["textDocument"]["languageId"] == "python"
    await ada.close("a.py")
    await ada.close("a.py")
    await bob.close("a.py")
    assert server.told("textDocument/didClose") == []
    bob.leave()
    assert server.told("textDocument/didClose") == [{"textDocument": {"uri": uri("a.py")}}]


async def test_changes_come_from_the_room_and_not_from_editors() -> None:
    world = World(a="one\ntwo\n")
    server = world.server()
    ada = await world.editor()
    await ada.open("a.py")
    change = {"textDocument": {"uri": uri("a.py"), "version": 2}, "contentChanges": [{"text": "x"}]}
    await ada.notify("textDocument/didChange", change)
    assert server.told("textDocument/didChange") == []
    world.type("a.py", 4, 3, "2\n3")
    (told,) = server.told("textDocument/didChange")
    assert told["contentChanges"] == [{"range": span(1, 0, 3), "text": "2\n3"}]
    assert told["textDocument"]["version"] == world.opened["a.py"].version


@pytest.mark.parametrize(
    ("capabilities", "text", "full"),
    [
        ({"textDocumentSync": 1}, "a\n", False),
        ({"textDocumentSync": {"openClose": True, "change": 1}}, "a\n", False),
        (EVERYTHING, "a\x0cb\n", False),
        (EVERYTHING, "a\u2028b\n", False),
        (EVERYTHING, "a\n", True),
    ],
)
async def test_whole_texts_where_they_are_asked_for_or_safer(
    capabilities: Json, text: str, full: bool
) -> None:
    world = World(a=text)
    server = world.server(capabilities=capabilities, full=full)
    ada = await world.editor()
    await ada.open("a.py")
    world.type("a.py", 0, 1, "b")
    (told,) = server.told("textDocument/didChange")
    assert told["contentChanges"] == [{"text": "b" + text[1:]}]


async def test_a_server_that_wants_no_changes_is_told_none() -> None:
    world = World(a="x\n")
    server = world.server(capabilities={"hoverProvider": True})
    ada = await world.editor()
    await ada.open("a.py")
    world.type("a.py", 0, 0, "y")
    assert server.told("textDocument/didOpen") == server.told("textDocument/didChange") == []


async def test_columns_are_counted_as_the_server_does() -> None:
    world = World(a="\U0001f600x\n")
    server = world.server(capabilities={**EVERYTHING, "positionEncoding": "utf-8"})
    ada = await world.editor()
    assert ada.result["capabilities"]["positionEncoding"] == "utf-8"
    await ada.open("a.py")
    world.type("a.py", 4, 1, "y")
    (told,) = server.told("textDocument/didChange")
    assert told["contentChanges"] == [{"range": span(0, 4, 5), "text": "y"}]


async def test_while_a_server_reads_nothing_changes_gather() -> None:
    world = World(a="")
    server = world.server()
    ada = await world.editor()
    await ada.open("a.py")
    server.full = True
    for _ in range(50):
        world.type("a.py", 0, 0, "x")
    await ada.at(HOVER, "a.py", 0, 0)
    assert ada.answers[1]["error"]["code"] == -32803
    assert server.told("textDocument/didChange") == []
    server.full = False
    server.core.drained()
    (told,) = server.told("textDocument/didChange")
    assert len(told["contentChanges"]) == 50
    server.full = True
    for _ in range(2000):
        world.type("a.py", 0, 0, "x")
    server.full = False
    server.core.drained()
    assert server.told("textDocument/didChange")[-1]["contentChanges"] == [{"text": "x" * 2050}]


async def test_a_server_that_watches_files_is_told_of_each_change() -> None:
    world = World()
    server = world.server()
    await world.editor()
    watched = "workspace/didChangeWatchedFiles"
    server.core.files_changed([("a.py", 1)])
    assert server.count(watched) == 0  # it does not want to know
    server.ask(1, "client/registerCapability", {"registrations": [{"id": "w", "method": watched}]})
    server.core.files_changed([("a b.py", 1)])
    assert server.told(watched) == [{"changes": [{"uri": uri("a b.py"), "type": 1}]}]
    server.full = True
    for kind in (1, 2, 3):
        server.core.files_changed([("gone.py", kind)])
    server.core.files_changed([("back.py", 3)])
    server.core.files_changed([("back.py", 1)])
    assert server.count(watched) == 1
    server.full = False
    server.core.drained()
    assert server.told(watched)[1:] == [
        {"changes": [{"uri": uri("gone.py"), "type": 3}, {"uri": uri("back.py"), "type": 2}]}
    ]
    server.core.drained()
    assert server.count(watched) == 2


async def test_versions_in_diagnostics_and_edits_are_the_editors_own() -> None:
    world = World(a="name\n")
    server = world.server()
    edits: Json = {"workspace": {"workspaceEdit": {"documentChanges": True}}}
    ada, bob = await world.editor(capabilities=edits), await world.editor(BOB)
    await ada.open("a.py", version=41)
    await bob.open("a.py", version=5)
    version = world.opened["a.py"].version
    server.notify(
        "textDocument/publishDiagnostics",
        {"uri": uri("a.py"), "version": version, "diagnostics": [problem(0, 0, 4)]},
    )
    assert (ada.diagnostics("a.py")["version"], bob.diagnostics("a.py")["version"]) == (41, 5)
    change = {"range": span(0, 0, 4), "newText": "other"}
    edit = {
        "documentChanges": [
            {"textDocument": {"uri": uri("a.py"), "version": version}, "edits": [change]}
        ]
    }
    for editor in (ada, bob):
        await editor.at("textDocument/rename", "a.py", 0, 1, newName="other")
        server.answer(server.asked("textDocument/rename"), edit)
    (document,) = ada.answers[1]["result"]["documentChanges"]
    assert document["textDocument"] == {"uri": uri("a.py"), "version": 41}
    assert bob.answers[1]["result"] == {"changes": {uri("a.py"): [change]}}


async def test_a_server_that_only_answers_is_asked_once_for_all() -> None:
    world = World(a="x\n", b="y\n")
    server = world.server(capabilities={**EVERYTHING, "diagnosticProvider": {"identifier": "i"}})
    ada, bob = await world.editor(), await world.editor(BOB)
    await ada.open("a.py")
    await bob.open("a.py")
    world.tick(0.3)
    pull = "textDocument/diagnostic"
    request = server.asked(pull)
    assert request["params"] == {"textDocument": {"uri": uri("a.py")}, "identifier": "i"}
    report = {"kind": "full", "resultId": "r1", "items": [problem(0, 0, 1)]}
    server.answer(request, report)
    for editor in (ada, bob):
        assert editor.diagnostics("a.py")["diagnostics"] == [problem(0, 0, 1)]
    for _ in range(5):
        world.type("a.py", 0, 0, "z")
    world.tick(0.3)
    assert server.count(pull) == 2
    request = server.asked(pull)
    assert request["params"]["previousResultId"] == "r1"
    server.fail(request, -32802)  # the server has something better to do
    world.tick(2)
    server.answer(server.asked(pull), {"kind": "full", "items": []})
    assert bob.diagnostics("a.py")["diagnostics"] == []
    server.ask(1, "workspace/diagnostic/refresh", None)
    world.tick(0.3)
    assert server.count(pull) == 4


async def test_semantic_tokens_are_whole_for_editors_and_deltas_for_the_server() -> None:
    full, delta = "textDocument/semanticTokens/full", "textDocument/semanticTokens/full/delta"
    world = World(a="x\n")
    provider = {"legend": {}, "full": {"delta": True}}
    server = world.server(capabilities={**EVERYTHING, "semanticTokensProvider": provider})
    ada, bob = await world.editor(), await world.editor(BOB)
    assert ada.result["capabilities"]["semanticTokensProvider"]["full"] is True
    await ada.open("a.py")
    params = {"textDocument": {"uri": uri("a.py")}}
    await ada.request(full, params)
    server.answer(server.asked(full), {"resultId": "1", "data": [0, 0, 1, 2, 3, 1, 1, 1, 1, 1]})
    assert ada.answers[1]["result"] == {"data": [0, 0, 1, 2, 3, 1, 1, 1, 1, 1]}
    await bob.request(full, params)
    assert server.asked(delta)["params"]["previousResultId"] == "1"
    edits = [{"start": 0, "deleteCount": 1, "data": [9]}, {"start": 5, "deleteCount": 5}]
    server.answer(server.asked(delta), {"resultId": "2", "edits": edits})
    assert bob.answers[1]["result"] == {"data": [9, 0, 1, 2, 3]}
    await ada.request(full, params, id=2)
    bad = {"resultId": "3", "edits": [{"start": 3, "deleteCount": 99}]}
    server.answer(server.asked(delta), bad)
    assert 2 not in ada.answers
    server.answer(server.asked(full), {"data": [1, 1, 1, 1, 1]})
    assert ada.answers[2]["result"] == {"data": [1, 1, 1, 1, 1]}


async def test_a_crash_is_told_and_the_next_process_gets_the_documents() -> None:
    world = World(a="x\n")
    server = world.server()
    dynamic: Json = {"textDocument": {"hover": {"dynamicRegistration": True}}}
    ada = await world.editor(capabilities=dynamic)
    await ada.open("a.py")
    world.type("a.py", 0, 0, "new ")
    server.ask(1, "client/registerCapability", {"registrations": [{"id": "1", "method": HOVER}]})
    server.notify(
        "textDocument/publishDiagnostics", {"uri": uri("a.py"), "diagnostics": [problem(0, 0, 1)]}
    )
    await ada.at(HOVER, "a.py", 0, 0)
    server.crash()
    assert ada.answers[1]["error"]["code"] == -32803
    assert ada.told("client/unregisterCapability")
    assert ada.diagnostics("a.py")["diagnostics"] == []
    await ada.at(HOVER, "a.py", 0, 0, id=2)
    assert "does not run" in ada.answers[2]["error"]["message"]
    server.start()
    (opened,) = server.told("textDocument/didOpen")
    assert opened["textDocument"]["text"] == "new x\n"
    await ada.at(HOVER, "a.py", 0, 0, id=3)
    server.answer(server.asked(HOVER), "again")
    assert ada.answers[3]["result"] == "again"


async def test_a_server_that_answers_twice_never_or_nonsense() -> None:
    world = World(a="x\n")
    server = world.server()
    ada = await world.editor()
    await ada.at(HOVER, "a.py", 0, 0, id=1)
    request = server.asked(HOVER)
    server.answer(request, "once")
    server.answer(request, "twice")
    server.say({"id": 9999, "result": None})
    server.say({"id": str(request["id"]), "result": None})
    server.say({"id": None, "error": {"code": 1, "message": "x"}})
    assert server.core.strays == 4
    assert ada.answers[1]["result"] == "once"
    for garbage in (b"", b"x", b"[]", b"{}", b'{"method":1}', b'{"id":1}', b"\xff", b"[" * 9000):
        server.say(garbage)
    for method, params in (
        ("textDocument/publishDiagnostics", {"uri": 7}),
        ("textDocument/publishDiagnostics", {"uri": uri("a.py"), "diagnostics": {"x": 1}}),
        ("textDocument/publishDiagnostics", {"uri": "file:///etc/passwd", "diagnostics": []}),
        ("$/progress", {"token": {}, "value": 1}),
        ("$/progress", None),
        ("window/showMessage", []),
    ):
        server.notify(method, params)
    assert not ada.heard
    await ada.at("textDocument/definition", "a.py", 0, 0, id=2)
    deep: Any = []
    for _ in range(800):
        deep = [deep]
    server.answer(server.asked("textDocument/definition"), deep)
    assert 2 in ada.answers
    await ada.at(HOVER, "a.py", 0, 0, id=3)
    world.tick(4.9)
    assert 3 not in ada.answers
    world.tick(0.2)
    assert "in time" in ada.answers[3]["error"]["message"]
    assert server.count("$/cancelRequest") == 1
    await ada.at("textDocument/completion", "a.py", 0, 0, id=4)
    world.tick(2.1)
    assert 4 in ada.answers
    await ada.at("textDocument/references", "a.py", 0, 0, id=5)
    world.tick(29)
    assert 5 not in ada.answers
    world.tick(2)
    assert 5 in ada.answers


async def test_a_server_that_does_not_know_the_probe_lives() -> None:
    world = World()
    server = world.server()
    server.start()
    for _ in range(2):
        server.core.probe(world.time, 60)
    assert server.count("$/cloudide/alive") == 1
    assert server.core.probing
    server.fail(server.asked("$/cloudide/alive"), -32601)
    assert not server.core.probing


async def test_addresses_outside_the_workspace_are_refused_both_ways() -> None:
    world = World(a="x\n")
    server = world.server()
    ada = await world.editor()
    await ada.open("a.py")
    for id, address in enumerate(
        (
            "file:///etc/passwd",
            "file:///workspace/../etc/passwd",
            "file:///workspace/%2e%2e/etc/passwd",
            "file:///workspace/..%2fetc",
            "file:///workspaces/a.py",
            "file:///workspace/a%00.py",
            "file://host/workspace/a.py",
            "http://workspace/a.py",
            "file:///workspace",
            "file:///workspace/a.py?x",
            "",
            "/workspace/a.py",
        )
    ):
        await ada.notify(
            "textDocument/didOpen",
            {"textDocument": {"uri": address, "languageId": "x", "version": 1, "text": ""}},
        )
        await ada.request(
            HOVER, {"textDocument": {"uri": address}, "position": {"line": 0, "character": 0}}, id
        )
        assert ada.answers[id]["error"]["code"] == -32602, address
    assert server.count("textDocument/didOpen") == 1
    assert server.count(HOVER) == 0
    await ada.at("textDocument/definition", "a.py", 0, 0, id="d")
    inside = {"uri": uri("b.py"), "range": span(0, 0, 1)}
    outside = {"uri": "file:///usr/lib/x.py", "range": span(0, 0, 1)}
    server.answer(server.asked("textDocument/definition"), [outside, inside])
    assert ada.answers["d"]["result"] == [inside]
    # Nor is anything outside changed, or named beside a problem.
    edits: tuple[Json, ...] = (
        {"changes": {"file:///etc/passwd": []}},
        {"documentChanges": [{"kind": "rename", "oldUri": uri("a.py"), "newUri": "file:///x"}]},
        {"documentChanges": [{"textDocument": {"uri": "file:///x", "version": 1}, "edits": []}]},
    )
    for id, edit in enumerate(edits):
        await ada.at("textDocument/rename", "a.py", 0, 0, id=f"r{id}", newName="n")
        server.answer(server.asked("textDocument/rename"), edit)
        assert "no file of this workspace" in ada.answers[f"r{id}"]["error"]["message"]
        place = {"textDocument": {"uri": uri("a.py")}, "range": span(0, 0, 1)}
        await ada.request("textDocument/codeAction", {**place, "context": {}}, id=f"c{id}")
        fine = {"title": "fine", "edit": {"changes": {uri("b.py"): []}}}
        offered = [{"title": "bad", "edit": edit}, fine, {"title": "command", "command": "do.it"}]
        server.answer(server.asked("textDocument/codeAction"), offered)
        titles = [each["title"] for each in ada.answers[f"c{id}"]["result"]]
        assert titles == ["fine", "command"]
    related = [{"location": each, "message": "here"} for each in (outside, inside)]
    found = [{**problem(0, 0, 1), "relatedInformation": related}]
    server.notify("textDocument/publishDiagnostics", {"uri": uri("a.py"), "diagnostics": found})
    (shown,) = ada.diagnostics("a.py")["diagnostics"]
    assert [each["location"] for each in shown["relatedInformation"]] == [inside]


async def test_ids_of_odd_types() -> None:
    world = World(a="x\n")
    server = world.server()
    ada = await world.editor()
    hover = {"textDocument": {"uri": uri("a.py")}, "position": {"line": 0, "character": 0}}
    odd: tuple[Any, ...] = (1.5, True, None, [], [1], {}, {"id": 1}, "x" * 2000, "\ud800")
    for id in odd:
        await ada.say({"id": id, "method": HOVER, "params": hover})
        assert ada.answers.pop(None)["error"]["code"] == -32600, id
        await ada.notify("$/cancelRequest", {"id": id})
        server.say({"id": id, "result": 1})
        server.say({"id": id, "method": "workspace/configuration", "params": {"items": []}})
    assert server.count(HOVER) == 0
    for id in (0, -1, 2**53, 2**70, "", "\u00e9", "1"):
        await ada.request(HOVER, hover, id)
        server.answer(server.asked(HOVER), "text")
        assert ada.answers[id]["result"] == "text"
        answer = server.ask(id, "workspace/configuration", {"items": [{}]})
        assert answer["result"] == [{}]


async def test_unknown_members_and_methods_pass_through() -> None:
    world = World(a="x\n")
    server = world.server()
    ada = await world.editor()
    await ada.at(HOVER, "a.py", 0, 0, strange={"x": [1, None]})
    assert server.asked(HOVER)["params"]["strange"] == {"x": [1, None]}
    result = {"contents": "x\ud800", "more": {"y": 1.0}}
    server.answer(server.asked(HOVER), result)
    assert ada.answers[1]["result"] == result
    await ada.request("custom/method", {"a": 1}, id=2)
    server.answer(server.asked("custom/method"), {"b": 2})
    assert ada.answers[2]["result"] == {"b": 2}
    server.notify("custom/event", {"c": 3})
    assert ada.told("custom/event") == [{"c": 3}]
    server.notify("$/custom", {})
    assert not ada.told("$/custom")


async def test_what_is_no_message_is_answered_with_an_error() -> None:
    world = World(a="x\n")
    server = world.server()
    ada = await world.editor()
    for text, code in (("x", -32700), ("[]", -32600), ('{"id":1.5,"method":"m"}', -32600)):
        await ada.say(text)
        assert ada.answers.pop(None)["error"]["code"] == code
    for params in ([], 7, {"textDocument": 7}, {"textDocument": {"uri": []}}, None):
        await ada.request(HOVER, params, id="p")
        ada.answers.pop("p", None)
    heard = len(server.heard)
    await ada.say({"id": 77, "result": None})
    await ada.notify("textDocument/didOpen", {"textDocument": None})
    await ada.notify("textDocument/didChange", [])
    await ada.notify("$/cancelRequest", 7)
    assert len(server.heard) == heard


async def test_viewers_look_and_change_nothing() -> None:
    world = World(a="x\n")
    server = world.server()
    eve = await world.editor(BOB, Role.VIEWER)
    await eve.open("a.py")
    for method in (
        "textDocument/rename",
        "textDocument/formatting",
        "textDocument/codeAction",
        "workspace/executeCommand",
        "cloudide/applyEdit",
        "custom/method",
    ):
        await eve.at(method, "a.py", 0, 0, id=method)
        assert "look" in eve.answers[method]["error"]["message"]
        assert server.count(method) == 0
    await eve.notify("textDocument/didSave", {"textDocument": {"uri": uri("a.py")}})
    assert world.saved == []
    await eve.at(HOVER, "a.py", 0, 0)
    server.answer(server.asked(HOVER), "yes")
    assert eve.answers[1]["result"] == "yes"


async def test_what_is_too_large_is_not_kept_and_not_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diagnostics, "FILE_BYTES", 1000)
    monkeypatch.setattr(diagnostics, "ALL_BYTES", 1500)
    world = World(a="x\n")
    server = world.server()
    ada = await world.editor(capabilities={"window": {"workDoneProgress": True}})

    def publish(path: str, size: int) -> int:
        items = [problem(0, 0, 1, "x" * size)] if size else []
        server.notify("textDocument/publishDiagnostics", {"uri": uri(path), "diagnostics": items})
        return len(ada.diagnostics(path)["diagnostics"])

    assert publish("a.py", 800) == 1
    assert publish("a.py", 1000) == 0
    assert publish("a.py", 800) == 1
    assert publish("b.py", 700) == 0
    assert publish("a.py", 0) == 0
    assert publish("b.py", 700) == 1
    server.ask(1, "window/workDoneProgress/create", {"token": 1})
    value = {"kind": "begin", "title": "x" * 20_000}
    server.notify("$/progress", {"token": 1, "value": value})
    assert not ada.told("$/progress")
    large = {"registrations": [{"id": "1", "method": "m", "registerOptions": "x" * 50_000}]}
    assert server.ask(2, "client/registerCapability", large)["error"]["code"] == -32602
    await ada.request(HOVER, {"textDocument": {"uri": uri("a.py")}, "x": "x" * (1 << 20)})
    assert "too large" in ada.answers[1]["error"]["message"]
    for id in range(100, 301):
        await ada.at(HOVER, "a.py", 0, 0, id=id)
    assert "wait" in ada.answers[300]["error"]["message"]
    await ada.at(HOVER, "a.py", 0, 0, id=100)
    assert ada.answers[100]["error"]["code"] == -32600  # under way


async def test_any_answer_of_a_server_becomes_an_answer() -> None:
    world = World(a="x\n")
    first = world.server("first")
    second = world.server("second")
    ada = await world.editor()
    await ada.open("a.py")
    nonsense: list[Any] = [
        7,
        "x",
        [7],
        {"items": 7},
        {"items": [7, None, []]},
        {"uri": 7},
        [{"uri": "file:///etc/x"}, {"targetUri": []}],
        {"range": {"start": 1, "end": 2}},
        {"range": {"start": {}, "end": {}}},
        {"range": {"start": {"line": "x"}, "end": {}}},
        {"documentChanges": 7},
        {"documentChanges": [7]},
        {"changes": [7]},
        {"changes": {"x": 7}},
        {"contents": {"documentChanges": [{}]}},
    ]
    numbers = itertools.count(1)
    for method in (
        HOVER,
        "textDocument/completion",
        "textDocument/definition",
        "textDocument/codeAction",
        "textDocument/rename",
    ):
        for result in nonsense:
            for typing in (False, True):
                count = next(numbers)
                await ada.at(method, "a.py", 0, 0, id=count)
                if typing:
                    world.type("a.py", 0, 0, "y")
                for server in (first, second):
                    server.answer(server.asked(method), result)
                assert count in ada.answers, (method, result)
