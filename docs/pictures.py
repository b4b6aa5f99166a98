"""Makes the pictures of this folder: two people at a small project, in a real server and Chromium.

.venv/bin/python docs/pictures.py
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "tests" / "browser")]

from chromium import Person, chromium  # noqa: E402
from playwright.async_api import expect  # noqa: E402
from server import Server, serving  # noqa: E402

CART = '''"""What somebody is about to buy."""

from dataclasses import dataclass, field


@dataclass
class Cart:
    """Items, and what they cost."""

    prices: dict[str, int] = field(default_factory=dict)

    def add(self, item: str, price: int) -> None:
        """Put an item in; again is no error."""
        self.prices[item] = price

    def total(self) -> int:
        return sum(self.prices.values())
'''
TEST = """from shop.cart import Cart


def test_total():
    cart = Cart()
    cart.add("tea", 4)
    cart.add("cake", 3)
    assert cart.total() == 7
"""
FILES = {
    ".gitignore": "__pycache__/\n.pytest_cache/\n",
    "README.md": "# Shop\n\nA cart, and what it costs.\n",
    "cloudide.toml": '[tasks.test]\ncommand = "python -m pytest -q"\n\n[tasks.lint]\n'
    'command = "ruff check ."\n',
    "src/shop/__init__.py": "",
    "src/shop/cart.py": CART,
    "tests/test_cart.py": TEST,
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\n\n'
    '[tool.basedpyright]\nextraPaths = ["src"]\n',
}
COMMIT = "git init -q -b main && git add -A && git -c user.name=Ada -c user.email=ada@example.org commit -qm 'A cart'"  # noqa: E501


class Album:
    def __init__(self, server: Server, ada: Person, bo: Person) -> None:
        self.server = server
        self.ada = ada
        self.bo = bo

    async def take(self, name: str, person: Person | None = None) -> None:
        page = (person or self.ada).page
        await page.mouse.move(680, 20)  # nothing is hovered over
        await page.wait_for_timeout(700)  # what moves has come to rest
        await page.screenshot(path=HERE / f"{name}.png")

    async def set_up(self) -> str:
        workspace = await self.server.api.create("shop", image="python")
        for path, text in FILES.items():
            await self.server.api.write(workspace, path, text)
        await self.server.api.run(workspace, "sh", "-c", COMMIT)
        return workspace

    async def together(self, workspace: str) -> None:
        ada, bo = self.ada, self.bo
        await ada.page.goto(f"{self.server.url}/w/{workspace}")
        body = {"workspace": workspace, "role": "terminal"}
        await bo.accept((await self.server.api.post("/api/v1/invites", json=body))["url"])
        for person in (ada, bo):
            await person.open("src/shop/cart.py")
        await expect(ada.page.get_by_test_id("problems-toggle")).to_be_visible()
        await ada.page.get_by_test_id("new-terminal").last.click()
        await expect(ada.page.get_by_test_id("terminal")).to_be_visible()
        await ada.page.keyboard.type("python -m pytest -q\n")
        await ada.page.wait_for_function(
            "() => document.querySelector('.xterm-rows')?.textContent.includes('passed')"
        )
        await bo.click_line("return sum")
        await bo.page.keyboard.type("\n\n")
        await bo.page.keyboard.press("Shift+Tab")
        await bo.page.keyboard.type("def dearest(self) -> str:\nreturn max(self.")
        await ada.click_line("Items, and what")
        await ada.until_text("src/shop/cart.py", "max(self.")
        await self.take("together")
        await bo.page.keyboard.type("pr")
        await bo.page.keyboard.press("Control+Space")
        await expect(bo.page.locator(".cm-tooltip-autocomplete")).to_be_visible()
        await self.take("completion", bo)
        await bo.page.keyboard.press("Escape")
        await bo.page.keyboard.type("ices, key=self.prices.__getitem__)")
        await bo.until_saved()

    async def views(self) -> None:
        page = self.ada.page
        await page.keyboard.press("F1")
        await self.take("commands")
        await page.keyboard.press("Escape")
        await page.keyboard.press("Control+Shift+F")
        await page.get_by_test_id("search-query").fill("prices")
        await expect(page.get_by_test_id("search-said")).to_contain_text("matches")
        await self.take("search")
        await page.keyboard.press("Alt+G")
        await expect(page.get_by_text("src/shop/cart.py").first).to_be_visible()
        await page.get_by_text("src/shop/cart.py").first.click()
        await self.take("git")
        await self.bo.page.keyboard.press("Alt+H")
        await self.take("history", self.bo)
        await self.bo.page.keyboard.press("Alt+H")

    async def dark(self) -> None:
        page = self.ada.page
        await page.emulate_media(color_scheme="dark")
        await page.keyboard.press("Control+P")
        await page.get_by_test_id("quick-open").fill("test_cart")
        await expect(page.get_by_test_id("file").first).to_contain_text("test_cart.py")
        await page.keyboard.press("Enter")
        await page.wait_for_function("() => window.cloudide.text('tests/test_cart.py')")
        await page.keyboard.press("Control+Backslash")
        await expect(page.get_by_test_id("group")).to_have_count(2)
        await self.take("dark")
        await page.keyboard.press("Control+,")
        await self.take("settings")
        await page.keyboard.press("Escape")
        await page.get_by_test_id("share").click()
        await page.get_by_test_id("create-invite").click()
        await expect(page.get_by_test_id("invite-url")).to_be_visible()
        await self.take("share")
        await page.emulate_media(color_scheme="light")

    async def site(self) -> None:
        page = self.ada.page
        await page.goto(f"{self.server.url}/images")
        await expect(page.get_by_text("Stock images")).to_be_visible()
        await self.take("images")
        await page.goto(self.server.url)
        await expect(page.get_by_text("shop").first).to_be_visible()
        await self.take("workspaces")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder) / "data") as server, chromium() as browser:
            ada, bo = [await Person.arrive(browser, name) for name in ("Ada", "Bo")]
            await ada.sign_in(server.sign_in_url)
            album = Album(server, ada, bo)
            await album.together(await album.set_up())
            await album.views()
            await album.dark()
            await album.site()


if __name__ == "__main__":
    asyncio.run(main())
