"""Sharing in the browser: a link that needs approval, another role, removal, and a team."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chromium import Person, chromium, pictured
from playwright.async_api import Page, expect
from server import serving

# What is promised of a right that ends: whoever had it is told within this time.
PROMISED_MS = 2000
SHOTS = os.environ.get("CLOUDIDE_TEST_SHOTS")  # a folder for pictures of each step


async def shot(page: Page, name: str) -> None:
    if SHOTS:
        await page.screenshot(path=f"{SHOTS}/{name}.png")


@pytest.mark.timeout(240)
async def test_a_guest_is_let_in_changed_and_removed_and_a_team_takes_over(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path / "data") as server, chromium() as browser:
        workspace = await server.api.create("plans")
        await server.api.write(workspace, "plan.md", "a plan\n")
        ada = await Person.arrive(browser, "Ada")
        await ada.sign_in(server.sign_in_url)
        bo = await Person.arrive(browser, "Bo", dark=True)
        async with pictured(ada, bo):
            # Ada makes a link by which one may edit, once she has said yes.
            await ada.page.goto(f"{server.url}/w/{workspace}")
            await ada.open("plan.md")
            await ada.page.get_by_test_id("share").click()
            await ada.page.get_by_test_id("invite-role").select_option("editor")
            await ada.page.get_by_test_id("invite-approval").check()
            await ada.page.get_by_test_id("create-invite").click()
            url = await ada.page.get_by_test_id("invite-url").input_value()
            await shot(ada.page, "share-link")
            await ada.page.keyboard.press("Escape")

            await bo.page.goto(url)
            await shot(bo.page, "invited")
            await bo.page.get_by_test_id("invite-name").fill("Bo")
            await bo.page.get_by_test_id("invite-submit").click()
            await expect(bo.page.get_by_test_id("waiting")).to_be_visible()
            await shot(bo.page, "waiting")
            knock = ada.page.get_by_test_id("knock")
            await expect(knock).to_contain_text("Bo asks to edit files here.")
            await shot(ada.page, "knock")
            await ada.page.get_by_test_id("let-in").click()
            await bo.page.wait_for_url(f"**/w/{workspace}")
            await expect(knock).to_be_hidden()

            # Bo edits, and cannot run anything.
            await bo.open("plan.md")
            await bo.click_line("a plan")
            await bo.page.keyboard.type(" of Bo's")
            await ada.until_text("plan.md", "a plan of Bo's")
            await expect(bo.page.get_by_test_id("new-terminal")).to_have_count(0)

            # Another role holds at once, and the page learns it by itself.
            await ada.page.get_by_test_id("share").click()
            role = ada.page.get_by_label("What Bo may do")
            await role.select_option("terminal")
            await expect(bo.page.get_by_test_id("new-terminal")).to_be_visible()
            await bo.page.keyboard.type(" and more")
            await ada.until_text("plan.md", "of Bo's and more")
            await bo.until_saved()
            await shot(ada.page, "share-people")

            row = ada.page.get_by_test_id("member").filter(has_text="Bo")
            await row.get_by_role("button", name="Remove").click()
            told = bo.page.get_by_text("You are no longer a member of this workspace")
            await expect(told).to_be_visible(timeout=PROMISED_MS)
            await expect(bo.page.get_by_test_id("new-terminal")).to_have_count(0)
            await shot(bo.page, "removed")
            await ada.page.keyboard.press("Escape")

            # A team: Bo joins it, and is back when the workspace becomes the team's.
            await ada.page.goto(f"{server.url}/teams")
            await ada.page.get_by_test_id("new-team").click()
            await ada.page.get_by_test_id("team-name").fill("Crew")
            await ada.page.keyboard.press("Enter")
            await ada.page.get_by_test_id("invite-to-team").click()
            url = await ada.page.get_by_test_id("made-link").input_value()
            await shot(ada.page, "teams")
            await bo.page.goto(url)
            await shot(bo.page, "invited-to-team")
            await bo.page.get_by_test_id("invite-submit").click()
            await bo.page.wait_for_url("**/teams")
            await expect(bo.page.get_by_text("You are a member.", exact=False)).to_be_visible()
            await bo.page.goto(server.url)
            await expect(bo.page.get_by_text("No workspaces yet")).to_be_visible()

            await ada.page.goto(server.url)
            await ada.page.get_by_test_id("workspace-settings").click()
            await ada.page.get_by_test_id("settings-owner").select_option(label="The team Crew")
            await shot(ada.page, "workspace-settings")
            await ada.page.get_by_role("button", name="Save").click()
            await expect(ada.page.get_by_text("· Crew ·")).to_be_visible()
            # The list shows it without being loaded anew.
            await expect(bo.page.get_by_role("link", name="plans")).to_be_visible()
            await shot(bo.page, "list-of-member")
            await bo.page.get_by_role("link", name="plans").click()
            await bo.open("plan.md")
            assert "of Bo's and more" in await bo.text("plan.md")
            assert not ada.errors
            assert not bo.errors
