"""Tasks in the browser: the first configuration, runs, comparison, mistakes; and the idle stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from chromium import Person, chromium, pictured
from playwright.async_api import Locator, expect
from server import Server, serving

IDLE_SECONDS, WARNING_SECONDS = 14.0, 10.0


class Home(NamedTuple):
    server: Server
    ada: Person
    workspace: str

    def task(self, name: str) -> Locator:
        return self.ada.page.locator(f'[data-task="{name}"]')

    def get(self, id: str) -> Locator:
        return self.ada.page.get_by_test_id(id)

    async def printed(self, text: str) -> None:
        """Wait until the output that is shown has a line with `text`."""
        rows = self.get("task-output").locator(".xterm-rows > div")
        await expect(rows.filter(has_text=text).first).to_be_visible(timeout=30_000)


@pytest.fixture
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Home]:
    data = tmp_path_factory.mktemp("home") / "data"
    times = {"idle_minutes": IDLE_SECONDS / 60, "idle_warning_minutes": WARNING_SECONDS / 60}
    async with serving(data, **times) as server, chromium() as browser:
        workspace = await server.api.create("tasks")
        ada = await Person.arrive(browser, "Ada")
        await ada.sign_in(server.sign_in_url)
        await ada.page.goto(f"{server.url}/w/{workspace}")
        async with pictured(ada):
            yield Home(server, ada, workspace)
            assert not ada.errors


@pytest.mark.timeout(180)
async def test_a_first_configuration_and_what_becomes_of_it(home: Home) -> None:
    page, api = home.ada.page, home.server.api
    await expect(home.get("tree")).to_be_visible(timeout=30_000)

    # By keyboard, and with nothing there the panel says what to do.
    await page.keyboard.press("Alt+t")
    await expect(home.get("no-tasks")).to_contain_text("[tasks.hello]")
    await home.get("create-tasks").click()
    await page.wait_for_function("() => window.cloudide.text('cloudide.toml')")
    await expect(home.task("hello")).to_be_visible()

    await home.get("task-run").click()
    await expect(home.task("hello")).to_have_attribute("data-state", "passed", timeout=30_000)
    await home.printed("hello")
    await expect(home.get("task-facts")).to_contain_text("Passed")

    # What somebody types is a task as soon as it is written to the disk.
    await page.locator(".cm-content").click()
    await page.keyboard.press("Control+End")
    await page.keyboard.type('\n[tasks.slow]\ncommand = "echo up; sleep 1000"\n')
    await expect(home.task("slow")).to_be_visible(timeout=30_000)
    await home.task("slow").click()
    await home.get("task-run").click()
    await home.printed("up")
    await expect(home.task("slow")).to_have_attribute("data-state", "running")
    await expect(home.get("tasks-toggle")).to_have_attribute("aria-label", "Tasks: 1 running")
    await home.get("task-stop").click()
    await expect(home.get("task-facts")).to_contain_text("Stopped", timeout=30_000)

    # Another run is compared with the one before, and the keyboard starts it.
    await home.task("hello").click()
    await page.keyboard.press("ArrowDown")
    await expect(home.task("slow")).to_be_focused()
    await expect(home.task("slow")).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("ArrowUp")
    await expect(home.task("hello")).to_be_focused()
    await page.keyboard.press("Enter")
    facts = home.get("task-facts")
    await expect(facts).to_contain_text("Passed", timeout=30_000)
    await expect(facts.locator(".trend").first).to_be_visible(timeout=30_000)

    # Earlier runs are there with what they printed.
    await home.get("task-history-toggle").click()
    earlier = home.get("task-earlier")
    await expect(earlier).to_have_count(2)
    await earlier.nth(1).click()
    await expect(earlier.nth(1)).to_have_attribute("aria-pressed", "true")
    await home.printed("hello")
    await home.get("task-history-toggle").click()

    # A background task says where it serves.
    server = (
        '[tasks.serve]\ncommand = "echo on http://localhost:4321/; sleep 1000"\n'
        'background = true\nready_when = "on http"\n[tasks.bad]\ncomand = "x"\n'
    )
    await api.write(home.workspace, "cloudide.toml", server)
    problems = home.get("task-problems")
    await expect(problems).to_contain_text("cloudide.toml, line 6:", timeout=30_000)
    await expect(problems).to_contain_text("no key 'comand'")
    await home.task("serve").click()
    await home.get("task-run").click()
    await expect(home.get("task-preview")).to_be_visible(timeout=30_000)
    await expect(home.get("task-preview")).to_have_attribute(
        "href", f"/api/v1/workspaces/{home.workspace}/ports/4321/open"
    )
    await home.get("task-stop").click()
    await expect(home.get("task-preview")).to_be_hidden()


@pytest.mark.timeout(180)
async def test_a_task_that_is_ready_opens_its_preview(home: Home) -> None:
    page, api = home.ada.page, home.server.api
    workspace = await api.create("serving", image="python")
    await api.write(workspace, "index.html", "<title>Served</title><h1>by a task</h1>")
    serve = (
        '[tasks.serve]\ncommand = "exec python3 -m http.server 8765"\n'
        "background = true\nready_when = 8765\n"
    )
    await api.write(workspace, "cloudide.toml", serve)
    await page.goto(f"{home.server.url}/w/{workspace}")
    await home.get("tasks-toggle").click()
    await home.task("serve").click()
    async with page.context.expect_page(timeout=30_000) as opened:
        await home.get("task-run").click()
    preview = await opened.value
    await expect(preview.get_by_role("heading", name="by a task")).to_be_visible(timeout=30_000)
    assert "8765--" in preview.url
    await expect(home.get("task-facts")).to_contain_text("Serving on port 8765")
    # The page that opened it says so by itself: no second word on the same port.
    await expect(home.get("toast-action")).to_have_count(0)


@pytest.mark.timeout(180)
async def test_nobody_there_is_warned_and_one_click_starts_it_again(home: Home) -> None:
    warning, start = home.get("idle-warning"), home.get("start-workspace")
    await expect(warning).to_be_visible(timeout=30_000)
    await expect(warning).to_contain_text("It stops in")
    await home.get("keep-running").click()
    await expect(warning).to_be_hidden()
    await expect(warning).to_be_visible(timeout=30_000)
    await expect(start).to_be_visible(timeout=30_000)
    banner = home.ada.page.locator(".banner")
    await expect(banner).to_contain_text("stopped because nobody used it")
    await start.click()
    await expect(start).to_be_hidden()
    await home.server.api.until(home.workspace, "running")
    await expect(home.get("tree")).to_be_visible()
