"""The page around the editor: commands, panes, settings, and searching and replacing in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import Person, chromium, pictured
from playwright.async_api import FilePayload, Page, expect
from server import Server, serving

FILES = {
    "src/prices.py": "price = 1\nPRICE = price + 1\n",
    "src/shop.py": "from prices import price\n",
    "docs/price list.md": "The price\n",
    "other.txt": "nothing here\n",
}


async def command(page: Page, name: str) -> None:
    await page.keyboard.press("Control+Shift+P")
    await page.get_by_test_id("palette").fill(name)
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("palette")).to_have_count(0)


async def tabs_of(page: Page) -> list[list[str]]:
    """The names of the tabs in each pane."""
    return [
        [
            await tab.get_attribute("data-path") or ""
            for tab in await group.get_by_test_id("tab").all()
        ]
        for group in await page.get_by_test_id("group").all()
    ]


async def lay_out(page: Page) -> None:
    """Files side by side, by keyboard alone; and everything is there again after a reload."""
    await page.keyboard.press("Control+P")
    await page.get_by_test_id("quick-open").fill("shpy")
    await expect(page.get_by_test_id("file").first).to_contain_text("shop.py")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("tab")).to_have_count(2)
    await command(page, "new pane")
    await expect(page.get_by_test_id("group")).to_have_count(2)
    assert await tabs_of(page) == [["src/prices.py"], ["src/shop.py"]]
    await expect(page.get_by_test_id("editor")).to_have_count(2)
    await command(page, "word wrap")
    await expect(page.locator(".cm-lineWrapping")).to_have_count(2)
    await command(page, "high contrast")
    await page.reload()
    await expect(page.get_by_test_id("editor")).to_have_count(2)
    await expect(page.locator(".cm-lineWrapping")).to_have_count(2)
    await expect(page.locator("html")).to_have_attribute("data-theme", "contrast")


async def replace_all(ada: Person, bo: Person) -> None:
    """What one replaces in closed and open files, the other sees; and it is undone as one."""
    page = ada.page
    await page.keyboard.press("Control+Shift+F")
    await page.get_by_test_id("search-query").fill("price")
    said = page.get_by_test_id("search-said")
    await expect(said).to_have_text("6 matches in 3 files")
    await page.get_by_test_id("search-case").click()
    await expect(said).to_have_text("5 matches in 3 files")
    await page.get_by_test_id("search-regex").click()
    await page.get_by_test_id("search-query").fill("(pri")
    await expect(page.get_by_role("alert").first).to_contain_text("unclosed group")
    await page.get_by_test_id("search-query").fill("(pri)ce\\b")
    await expect(said).to_have_text("4 matches in 3 files")
    row = page.get_by_test_id("search-results").get_by_role("treeitem")
    await row.filter(has_text="price list.md").hover()
    await row.filter(has_text="price list.md").get_by_label("Leave this out").click()
    await expect(said).to_contain_text("3 matches in 2 files")
    await page.get_by_test_id("replace-open").click()
    await page.get_by_test_id("replace-with").fill("$1mer")
    await page.get_by_test_id("replace-all").click()
    await page.get_by_role("button", name="Replace", exact=True).last.click()
    await bo.until_text("src/prices.py", "primer = 1\nPRICE = primer + 1\n")
    await ada.until_text("src/shop.py", "from prices import primer\n")
    await ada.click_line("from prices")
    await page.keyboard.press("Control+Z")
    await bo.until_text("src/prices.py", "price = 1\nPRICE = price + 1\n")
    await ada.until_text("src/shop.py", "from prices import price\n")


async def vim(ada: Person) -> None:
    await command(ada.page, "vim keys")
    await ada.click_line("from prices")
    await expect(ada.page.locator(".cm-vim-panel")).to_have_count(2)
    await ada.page.keyboard.type("dd")
    await ada.page.wait_for_function("() => window.cloudide.text('src/shop.py') === ''")
    await ada.page.keyboard.type("u")
    await ada.until_text("src/shop.py", "from prices import price\n")
    await command(ada.page, "usual keys")


async def arrange_files(ada: Person, bo: Person) -> None:
    """Two entries are dragged into a folder and go back; one is deleted and comes back."""
    page = ada.page
    await page.keyboard.press("Control+Shift+E")
    tree = page.get_by_test_id("tree")
    shop, other = (tree.locator(f'[data-path="{path}"]') for path in ("src/shop.py", "other.txt"))
    await shop.click()
    await other.click(modifiers=["Control"])
    await other.drag_to(tree.locator('[data-path="docs"]'))
    for path in ("docs/shop.py", "docs/other.txt"):
        await expect(tree.locator(f'[data-path="{path}"]')).to_be_visible()
    await expect(page.get_by_test_id("tab").nth(1)).to_have_attribute("data-path", "docs/shop.py")
    await page.get_by_test_id("toast-action").last.click()
    await expect(shop).to_be_visible()
    await expect(other).to_be_visible()
    await other.click()
    await page.keyboard.press("Delete")
    await expect(other).to_have_count(0)
    bos = bo.page.get_by_test_id("tree").locator('[data-path="other.txt"]')
    await expect(bos).to_have_count(0)
    await page.get_by_test_id("toast-action").last.click()
    await expect(other).to_be_visible()
    await expect(bos).to_be_visible()
    await tree.locator('[data-path="docs"]').click()
    upload: FilePayload = {
        "name": "up.txt",
        "mimeType": "text/plain",
        "buffer": b"from outside",
    }
    await page.get_by_test_id("upload").set_input_files([upload])
    await expect(page.get_by_test_id("uploads")).to_contain_text("1 file uploaded")
    await expect(tree.locator('[data-path="docs/up.txt"]')).to_be_visible()


@pytest.fixture
async def server(tmp_path: Path):
    async with serving(tmp_path / "data") as server:
        yield server


async def test_a_person_makes_the_page_theirs_and_changes_many_files(server: Server) -> None:
    workspace = await server.api.create("shell")
    for path, text in FILES.items():
        await server.api.write(workspace, path, text)
    async with chromium() as browser:
        ada = await Person.arrive(browser, "Ada")
        await ada.sign_in(server.sign_in_url)
        await ada.page.goto(f"{server.url}/w/{workspace}")
        await ada.open("src/prices.py")
        bo = await Person.arrive(
            browser, "Bo", state=await ada.page.context.storage_state(indexed_db=True)
        )
        await bo.page.goto(f"{server.url}/w/{workspace}")
        await bo.open("src/prices.py")
        async with pictured(ada, bo):
            await lay_out(ada.page)
            await replace_all(ada, bo)
            await vim(ada)
            await arrange_files(ada, bo)
        assert not ada.errors
        assert not bo.errors
