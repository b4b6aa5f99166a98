"""A real Chromium, and people who use the front end in it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import (
    Browser,
    Page,
    StorageState,
    ViewportSize,
    async_playwright,
    expect,
)

# The image of a person at work; wide enough for tree, editor and terminal side by side.
VIEWPORT: ViewportSize = {"width": 1360, "height": 850}
ARGUMENTS = [
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    assert shutil.which("chromium"), "Chromium is missing; `make test` installs it."
    expect.set_options(timeout=30_000)  # other tests run on the same cores
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=Path(__file__).with_name("launch_chromium.py"),
            args=ARGUMENTS,
            # The Python that runs the tests runs that, too.
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        try:
            yield browser
        finally:
            await browser.close()


PICTURES = os.environ.get("CLOUDIDE_TEST_PICTURES")  # a folder for screenshots


@asynccontextmanager
async def pictured(*people: Person) -> AsyncIterator[None]:
    """Keep a picture of what everybody saw when the test failed, if a folder is given for it."""
    try:
        yield
    except BaseException:
        if PICTURES:
            for person in people:
                await person.page.screenshot(path=f"{PICTURES}/{person.name}.png")
        raise


class Person:
    """One person with a browser window of their own: cookies, storage and all."""

    def __init__(self, name: str, page: Page) -> None:
        self.name = name
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(error.stack or str(error)))

    @classmethod
    async def arrive(
        cls,
        browser: Browser,
        name: str,
        *,
        dark: bool = False,
        state: StorageState | None = None,
    ) -> Person:
        """With the `state` of a browser in which somebody is signed in, they are that one."""
        context = await browser.new_context(
            viewport=VIEWPORT, color_scheme="dark" if dark else "light", storage_state=state
        )
        context.set_default_timeout(30_000)
        return cls(name, await context.new_page())

    async def sign_in(self, url: str) -> None:
        await self.page.goto(url)
        await self.page.get_by_test_id("signin-name").fill(self.name)
        await self.page.get_by_test_id("signin-submit").click()
        await expect(self.page.get_by_test_id("new-workspace").first).to_be_visible()

    async def accept(self, url: str) -> None:
        await self.page.goto(url)
        await self.page.get_by_test_id("invite-name").fill(self.name)
        await self.page.get_by_test_id("invite-submit").click()
        await self.page.wait_for_url(re.compile("/w/"))

    async def open(self, path: str) -> None:
        """Open a file by unfolding the tree."""
        tree = self.page.get_by_test_id("tree")
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = tree.locator(f'[data-path="{"/".join(parts[:depth])}"]')
            await expect(folder).to_be_visible(timeout=30_000)
            if await folder.get_attribute("aria-expanded") != "true":
                await folder.click()
        await tree.locator(f'[data-path="{path}"]').click()
        await self.page.wait_for_function("path => window.cloudide.text(path)", arg=path)

    async def text(self, path: str) -> str:
        return await self.page.evaluate("path => window.cloudide.text(path)", path)

    async def until_text(self, path: str, part: str) -> None:
        """Wait until the open file holds `part`."""
        await self.page.wait_for_function(
            "([path, part]) => (window.cloudide?.text(path) ?? '').includes(part)",
            arg=[path, part],
            timeout=60_000,
        )

    async def until_saved(self) -> None:
        state = self.page.get_by_test_id("save-state")
        await expect(state).to_have_attribute("data-state", "saved", timeout=60_000)
        await expect(state).to_have_attribute("data-disk", "clean", timeout=60_000)

    async def click_line(self, line: str) -> None:
        """Put the cursor at the end of a line that is on the screen."""
        editor = self.page.get_by_test_id("editor")
        await editor.locator(".cm-line", has_text=line).first.click()
        await self.page.keyboard.press("End")

    async def terminal_text(self) -> str:
        """What the visible terminal shows, from xterm's accessible rows."""
        rows = self.page.get_by_test_id("terminal").locator(".xterm-rows > div:visible")
        return "\n".join(await rows.all_inner_texts())
