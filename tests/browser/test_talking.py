"""Two people in one workspace: following, chat, and comments that stay on their words."""

from __future__ import annotations

import os
from pathlib import Path

from chromium import Person, chromium, pictured
from playwright.async_api import expect
from server import serving

LONG = "".join(f"line {number}\n" for number in range(400))
HOSTILE = "<img src=x onerror='window.broken = 1'> look at src/long.txt:200"


async def go(person: Person, path: str) -> None:
    """Open a file while something else than the tree shows."""
    await person.page.keyboard.press("Control+P")
    await person.page.get_by_test_id("quick-open").fill(path)
    await expect(person.page.get_by_test_id("file")).to_have_count(1)
    await person.page.keyboard.press("Enter")
    await person.page.wait_for_function("path => window.cloudide.text(path)", arg=path)


async def talk(ada: Person, bo: Person) -> None:
    await bo.page.keyboard.press("Alt+C")
    await ada.page.keyboard.press("Alt+C")
    await ada.page.get_by_test_id("chat-text").fill(HOSTILE)
    await ada.page.keyboard.press("Enter")
    message = bo.page.get_by_test_id("message")
    await expect(message).to_contain_text(HOSTILE)
    await message.get_by_role("button", name="src/long.txt:200").click()
    await expect(
        bo.page.get_by_test_id("editor").get_by_text("line 199", exact=True)
    ).to_be_visible()
    assert await bo.page.evaluate("window.broken") is None


async def follow(ada: Person, bo: Person) -> None:
    """Bo goes where Ada goes, in files and within them, until he does something himself."""
    await ada.page.get_by_test_id("gather").click()
    await bo.page.get_by_test_id("toast-action").click()
    await expect(bo.page.get_by_test_id("follow")).to_have_text("Following")
    await go(ada, "other.txt")
    await bo.until_text("other.txt", "other")
    await go(ada, "src/long.txt")
    text = bo.page.get_by_test_id("editor")
    await expect(text).to_have_attribute("data-path", "src/long.txt")
    await ada.page.locator(".cm-scroller").evaluate("e => e.scrollTop = e.scrollHeight * 0.8")
    await expect(text.get_by_text("line 330", exact=True)).to_be_visible()
    await text.locator(".cm-content").click()
    await expect(bo.page.get_by_test_id("follow")).to_have_text("Follow")


async def comment(ada: Person, bo: Person) -> None:
    await go(ada, "other.txt")
    await ada.click_line("other")
    await ada.page.keyboard.press("Shift+Home")
    await ada.page.keyboard.press("Control+Alt+m")
    await ada.page.get_by_test_id("comment-text").fill("Why not another?")
    await ada.page.keyboard.press("Enter")
    await go(bo, "other.txt")
    mark = bo.page.locator(".cm-comment")
    await expect(mark).to_have_text("other")
    await bo.click_line("other")
    await bo.page.keyboard.press("Home")
    await bo.page.keyboard.type("any")
    await expect(mark).to_have_text("other")
    await expect(ada.page.locator(".cm-comment")).to_have_text("other")
    await mark.click()
    thread = bo.page.get_by_test_id("thread")
    await expect(thread).to_contain_text("Why not another?")
    await bo.page.get_by_test_id("reply-text").fill("Done")
    await bo.page.keyboard.press("Enter")
    await expect(ada.page.get_by_test_id("thread")).to_contain_text("Done")
    await ada.page.get_by_test_id("resolve").click()
    await expect(mark).to_have_count(0)
    await expect(thread).to_have_count(0)


async def catch_up(ada: Person, bo: Person) -> None:
    """Who comes back is told what others changed meanwhile, and opens it from there."""
    await go(bo, "other.txt")
    await bo.page.get_by_test_id("editor").locator(".cm-line").first.click()
    await bo.page.keyboard.type("meanwhile ")
    await bo.until_saved()
    await go(ada, "other.txt")
    await ada.until_text("other.txt", "meanwhile")
    # As if she had last been here an hour ago.
    await ada.page.evaluate(
        """() => {
            const hour = Date.now() - 3600_000;
            const noted = JSON.stringify({ left: 0, seen: hour });
            addEventListener('pagehide', () => Object.keys(localStorage)
                .filter((key) => key.includes('seen.'))
                .forEach((key) => localStorage.setItem(key, noted)));
        }"""
    )
    await ada.page.reload()
    notice = ada.page.get_by_text("While you were away: Bo changed")
    await expect(notice).to_be_visible()
    await ada.page.get_by_role("button", name="Catch up").click()
    entry = ada.page.get_by_test_id("caught-up").filter(has_text="other.txt")
    await expect(entry).to_contain_text("Bo")
    if folder := os.environ.get("CLOUDIDE_TEST_PICTURES"):
        await ada.page.screenshot(path=f"{folder}/catch-up.png")
    await ada.page.get_by_test_id("tab").filter(has_text="other.txt").press("Delete")
    await entry.click()
    await ada.until_text("other.txt", "meanwhile")


async def test_two_people_talk_follow_and_comment(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as server, chromium() as browser:
        workspace = await server.api.create("together")
        await server.api.write(workspace, "src/long.txt", LONG)
        await server.api.write(workspace, "other.txt", "other\n")
        ada = await Person.arrive(browser, "Ada")
        await ada.sign_in(server.sign_in_url)
        body = {"workspace": workspace, "role": "editor"}
        url = (await server.api.post("/api/v1/invites", json=body))["url"]
        bo = await Person.arrive(browser, "Bo", dark=True)
        await bo.accept(url)
        await ada.page.goto(f"{server.url}/w/{workspace}")
        async with pictured(ada, bo):
            await ada.open("other.txt")
            await expect(bo.page.get_by_test_id("tree")).to_contain_text("other.txt")
            await talk(ada, bo)
            await follow(ada, bo)
            await comment(ada, bo)
            await catch_up(ada, bo)
        assert not ada.errors
        assert not bo.errors
