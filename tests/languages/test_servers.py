"""Servers as processes: started, fed, watched, started again; behind real pipes and an agent."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from local import ADA, BOB, QUICK, WORKSPACE, Collab, Local, collaborating

from cloudide.errors import NotFound
from cloudide.identity.permissions import Grant, Person, Role
from cloudide.languages import servers, workspace
from cloudide.languages.languages import Languages
from cloudide.languages.servers import State
from cloudide.protocol import sync

Json = dict[str, Any]
SERVER = Path(__file__).with_name("pygls_server.py")
WAIT_SECONDS = 60.0
LANGUAGE = "scripted"


class Editor:
    """An editor of the service, without a websocket."""

    def __init__(self, world: World, person: Person = ADA, role: Role = Role.EDITOR) -> None:
        self.world = world
        self.grant = Grant(person, WORKSPACE, role)
        self.heard: list[Json] = []
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._last = 0
        self._changed = asyncio.Event()

    async def join(self, **capabilities: Any) -> Editor:
        self.restarts = 0
        join = self.world.languages.join(self.grant, LANGUAGE, self._take, self._restart)
        self.session, self.leave = await join
        answer = await self.request("initialize", {"capabilities": capabilities})
        assert "hoverProvider" in answer["result"]["capabilities"], answer
        return self

    def _restart(self) -> None:
        self.restarts += 1

    def _take(self, body: bytes) -> None:
        message = json.loads(body)
        if "method" not in message:
            self._answers.pop(message["id"]).set_result(message)
        else:
            self.heard.append(message)
        self._changed.set()

    async def say(self, message: Json) -> None:
        waiting = self.session.receive(json.dumps({"jsonrpc": "2.0", **message}))
        if waiting is not None:
            await waiting

    async def request(self, method: str, params: Any) -> Json:
        self._last += 1
        future = asyncio.get_running_loop().create_future()
        self._answers[self._last] = future
        await self.say({"id": self._last, "method": method, "params": params})
        async with asyncio.timeout(WAIT_SECONDS):
            return await future

    async def execute(self, command: str, *arguments: Any) -> Json:
        params = {"command": command, "arguments": [*arguments]}
        return await self.request("workspace/executeCommand", params)

    async def open(self, path: str) -> None:
        item = {"uri": self.world.uri(path), "languageId": "x", "version": 1, "text": ""}
        await self.say({"method": "textDocument/didOpen", "params": {"textDocument": item}})

    async def close(self, path: str) -> None:
        document = {"textDocument": {"uri": self.world.uri(path)}}
        await self.say({"method": "textDocument/didClose", "params": document})

    async def hash(self, path: str) -> str:
        """The hash of the text that the server has."""
        place = {"line": 0, "character": 0}
        document = {"textDocument": {"uri": self.world.uri(path)}, "position": place}
        answer = await self.request("textDocument/hover", document)
        return answer["result"]["contents"] if "result" in answer else answer["error"]["message"]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class World:
    def __init__(self, collab: Collab, languages: Languages) -> None:
        self.collab = collab
        self.languages = languages
        self._told = asyncio.Event()
        languages.on_change = lambda workspace: self._told.set()

    def uri(self, path: str) -> str:
        return f"{self.collab.root.as_uri()}/{path}"

    @property
    def server(self) -> servers.Server:
        server = self.languages._workspaces[WORKSPACE].server(f"own-{LANGUAGE}")
        assert server is not None
        return server

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():
                self._told.clear()
                await self._told.wait()

    async def view(self) -> Json:
        view = msgspec.to_builtins(await self.languages.view(WORKSPACE))
        return next(each for each in view["servers"] if each["id"] == f"own-{LANGUAGE}")


@asynccontextmanager
async def serving(
    tmp_path: Path, command: list[str] | None = None, **settings: Any
) -> AsyncIterator[World]:
    """A workspace with one language, whose server is the scripted one."""
    async with collaborating(tmp_path) as collab:
        words = command or [sys.executable, str(SERVER)]
        table = f'[languages.{LANGUAGE}]\ncommand = {json.dumps(words)}\nextensions = [".t"]\n'
        collab.write("cloudide.toml", table.encode())
        given = msgspec.structs.replace(QUICK, **settings)
        async with Languages(collab.link.agents, collab.rooms, given) as languages:
            yield World(collab, languages)


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """For the tests that leave the server running, each with files of its own."""
    async with serving(tmp_path_factory.mktemp("servers")) as world:
        yield world


def hash_of(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


async def type_at_random(client: Local, seed: int, count: int) -> None:
    """Somebody who types and deletes, all kinds of characters."""
    chance = random.Random(seed)  # noqa: S311
    for _ in range(count):
        text = str(client)
        at = chance.randrange(len(text) + 1)
        if chance.random() < 0.3 and text:
            end = min(at + chance.randrange(1, 5), len(text))
            start = len(text[:at].encode())
            del client.text[start : start + len(text[at:end].encode())]
            await client.flush()
        else:
            await client.insert(at, chance.choice(["a", "\n", "é", "😀", "\r", "x = 1\n", "\r\n"]))
        await asyncio.sleep(0)


async def test_two_people_type_and_the_server_has_what_the_room_has(world: World) -> None:
    world.collab.write("a.t", "begin 😀\n".encode())
    async with world.collab.join("a.t") as ada, world.collab.join("a.t", BOB) as bob:
        editor = await Editor(world).join()
        await editor.open("a.t")
        for round in range(5):
            await asyncio.gather(type_at_random(ada, round, 20), type_at_random(bob, -round, 20))
            room = world.collab.rooms._open[WORKSPACE, "a.t"].room
            room.settle()
            assert await editor.hash("a.t") == hash_of(room.text)
        await ada.until(lambda: str(ada) == str(bob))
        document = world.languages._workspaces[WORKSPACE].document("a.t")
        assert document is not None
        assert str(document) == str(ada)
        assert document.versions[-1].text.hash() == hash_of(ada)


async def test_a_crash_is_followed_by_a_start_with_all_documents(world: World) -> None:
    world.collab.write("b2.t", b"one\n")
    async with world.collab.join("b2.t") as ada:
        editor = await Editor(world).join()
        await editor.open("b2.t")
        await ada.insert(0, "new ")
        await ada.saved()
        before = world.server.restarts
        assert await editor.hash("b2.t") == hash_of("new one\n")
        answer = await editor.execute("crash")
        assert "ended" in answer["error"]["message"]
        await ada.insert(0, "newer ")
        await world.until(lambda: world.server.restarts > before and _runs(world))
        assert await editor.hash("b2.t") == hash_of("newer new one\n")
        assert "code 3" in world.server.log
        view = await world.view()
        assert (view["state"], view["restarts"]) == ("running", before + 1)
        assert view["clients"] > 0
        assert (view["name"], view["version"]) == (Path(sys.executable).name, "1.0")


def _runs(world: World) -> bool:
    return world.server.state is State.RUNNING


async def test_a_server_that_ends_during_a_rename_leaves_all_or_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as world:
        files = [world.collab.write(f"rename-{name}.t", b"old\n") for name in ("one", "two")]
        editor = await Editor(world).join(experimental={"cloudide": {"edits": True}})
        async with world.collab.join("rename-one.t") as ada:
            await editor.open("rename-one.t")
            document = {"textDocument": {"uri": world.uri("rename-one.t")}}
            place = {**document, "position": {"line": 0, "character": 1}}
            for name, all_of_it in (("half", False), ("whole", True)):
                before = world.server.restarts
                rename = {**place, "newName": name}
                answer = await editor.request("textDocument/rename", rename)
                await world.until(lambda before=before: world.server.restarts > before)
                await world.until(lambda: _runs(world))
                if all_of_it:
                    assert answer["result"]["files"] == ["rename-one.t", "rename-two.t"], answer
                    await ada.until(lambda: str(ada) == "whole\n")
                    assert files[1].read_bytes() == b"whole\n"
                else:
                    assert "ended" in answer["error"]["message"]
                    assert str(ada) == "old\n"
                    assert [file.read_bytes() for file in files] == [b"old\n", b"old\n"]
            # The next process knows the text that the rename made.
            assert await editor.hash("rename-one.t") == hash_of("whole\n")


async def test_who_ends_too_often_stays_ended_until_somebody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "BACK_OFF", (0.0,) * 5)
    async with serving(tmp_path, [sys.executable, "-c", "import sys; sys.exit('no')"]) as world:
        editor = Editor(world)
        with pytest.raises(AssertionError):
            await editor.join()
        assert world.server.state is State.FAILED
        assert "5 times" in world.server.detail
        assert "code 1" in world.server.detail
        assert world.server.restarts == 4
        assert "no\n" in await world.languages.log(WORKSPACE, f"own-{LANGUAGE}")
        command = json.dumps([sys.executable, str(SERVER)])
        table = f'[languages.{LANGUAGE}]\ncommand = {command}\nextensions = [".t"]\n'
        world.collab.write("cloudide.toml", table.encode())
        await world.languages.restart(WORKSPACE, f"own-{LANGUAGE}")
        await world.until(lambda: _runs(world))
        assert editor.restarts == 1  # to be told what the server can do
        with pytest.raises(NotFound):
            await world.languages.restart(WORKSPACE, "no such")
        with pytest.raises(NotFound):
            await world.languages.log(WORKSPACE, "no such")


async def test_a_program_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    async with serving(tmp_path, ["/no/such/program"]) as world:
        with pytest.raises(AssertionError):
            await Editor(world).join()
        assert world.server.state is State.FAILED
        assert "/no/such/program" in world.server.detail


async def test_ten_megabytes_on_stderr_stop_nothing(world: World) -> None:
    editor = await Editor(world).join()
    answer = await editor.execute("noise", 10 * 2**20)
    assert answer["result"] == 10 * 2**20
    async with asyncio.timeout(WAIT_SECONDS):
        while "the end" not in world.server.log:
            assert (await editor.execute("noise", 0))["result"] == 0
    assert len(world.server.log) <= servers.LOG_LIMIT


async def test_what_is_no_message_ends_the_process(world: World) -> None:
    editor = await Editor(world).join()
    before = world.server.restarts
    answer = await editor.execute("garbage")
    assert "error" in answer
    await world.until(lambda: world.server.restarts > before and _runs(world))
    assert "no message" in world.server.log


async def test_who_says_nothing_is_asked_and_then_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = await Editor(world).join()
    monkeypatch.setattr(servers, "SILENT", 0.2)
    monkeypatch.setattr(servers, "PROBED", 0.5)
    before = world.server.restarts
    answer = await editor.execute("hang")
    assert "ended" in answer["error"]["message"]
    monkeypatch.undo()  # the next one needs its time to start
    await world.until(lambda: world.server.restarts > before and _runs(world))
    assert "said nothing" in world.server.log


async def test_who_uses_too_much_memory_is_ended(tmp_path: Path) -> None:
    async with serving(tmp_path, language_server_memory=200 * 2**20) as world:
        editor = await Editor(world).join()
        await world.until(lambda: world.server.memory > 0)
        await editor.execute("eat", 300 * 2**20)
        await world.until(lambda: world.server.restarts == 1)
        assert "200 MiB" in world.server.log


async def test_it_stops_some_time_after_the_last_editor(tmp_path: Path) -> None:
    async with serving(tmp_path, language_server_idle_minutes=0.001) as world:
        one, other = await Editor(world).join(), await Editor(world, BOB).join()
        one.leave()
        assert _runs(world)
        other.leave()
        await world.until(lambda: world.server.state is State.STOPPED)
        assert world.server.memory == 0
        await (await Editor(world).join()).open("a.t")
        assert _runs(world)


async def test_a_document_stays_open_for_a_while_after_its_last_editor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"kept\n"
    world.collab.write("grace.t", text)
    editor = await Editor(world).join()
    of = world.languages._workspaces[WORKSPACE].document
    documents: list[object] = []
    for _ in range(2):  # closed and opened again, as when somebody changes tabs
        await editor.open("grace.t")
        documents.append(of("grace.t"))
        await editor.close("grace.t")
        assert await editor.hash("grace.t") == hash_of(text.decode())
    assert documents[0] is documents[1]
    monkeypatch.setattr(workspace, "DOCUMENT_GRACE", 0.01)
    await editor.open("grace.t")
    await editor.close("grace.t")
    async with asyncio.timeout(WAIT_SECONDS):
        while await editor.hash("grace.t") == hash_of(text.decode()):
            pass
    assert of("grace.t") is None


async def test_settings_reach_a_server_that_runs(world: World) -> None:
    editor = await Editor(world).join()
    assert (await editor.execute("settings", "own"))["result"] is None
    editor.heard.clear()
    before = world.server.restarts
    world.collab.write(".vscode/settings.json", b'{"own.level": 3}')
    await editor.until(lambda: any(each["method"] == "test/configured" for each in editor.heard))
    assert (await editor.execute("settings", "own"))["result"] == {"level": 3}
    assert world.server.restarts == before


async def test_a_server_edits_for_who_executes_its_command(world: World) -> None:
    file = world.collab.write("e.t", b"one\n")
    editor = await Editor(world).join(experimental={"cloudide": {"edits": True}})
    await editor.execute("edit", world.uri("e.t"), "new ")
    edited = "cloudide/edited"
    await editor.until(lambda: any(each["method"] == edited for each in editor.heard))
    (told,) = [each["params"] for each in editor.heard if each["method"] == edited]
    assert (told["label"], told["files"]) == ("Edit of a test", ["e.t"])
    assert file.read_bytes() == b"new one\n"
    await world.languages.undo(editor.grant, told["id"])
    assert file.read_bytes() == b"one\n"
    await editor.execute("edit", "file:///etc/passwd", "new ")
    assert len([each for each in editor.heard if each["method"] == edited]) == 1


async def test_a_request_waits_for_the_update_it_was_made_after(world: World) -> None:
    world.collab.write("f.t", b"one\n")
    async with world.collab.join("f.t", client_id=77) as ada:
        editor = await Editor(world).join(experimental={"cloudide": {"edits": True}})
        await editor.open("f.t")
        state: Json = {"cursor": None}
        await ada.send(sync.awareness([sync.AwarenessEntry(77, 1, state)]))
        typing = {"client": 77, "updates": ada.sent + 1}
        params = {
            "textDocument": {"uri": world.uri("f.t")},
            "position": {"line": 0, "character": 0},
            "cloudide": typing,
        }
        asking = asyncio.create_task(editor.request("textDocument/hover", params))
        await asyncio.sleep(0)
        await ada.insert(0, "two ")
        assert (await asking)["result"]["contents"] == hash_of("two one\n")
        # One that never comes is waited for only so long.
        params["cloudide"] = {"client": 77, "updates": ada.sent + 100}
        answer = await editor.request("textDocument/hover", params)
        assert answer["result"]["contents"] == hash_of("two one\n")


async def test_a_file_that_is_renamed_is_another_document(world: World) -> None:
    world.collab.write("r.t", b"one\n")
    editor = await Editor(world).join()
    await editor.open("r.t")
    await world.collab.link.agent.move("r.t", "r2.t")
    await world.collab.rooms.moved(WORKSPACE, "r.t", "r2.t")
    await editor.open("r2.t")
    assert await editor.hash("r2.t") == hash_of("one\n")
    assert world.languages._workspaces[WORKSPACE].document("r.t") is None


async def test_a_room_that_is_loaded_anew_is_followed_on(world: World) -> None:
    world.collab.write("h.t", b"one\n")
    editor = await Editor(world).join()
    await editor.open("h.t")
    entry = world.collab.rooms._open[WORKSPACE, "h.t"]
    world.collab.rooms._broken(entry, RuntimeError("as a panic of the library would"))
    async with world.collab.join("h.t") as ada:
        await ada.insert(0, "new ")
        await ada.saved()
        document = world.languages._workspaces[WORKSPACE].document("h.t")
        assert document is not None
        following = world.languages._workspaces[WORKSPACE]._following["h.t"]
        if following._reloading is not None:
            await following._reloading
        assert await editor.hash("h.t") == hash_of("new one\n")
