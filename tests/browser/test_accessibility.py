"""axe-core finds nothing serious on any screen, in every theme."""

from __future__ import annotations

from pathlib import Path

from chromium import Person, chromium, pictured
from playwright.async_api import Page, expect
from server import serving

AXE = Path(__file__).parents[2] / "frontend/node_modules/axe-core/axe.min.js"
SERIOUS = """(rules) => axe.run(document, {
    resultTypes: ['violations'], ...(rules ? {runOnly: rules} : {})}).then((r) => r.violations
  .filter(({impact}) => impact === 'serious' || impact === 'critical')
  // CodeMirror's text is reached by Tab itself; axe does not see that.
  .filter(({id, nodes}) => id !== 'scrollable-region-focusable'
    || nodes.some((node) => !node.html.includes('cm-scroller')))
  .flatMap(({id, nodes}) => nodes.map((node) =>
    `${id}: ${node.html.slice(0, 160)} ${node.any.map(({message}) => message).join(' ')}`)))"""
SETTLED = """() => new Promise(requestAnimationFrame)
  .then(() => Promise.allSettled(document.getAnimations()
    .filter((each) => each.effect.getComputedTiming().iterations !== Infinity)
    .map((each) => each.finished)))
  .then(() => new Promise(requestAnimationFrame))"""
COLOURS = ("color-contrast", "link-in-text-block")
SCREENS = {  # and what shows once they have loaded
    "/": '[data-testid="new-workspace"]',
    "/account": 'main[aria-busy="false"]',
    "/teams": 'main[aria-busy="false"]',
    "/images": 'main[aria-busy="false"]',
}
VIEWS = ("files", "search", "git", "together", "tasks", "problems", "ports", "terminals")


class Looker:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.found: list[str] = []

    async def dress(self, theme: str) -> None:
        """Show a theme, and wait until every colour is its own."""
        await self.page.evaluate("t => document.documentElement.dataset.theme = t", theme)
        await self.page.evaluate(SETTLED)

    async def look(self, where: str, *rules: str) -> None:
        """By these rules; by all without any."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE.read_text())
        found = await self.page.evaluate(SERIOUS, rules or None)
        self.found += [f"{where}: {each}" for each in found]

    async def look_in_all_themes(self, where: str) -> None:
        """By all rules in one; the others differ in their colours alone."""
        for theme, rules in (("light", ()), ("dark", COLOURS), ("contrast", COLOURS)):
            await self.dress(theme)
            await self.look(f"{where} {theme}", *rules)


async def test_nothing_serious_is_found_on_any_screen(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as server, chromium() as browser:
        workspace = await server.api.create("seen")
        await server.api.write(workspace, "src/app.py", "def run():\n    return 1\n" * 40)
        await server.api.write(workspace, "Makefile", "all:\n\ttrue\n")
        await server.api.run(workspace, "git", "init", "--quiet", ".")
        ada = await Person.arrive(browser, "Ada")
        page, looker = ada.page, Looker(ada.page)
        await page.emulate_media(reduced_motion="reduce")  # what fades in has no contrast yet
        async with pictured(ada):
            await page.goto(server.sign_in_url)
            await expect(page.get_by_test_id("signin-name")).to_be_visible()
            await looker.look("sign in")
            await ada.sign_in(server.sign_in_url)
            for path, loaded in SCREENS.items():
                await page.goto(f"{server.url}{path}")
                await expect(page.locator(loaded).first).to_be_visible()
                await looker.look_in_all_themes(path)
            await page.goto(f"{server.url}/w/{workspace}")
            await ada.open("src/app.py")
            await page.keyboard.press("Control+`")
            for view in VIEWS:
                toggle = page.get_by_test_id(f"{view}-toggle")
                if await toggle.get_attribute("aria-pressed") != "true":
                    await toggle.click()
                await looker.look_in_all_themes(view)
            for key, shown in (
                ("Control+Shift+P", "palette"),
                ("Control+P", "quick-open"),
                ("Control+,", "font-size"),
            ):
                await page.keyboard.press(key)
                await expect(page.get_by_test_id(shown)).to_be_visible()
                await looker.look(shown)
                await page.keyboard.press("Escape")
        assert not looker.found, "\n".join(looker.found)
        assert not ada.errors
