"""Previews in a real Chromium of real programs in a real container: http.server and Vite."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from chromium import Person, chromium, pictured
from playwright.async_api import Page, expect
from server import Server, serving

MODULES = Path(__file__).parents[2] / "frontend" / "node_modules"
VITE_PORT = 5173
PROJECT = {
    "index.html": '<!doctype html><p id="said"></p><script type="module" src="/main.js"></script>',
    "main.js": (
        "import { said } from './said.js';\n"
        "const show = (text) => (document.querySelector('#said').textContent = text);\n"
        "show(said);\n"
        "if (import.meta.hot) import.meta.hot.accept('./said.js', (module) => show(module.said));\n"
    ),
    "said.js": "export const said = 'first';\n",
    "package.json": '{"type": "module"}',
}


class Home(NamedTuple):
    server: Server
    ada: Person
    workspace: str

    def get(self, id: str) -> Any:
        return self.ada.page.get_by_test_id(id)

    async def start(self, *command: str) -> None:
        path = f"/api/v1/workspaces/{self.workspace}/terminals"
        await self.server.api.post(path, json={"command": list(command)})

    def address(self, port: int, path: str = "/") -> str:
        host = self.server.url.removeprefix("http://")
        return f"http://{port}--{self.workspace}.preview.{host}{path}"

    async def opened(self) -> Page:
        """The tab that a click on the toast opens."""
        async with self.ada.page.context.expect_page() as opened:
            await self.get("toast-action").first.click(timeout=60_000)
        return await opened.value


@pytest.fixture(scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    async with (
        serving(tmp_path_factory.mktemp("home") / "data") as server,
        chromium() as browser,
    ):
        workspace = await server.api.create("previews", "python")
        ada = await Person.arrive(browser, "Ada")
        await ada.sign_in(server.sign_in_url)
        await ada.page.goto(f"{server.url}/w/{workspace}")
        async with pictured(ada):
            await expect(ada.page.get_by_test_id("tree")).to_be_visible(timeout=30_000)
            yield Home(server, ada, workspace)
            assert not ada.errors


@pytest.mark.timeout(180)
async def test_a_web_server_is_offered_shown_and_shared(home: Home) -> None:
    page, api = home.ada.page, home.server.api
    await page.keyboard.press("Alt+p")
    await expect(home.get("no-ports")).to_be_visible()
    # A page that is there before the program waits for it.
    early = await page.context.new_page()
    await early.goto(home.address(8000, "/hello.txt"))
    await expect(early.get_by_role("heading")).to_have_text("Nothing listens on port 8000 yet")

    await api.write(home.workspace, "hello.txt", "hello from the container")
    await home.start("python3", "-m", "http.server", "--bind", "127.0.0.1")
    await expect(early.locator("body")).to_contain_text("hello from the container", timeout=30_000)
    preview = await home.opened()
    await preview.wait_for_url(home.address(8000))
    await expect(preview.get_by_role("link", name="hello.txt")).to_be_visible()
    cookies = await page.context.cookies(home.address(8000))
    kept = [(each.get("name"), each.get("httpOnly")) for each in cookies]
    assert kept == [("cloudide-preview", True)]

    row = page.locator('[data-port="8000"]')
    await expect(row).to_contain_text("python3 -m http.server")
    await expect(row.get_by_test_id("port-visibility")).to_have_value("private")
    await row.get_by_test_id("port-visibility").select_option("public")
    await expect(row).to_contain_text("until")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await expect(row.get_by_role("button", name="Copy the link")).to_be_enabled()
    await row.get_by_role("button", name="Copy the link").click()
    await expect(page.locator(".toast", has_text="is copied").last).to_be_visible()
    link = await page.evaluate("() => navigator.clipboard.readText()")

    browser = page.context.browser
    assert browser is not None
    guest = await (await browser.new_context()).new_page()
    await guest.goto(link)
    await guest.wait_for_url(home.address(8000))
    await expect(guest.get_by_role("link", name="hello.txt")).to_be_visible()
    await row.get_by_test_id("port-visibility").select_option("private")
    await expect(row).not_to_contain_text("until")
    await guest.goto(home.address(8000, "/hello.txt"))
    await expect(guest.locator("body")).not_to_contain_text("hello from the container")
    await guest.context.close()


@pytest.mark.timeout(180)
async def test_vite_reloads_what_changes_without_loading_the_page_anew(home: Home) -> None:
    api = home.server.api
    response = await api.request(
        "PUT", f"/api/v1/workspaces/{home.workspace}/archive", content=_vite_project()
    )
    assert response.status_code == 200, response.text
    vite = "site/node_modules/vite/bin/vite.js"
    await home.start("site/bin/node", vite, "site", "--strictPort", "--clearScreen", "false")
    preview = await home.opened()
    await preview.wait_for_url(home.address(VITE_PORT))
    said = preview.locator("#said")
    await expect(said).to_have_text("first", timeout=30_000)
    await preview.evaluate("() => (window.mark = 1)")
    await api.write(home.workspace, "site/said.js", "export const said = 'second';\n")
    await expect(said).to_have_text("second", timeout=30_000)
    assert await preview.evaluate("() => window.mark") == 1
    # A change that cannot be taken in is a reload, which the socket tells of too.
    await api.write(home.workspace, "site/index.html", PROJECT["index.html"] + "<i>third</i>")
    await expect(preview.locator("i")).to_have_text("third", timeout=30_000)


def _vite_project() -> bytes:
    """A project with Vite and a Node to run it, packed: no registry is asked."""
    node = shutil.which("node")
    assert node
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for name, content in PROJECT.items():
            info = tarfile.TarInfo(f"around/site/{name}")
            info.size = len(content.encode())
            tar.addfile(info, io.BytesIO(content.encode()))
        tar.add(Path(node).resolve(), "around/site/bin/node")
        for module in sorted(_with_dependencies("vite")):
            tar.add(MODULES / module, f"around/site/node_modules/{module}")
    return archive.getvalue()


def _with_dependencies(module: str, found: set[str] | None = None) -> set[str]:
    """A module and what it needs, as far as it is installed (some is for other systems)."""
    found = set() if found is None else found
    package = MODULES / module / "package.json"
    if module not in found and package.exists():
        found.add(module)
        described = json.loads(package.read_text())
        for kind in ("dependencies", "optionalDependencies"):
            for name in described.get(kind, {}):
                _with_dependencies(name, found)
    return found
