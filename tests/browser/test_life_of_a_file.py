"""Two people and the life of a file: earlier versions, undo, deletion, moves, another encoding."""

from __future__ import annotations

import base64
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from chromium import Person, chromium, pictured
from playwright.async_api import Browser, StorageState, expect
from server import Server, serving

FILE = "src/plan.py"
TEXT = '"""A plan."""\n\n# ada writes below\n\n# bo writes below\n\nend = True\n'
WESTERN = "Le café est fermé.\nÀ bientôt\n"


class Pair:
    """Ada and Bo in one workspace."""

    def __init__(self, server: Server, workspace: str, ada: Person, bo: Person) -> None:
        self.server = server
        self.workspace = workspace
        self.ada = ada
        self.bo = bo

    async def write(self, person: Person, below: str, line: str) -> None:
        """Add a line below another one."""
        await person.click_line(below)
        await person.page.keyboard.press("Enter")
        await person.page.keyboard.type(line)

    async def both_have(self, path: str, text: str) -> None:
        """Wait until both editors hold exactly this text, and the disk does too."""
        for person in (self.ada, self.bo):
            await person.page.wait_for_function(
                "([path, text]) => window.cloudide?.text(path) === text", arg=[path, text]
            )
            await person.until_saved()
        assert await self.on_disk(path) == text

    async def on_disk(self, path: str) -> str:
        """The file itself, not the room that a GET would answer from."""
        exit, output = await self.server.api.run(self.workspace, "base64", "-w0", path)
        assert exit == {"code": 0}
        return base64.b64decode(output.strip()).decode()

    async def run(self, *command: str) -> None:
        exit, output = await self.server.api.run(self.workspace, *command)
        assert exit == {"code": 0}, output

    async def reopened(self, path: str) -> None:
        for person in (self.ada, self.bo):
            await person.page.wait_for_function("path => window.cloudide?.text(path)", arg=path)


class House(NamedTuple):
    """A server, Chromium, and what its first user's browser keeps."""

    server: Server
    browser: Browser
    state: StorageState


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("house")
    async with serving(folder / "data") as server, chromium() as browser:
        ada = await Person.arrive(browser, "Ada")
        await ada.sign_in(server.sign_in_url)
        state = await ada.page.context.storage_state()
        await ada.page.context.close()
        yield House(server, browser, state)


@pytest.fixture
async def pair(house: House) -> AsyncIterator[Pair]:
    server, browser, state = house
    workspace = await server.api.create("plans")
    await server.api.write(workspace, FILE, TEXT)
    body = {"workspace": workspace, "role": "editor"}
    invite = await server.api.post("/api/v1/invites", json=body)
    ada = await Person.arrive(browser, "Ada", state=state)
    bo = await Person.arrive(browser, "Bo", dark=True)
    await ada.page.goto(f"{server.url}/w/{workspace}")
    await bo.accept(invite["url"])
    async with pictured(ada, bo):
        yield Pair(server, workspace, ada, bo)
        assert not ada.errors
        assert not bo.errors
    for person in (ada, bo):
        await person.page.context.close()


def set_back(data_dir: Path, seconds: float) -> None:
    """What the journal of a stopped server holds happened so much earlier."""
    with closing(sqlite3.connect(data_dir / "journal.sqlite")) as journal, journal:
        journal.execute("UPDATE updates SET time = time - ?", (seconds,))
        journal.execute("DELETE FROM counts")


