"""Previews in a real Chromium of real programs in a container: http.server, Vite and uvicorn."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
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

PYTHON_PORT = 8001
PACKAGES = Path(uvicorn.__file__).parents[1]
NEEDED = ("uvicorn", "starlette", "anyio", "click", "h11", "idna", "websockets")
APPLICATION = """
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute
from said import said

PAGE = '''<!doctype html><p id="said">%s</p><script>
const watch = (again) => {
  const socket = new WebSocket(location.href.replace('http', 'ws') + 'changes');
  socket.onopen = () => again && location.reload();
  socket.onclose = () => setTimeout(watch, 100, true);
};
watch(false);
</script>'''


async def page(request):
    return HTMLResponse(PAGE % said)


async def changes(websocket):
    await websocket.accept()
    await websocket.receive()


app = Starlette(routes=[Route("/", page), WebSocketRoute("/changes", changes)])
"""


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

    async def unpack(self, archive: bytes) -> None:
        path = f"/api/v1/workspaces/{self.workspace}/archive"
        response = await self.server.api.request("PUT", path, content=archive)
        assert response.status_code == 200, response.text

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
    await home.unpack(_vite_project())
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


@pytest.mark.timeout(180)
async def test_a_python_application_reloads_when_its_code_changes(home: Home) -> None:
    files = {"app.py": APPLICATION, "said.py": "said = 'first'\n"}
    packages = {f"packages/{name}": PACKAGES / name for name in NEEDED}
    extra = PACKAGES / "typing_extensions.py"
    await home.unpack(_packed("web", files, {**packages, "packages/typing_extensions.py": extra}))
    start = ("uvicorn", "app:app", "--app-dir", "web", "--port", str(PYTHON_PORT))
    await home.start(
        *("env", "PYTHONPATH=web/packages", "python3", "-m", *start),
        *("--reload", "--reload-dir", "web", "--reload-exclude", "packages"),
    )
    preview = await home.opened()
    await preview.wait_for_url(home.address(PYTHON_PORT))
    said = preview.locator("#said")
    await expect(said).to_have_text("first", timeout=30_000)
    await home.server.api.write(home.workspace, "web/said.py", "said = 'second'\n")
    await expect(said).to_have_text("second", timeout=30_000)


def _vite_project() -> bytes:
    """A project with Vite and a Node to run it: no registry is asked."""
    node = shutil.which("node")
    assert node
    modules = {f"node_modules/{name}": MODULES / name for name in _with_dependencies("vite")}
    return _packed("site", PROJECT, {"bin/node": Path(node).resolve(), **modules})


def _packed(folder: str, files: dict[str, str], trees: dict[str, Path]) -> bytes:
    """An archive of a folder of small files, and of what lies on this machine."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"around/{folder}/{name}")
            info.size = len(content.encode())
            tar.addfile(info, io.BytesIO(content.encode()))
        for name, path in sorted(trees.items()):
            tar.add(path, f"around/{folder}/{name}")
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
