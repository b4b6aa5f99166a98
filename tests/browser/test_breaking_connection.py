"""A page whose connection breaks once for everything that it loads is complete nevertheless."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from chromium import Person, chromium, pictured
from playwright.async_api import Route, expect
from promises.uncontained import uncontained


async def test_what_broke_while_the_page_loaded_is_asked_for_again(tmp_path: Path) -> None:
    """As Chromium gives up whatever is under way when an interface of its machine changes."""
    broken: set[str] = set()

    async def once(route: Route) -> None:
        request = route.request
        # A preload is only ahead of its time, and the document is the browser's own to load again.
        path = urlsplit(request.url).path
        if request.resource_type in ("script", "stylesheet", "fetch") and path not in broken:
            broken.add(path)
            await route.abort("connectionreset")
        else:
            await route.continue_()

    async with uncontained(tmp_path) as server, chromium() as browser:
        ada = await Person.arrive(browser, "Ada")
        await ada.page.route("**/*", once)
        async with pictured(ada):
            await ada.sign_in(server.sign_in_url)
            await ada.page.get_by_test_id("avatar").click()
            await ada.page.get_by_role("menuitem", name="Account").click()
            await expect(ada.page.locator("#account-name")).to_have_value("Ada")
            ground = await ada.page.evaluate(
                "getComputedStyle(document.documentElement).getPropertyValue('--mono')"
            )
            assert ground
        assert {Path(path).suffix for path in broken} >= {".js", ".css"}
        assert "/api/v1/session" in broken
        assert not ada.errors