@pytest.mark.timeout(180)
async def test_versions_are_compared_restored_and_undone(pair: Pair) -> None:
    ada, bo, server = pair.ada, pair.bo, pair.server
    for person in (ada, bo):
        await person.open(FILE)
    await pair.write(ada, "ada writes", "ada = 1")
    await pair.write(bo, "bo writes", "bo = 1")
    early = TEXT.replace("ada writes below", "ada writes below\nada = 1")
    early = early.replace("bo writes below", "bo writes below\nbo = 1")
    await pair.both_have(FILE, early)

    # An hour goes by, in which the server is started again; both stay in their tabs.
    await server.stop()
    set_back(server.data_dir, 3600)
    await server.start()
    for person in (ada, bo):
        await person.until_saved()
    await pair.write(ada, "ada = 1", "ada = 2")
    await pair.write(bo, "bo = 1", "bo = 2")
    late = early.replace("ada = 1", "ada = 1\nada = 2").replace("bo = 1", "bo = 1\nbo = 2")
    await pair.both_have(FILE, late)

    # Ada looks at the version of an hour ago, and who wrote what in it.
    await ada.page.keyboard.press("Alt+h")
    # The file may have been made in the minute before: that is a version of nobody's.
    versions = ada.page.get_by_test_id("version").filter(has_text="Ada")
    await expect(versions.first).to_be_visible()
    earliest = versions.last
    await expect(earliest).to_contain_text("Ada")
    await expect(earliest).to_contain_text("Bo")
    await earliest.click()
    comparison = ada.page.get_by_test_id("comparison")
    await expect(comparison.locator(".cm-merge-b .cm-changedLine")).to_have_count(2)
    passages = ada.page.get_by_test_id("passages")
    await expect(passages.locator("li", has_text="bo = 1")).to_contain_text("Bo")
    await expect(passages.locator("li", has_text="ada = 1")).to_contain_text("Ada")

    # She restores it: an edit like any other, which Bo sees and types on in.
    await ada.page.get_by_test_id("restore-version").click()
    await pair.both_have(FILE, early)
    await expect(ada.page.get_by_test_id("history")).to_be_hidden()
    await pair.write(bo, "bo = 1", "bo = 3")
    await pair.both_have(FILE, early.replace("bo = 1", "bo = 1\nbo = 3"))

    # Taking that back leaves what Bo typed since.
    await ada.page.get_by_test_id("toast-action").click()
    for person in (ada, bo):
        await person.until_text(FILE, "ada = 2")
    both = await ada.text(FILE)
    assert sorted(both.split("\n")) == sorted([*late.split("\n"), "bo = 3"])
    await pair.both_have(FILE, both)

    # Undo goes on through Ada's own edits alone, over the restart.
    await ada.click_line("end = True")
    for gone in ("ada = 2", "ada = 1"):
        assert gone in await ada.text(FILE)
        while gone in (before := await ada.text(FILE)):
            await ada.page.keyboard.press("Control+z")
            assert before != await ada.text(FILE)
    lines = [line for line in both.split("\n") if not line.startswith("ada =")]
    await pair.both_have(FILE, "\n".join(lines))

    # The authors beside the lines, also said in words for the line with the cursor.
    await bo.page.get_by_test_id("blame-toggle").click()
    here = bo.page.get_by_test_id("blame-here")
    await bo.click_line("bo = 3")
    await expect(here).to_contain_text("Bo")
    await bo.click_line("end = True")
    await expect(here).to_contain_text("Workspace")
    await expect(bo.page.locator(".cm-blame-name", has_text="Bo")).not_to_have_count(0)
    await pair.write(ada, "end = True", "changed = True")
    await bo.until_text(FILE, "changed = True")
    await expect(here).to_contain_text("Changed since")
    await bo.page.get_by_test_id("blame-toggle").click()
    await expect(bo.page.locator(".cm-blame-name")).to_have_count(0)

    # Escape leaves the history for the editor.
    await ada.page.keyboard.press("Alt+h")
    await expect(versions.first).to_be_visible()
    await ada.page.keyboard.press("Escape")
    await expect(ada.page.get_by_test_id("history")).to_be_hidden()
    await expect(ada.page.get_by_test_id("editor").locator(".cm-content")).to_be_focused()


@pytest.mark.timeout(180)
async def test_tabs_outlive_deletion_and_moves(pair: Pair) -> None:
    ada, bo = pair.ada, pair.bo
    for person in (ada, bo):
        await person.open(FILE)
    await pair.write(ada, "ada writes", "ada = 1")
    text = TEXT.replace("ada writes below", "ada writes below\nada = 1")
    await pair.both_have(FILE, text)

    # A program deletes the file; one of the two has it written again.
    await pair.run("rm", FILE)
    for person in (ada, bo):
        await expect(person.page.get_by_test_id("deleted")).to_contain_text(FILE)
    await bo.page.get_by_test_id("revive").click()
    for person in (ada, bo):
        await expect(person.page.get_by_test_id("deleted")).to_be_hidden()
    await pair.both_have(FILE, text)

    # Another program moves it: tabs, language, cursor and undo go along.
    await ada.page.keyboard.type("0")
    moved = "src/idea.js"
    await pair.both_have(FILE, text.replace("ada = 1", "ada = 10"))
    await pair.run("mv", FILE, moved)
    await pair.reopened(moved)
    for person in (ada, bo):
        await expect(person.page.get_by_test_id("tab")).to_have_attribute("data-path", moved)
        await expect(person.page.get_by_text("plan.py is now idea.js.")).to_be_visible()
        await expect(person.page.locator("footer")).to_contain_text("JavaScript")
        await expect(person.page.get_by_test_id("deleted")).to_be_hidden()
    await ada.page.keyboard.type("5")
    await pair.both_have(moved, text.replace("ada = 1", "ada = 105"))
    while "ada = 10" in await ada.text(moved):
        await ada.page.keyboard.press("Control+z")

    # Bo renames it in the tree; Ada types on, and after a reload her tab is there.
    row = bo.page.get_by_test_id("tree").locator(f'[data-path="{moved}"]')
    await row.press("F2")
    await bo.page.get_by_test_id("tree-name").fill("final.py")
    await bo.page.get_by_test_id("tree-name").press("Enter")
    final = "src/final.py"
    await pair.reopened(final)
    await ada.click_line("end = True")
    await ada.page.keyboard.press("Enter")
    await ada.page.keyboard.type("late = 1")
    await pair.both_have(final, (await ada.text(final)))
    assert "late = 1" in await ada.text(final)
    await ada.page.reload()
    await ada.page.wait_for_function("path => window.cloudide?.text(path)", arg=final)
    await pair.both_have(final, await bo.text(final))


