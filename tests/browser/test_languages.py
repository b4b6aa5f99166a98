"""Language servers in the browser: two people, a real Python project, one server for both."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from chromium import Person, chromium, pictured
from playwright.async_api import Locator, expect
from server import Server, serving

SLOW = 60_000  # ms; a server that begins, on a machine that has other things to do

PRICING = '''"""What things cost."""


class Basket:
    """What somebody is about to buy."""

    def total(self) -> int:
        return 3


def price_of(basket: Basket) -> int:
    return basket.total() + "?"
'''
SHOP = """from pricing import Basket, price_of

basket = Basket()
print(price_of(basket))
"""


class Pair(NamedTuple):
    server: Server
    workspace: str
    ada: Person
    bo: Person

    def get(self, id: str) -> Locator:
        return self.ada.page.get_by_test_id(id)

    async def both_have(self, path: str, text: str) -> None:
        for person in (self.ada, self.bo):
            await person.page.wait_for_function(
                "([path, text]) => window.cloudide?.text(path) === text", arg=[path, text]
            )


@pytest.fixture
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    data = tmp_path_factory.mktemp("pair") / "data"
    async with serving(data) as server, chromium() as browser:
        workspace = await server.api.create("languages", image="python")
        await server.api.write(workspace, "pricing.py", PRICING)
        await server.api.write(workspace, "shop.py", SHOP)
        await server.api.write(workspace, "main.go", "package main\n")
        ada = await Person.arrive(browser, "Ada")
        await ada.sign_in(server.sign_in_url)
        body = {"workspace": workspace, "role": "editor"}
        invite = await server.api.post("/api/v1/invites", json=body)
        bo = await Person.arrive(browser, "Bo", dark=True)
        await bo.accept(invite["url"])
        await ada.page.goto(f"{server.url}/w/{workspace}")
        async with pictured(ada, bo):
            yield Pair(server, workspace, ada, bo)
            assert not ada.errors
            assert not bo.errors


@pytest.mark.timeout(180)
async def test_two_people_and_one_language_server(pair: Pair) -> None:
    page, bo = pair.ada.page, pair.bo
    await pair.ada.open("pricing.py")
    editor = pair.get("editor")

    # What is wrong shows in the text, on the tab, in the tree, in the corner and in the panel.
    await expect(editor.locator(".cm-lintRange-error")).to_have_text(
        'basket.total() + "?"', timeout=SLOW
    )
    await expect(pair.get("problems-toggle")).to_have_attribute(
        "aria-label", "Problems: 1 error", timeout=SLOW
    )
    await expect(pair.get("tab")).to_contain_text("1", timeout=SLOW)
    await expect(pair.get("tree").locator('[data-path="pricing.py"]')).to_contain_text(
        "1 error", timeout=SLOW
    )
    await expect(pair.get("servers")).to_have_attribute("data-state", "running", timeout=SLOW)

    # What a symbol is, by the pointer and by the keyboard.
    await editor.get_by_text("total").last.hover()
    tooltip = page.locator(".cm-lsp-hover-tooltip")
    await expect(tooltip).to_contain_text("total", timeout=SLOW)
    await pair.ada.click_line("def price_of")
    await page.keyboard.press("Home")
    await page.keyboard.press("Control+ArrowRight")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Control+k")
    await page.keyboard.press("Control+i")
    await expect(tooltip).to_contain_text("price_of", timeout=SLOW)
    await page.keyboard.press("Escape")
    await expect(tooltip).to_have_count(0, timeout=SLOW)

    # Renamed by one, it is renamed for both in both files, and taken back as one step.
    await bo.open("pricing.py")
    await bo.open("shop.py")
    await pair.ada.open("shop.py")
    await page.get_by_role("tab", name="pricing.py").click()
    await pair.ada.click_line("def price_of")
    await page.keyboard.press("Home")
    await page.keyboard.press("Control+ArrowRight")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("F2")
    name = page.get_by_label("New name")
    await expect(name).to_have_value("price_of")
    await name.fill("cost_of")
    await page.keyboard.press("Enter")
    await pair.both_have("shop.py", SHOP.replace("price_of", "cost_of"))
    await pair.both_have("pricing.py", PRICING.replace("price_of", "cost_of"))
    toast = page.get_by_text("Renamed to cost_of in 2 files.")
    await expect(toast).to_be_visible(timeout=SLOW)
    await page.keyboard.press("Control+z")
    await pair.both_have("shop.py", SHOP)
    await pair.both_have("pricing.py", PRICING)

    # A completion that is taken, in the other window; the server knows what was just typed.
    await bo.page.get_by_role("tab", name="pricing.py").click()
    await bo.click_line('basket.total() + "?"')
    await bo.page.keyboard.press("Shift+Home")
    await bo.page.keyboard.insert_text("return basket.")
    await bo.page.keyboard.type("to")
    option = bo.page.locator(".cm-tooltip-autocomplete li", has_text="total")
    await option.first.click(timeout=SLOW)  # Enter counts only once a person can have read it
    await bo.page.keyboard.type("()")
    mended = PRICING.replace(' + "?"', "")
    await pair.both_have("pricing.py", mended)
    await expect(editor.locator(".cm-lintRange-error")).to_have_count(0, timeout=SLOW)
    await expect(pair.get("problems-toggle")).to_have_attribute(
        "aria-label", "Problems", timeout=SLOW
    )

    # The panel says what is wrong and whose line it is, and leads there.
    await bo.page.get_by_role("tab", name="shop.py").click()
    await bo.click_line("print(price_of")
    await bo.page.keyboard.type("\nprint(missing)")
    await expect(pair.get("problems-toggle")).to_have_attribute(
        "aria-label", re.compile("error"), timeout=SLOW
    )
    await page.keyboard.press("Alt+m")
    problem = pair.get("problem").filter(has_text="missing")
    await expect(problem.first).to_be_visible(timeout=SLOW)
    await expect(problem.first).to_contain_text("Bo", timeout=SLOW)
    await expect(page.locator('[data-testid="problem"]:focus')).to_have_count(1, timeout=SLOW)
    await problem.first.click()
    await expect(page.get_by_role("tab", name="shop.py")).to_have_attribute(
        "aria-selected", "true", timeout=SLOW
    )
    await expect(page.locator(".cm-activeLine")).to_contain_text("missing", timeout=SLOW)

    # Symbols of the file by their letters, and where one is used.
    await page.get_by_role("tab", name="pricing.py").click()
    await page.keyboard.press("Control+Shift+o")
    await expect(pair.get("symbol").filter(has_text="price_of").first).to_be_visible(timeout=SLOW)
    await page.keyboard.type("bask")
    await page.keyboard.press("Enter")
    await expect(page.locator(".cm-activeLine")).to_contain_text("class Basket", timeout=SLOW)
    await page.keyboard.press("Control+ArrowRight")
    await page.keyboard.press("Shift+F12")
    await expect(pair.get("place")).to_have_count(4, timeout=SLOW)

    # A language without a server says what would bring one.
    await pair.ada.open("main.go")
    servers = pair.get("servers")
    await expect(servers).to_have_attribute("data-state", "none", timeout=SLOW)
    await servers.click()
    await expect(pair.get("server-missing")).to_contain_text("gopls", timeout=SLOW)
    basedpyright = page.locator('[data-server="basedpyright"]')
    await expect(basedpyright).to_contain_text("2 pages use it", timeout=SLOW)