@pytest.mark.timeout(180)
async def test_a_file_of_another_encoding_is_converted(pair: Pair) -> None:
    ada, bo, api = pair.ada, pair.bo, pair.server.api
    path = "legacy.txt"
    await api.write(pair.workspace, path, WESTERN.encode("cp1252"))
    await api.write(pair.workspace, "blob.bin", bytes(range(256)))

    tree = ada.page.get_by_test_id("tree")
    await tree.locator('[data-path="blob.bin"]').click()
    await expect(ada.page.get_by_test_id("preview")).to_have_attribute("data-kind", "binary")
    await expect(ada.page.get_by_test_id("convert")).to_have_count(0)

    await tree.locator(f'[data-path="{path}"]').click()
    await expect(ada.page.get_by_test_id("preview")).to_contain_text("À bientôt")
    encoding = ada.page.get_by_test_id("conversion-encoding")
    await expect(encoding).to_have_value("windows-1252")
    await ada.page.get_by_test_id("conversion-eol").select_option("\r\n")
    await ada.page.get_by_test_id("convert").click()
    await ada.until_text(path, WESTERN)
    await expect(ada.page.get_by_text("Converted from windows-1252 to UTF-8")).to_be_visible()
    assert await pair.on_disk(path) == WESTERN.replace("\n", "\r\n")

    await bo.open(path)
    await bo.click_line("bientôt")
    await bo.page.keyboard.type("!")
    await ada.until_text(path, "bientôt!")
    await bo.until_saved()
    assert await pair.on_disk(path) == WESTERN.replace("bientôt", "bientôt!").replace("\n", "\r\n")


KEPT = """async () => {
    await navigator.serviceWorker.ready;
    const [name] = (await caches.keys()).filter((each) => each.startsWith('cloudide-build-'));
    const cache = name && (await caches.open(name));
    if (!cache || !(await cache.match('/w/'))) return false;
    const loaded = performance.getEntriesByType('resource').map((each) => each.name);
    const assets = loaded.filter((each) => each.includes('/assets/'));
    return (await Promise.all(assets.map((each) => cache.match(each)))).every(Boolean);
}"""
# A browser gives up what it is writing when a page goes; what comes after it shows that it is done.
WRITTEN = """async () => {
    const names = (await indexedDB.databases()).map(({ name }) => name);
    await Promise.all(names.map((name) => new Promise((resolve, reject) => {
        const opening = indexedDB.open(name);
        opening.onerror = () => reject(opening.error);
        opening.onsuccess = () => {
            const db = opening.result;
            const reading = db.transaction(db.objectStoreNames, 'readonly');
            reading.oncomplete = () => resolve(db.close());
        };
    })));
}"""
NEVER = """async () => {
    const kept = await Promise.all((await caches.keys()).map(async (name) =>
        (await (await caches.open(name)).keys()).map((request) => new URL(request.url).pathname)));
    return kept.flat().filter((path) => path !== '/w/' && !path.startsWith('/assets/'));
}"""


@pytest.mark.timeout(180)
async def test_a_page_that_is_loaded_without_a_server_goes_on(pair: Pair) -> None:
    """It shows what this browser kept, takes what is typed, and brings it when the server is back;
    what is kept for that is nobody's."""
    ada, bo, server = pair.ada, pair.bo, pair.server
    for person in (ada, bo):
        await person.open(FILE)
    await pair.write(ada, "ada writes", "before = 1")
    await ada.page.wait_for_function(KEPT)
    assert await ada.page.evaluate(NEVER) == []
    await server.kill()
    try:
        for number in (1, 2):  # the second time with what was typed the first time
            await ada.page.reload()
            await ada.until_text(FILE, "before = 1")
            await ada.click_line("ada writes")
            await ada.page.keyboard.press("End")
            await ada.page.keyboard.type(f"\noffline = {number}")
            await ada.until_text(FILE, f"offline = {number}")
            await expect(ada.page.get_by_text("Offline").first).to_be_visible()
            await ada.page.evaluate(WRITTEN)
        assert "offline = 1" in await ada.text(FILE)
        if folder := os.environ.get("CLOUDIDE_TEST_PICTURES"):
            await ada.page.screenshot(path=f"{folder}/offline.png")
    finally:
        await server.start()
    await ada.until_saved()
    for number in (1, 2):
        await bo.until_text(FILE, f"offline = {number}")
    assert (await ada.text(FILE)).count("offline = 1") == 1
    # Once signed out, nothing of the person is shown without a server.
    await ada.page.evaluate(
        "() => fetch('/api/v1/session', { method: 'DELETE', credentials: 'same-origin' })"
    )
    await ada.page.reload()
    await expect(ada.page.get_by_test_id("editor")).to_have_count(0)
    assert await ada.page.evaluate("() => localStorage.getItem('cloudide.person')") is None
