"""What a team keeps ready, in the browser: pools, a prebuild with its log, a maintenance window."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chromium import Person, chromium, pictured
from git_daemon import git_daemon, repository
from playwright.async_api import expect
from server import serving

PICTURES = os.environ.get("CLOUDIDE_TEST_PICTURES")


async def picture(person: Person, name: str) -> None:
    """For whoever wants to look at it."""
    if PICTURES:
        await person.page.screenshot(path=f"{PICTURES}/ready-{name}.png", full_page=True)


@pytest.mark.timeout(180)
async def test_a_team_keeps_workspaces_and_a_prebuild_ready(tmp_path: Path) -> None:
    folder = await repository(tmp_path / "repository")
    async with (
        git_daemon(folder) as git_url,
        serving(tmp_path / "data") as server,
        chromium() as browser,
    ):
        ada = await Person.arrive(browser, "Ada", dark=bool(PICTURES and PICTURES.endswith("dark")))
        await ada.sign_in(server.sign_in_url)
        page = ada.page
        async with pictured(ada):
            await page.goto(f"{server.url}/teams")
            await page.get_by_test_id("new-team").click()
            await page.get_by_test_id("team-name").fill("Crew")
            await page.get_by_test_id("create-team").click()
            ready = page.get_by_test_id("ready")
            await expect(ready.get_by_test_id("nothing-ready")).to_be_visible()
            await picture(ada, "empty")

            await ready.get_by_test_id("add-pool").click()
            await ready.get_by_test_id("ready-image").select_option("base")
            await ready.get_by_test_id("pool-size").fill("50")
            await ready.get_by_test_id("ready-submit").click()
            await expect(ready.get_by_role("alert")).to_contain_text("up to 4 workspaces together")
            await picture(ada, "refused")
            await ready.get_by_test_id("pool-size").fill("1")
            await ready.get_by_test_id("ready-submit").click()
            pool = ready.get_by_test_id("pool")
            await expect(pool).to_have_attribute("data-ready", "1", timeout=60_000)

            await ready.get_by_test_id("add-prebuild").click()
            await page.keyboard.type(git_url)  # the form takes the keyboard
            await ready.get_by_test_id("ready-image").select_option("base")
            await picture(ada, "form")
            await ready.get_by_test_id("ready-submit").click()
            prebuild = ready.get_by_test_id("prebuild")
            await expect(prebuild).to_have_attribute("data-state", "ready", timeout=60_000)
            await prebuild.get_by_test_id("prebuild-log").click()
            await expect(prebuild.locator("pre")).to_contain_text(f"Cloning {git_url}")
            await prebuild.get_by_test_id("prebuild-run").click()
            await expect(prebuild.get_by_test_id("prebuild-run")).to_be_disabled()
            await expect(prebuild).to_have_attribute("data-state", "ready", timeout=60_000)

            await page.get_by_test_id("maintenance-on").check()
            await page.get_by_test_id("maintenance-save").click()
            await expect(page.get_by_test_id("maintenance-save")).to_have_count(0)
            [team] = (await server.api.get("/api/v1/teams"))["teams"]
            policy = await server.api.get(f"/api/v1/teams/{team['id']}/policy")
            assert policy["maintenance"]["day"] == "sunday"
            await picture(ada, "team")

            await pool.get_by_role("button", name="Remove").click()
            await expect(pool).to_have_count(0)
            await prebuild.get_by_role("button", name="Delete").click()
            await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
            await expect(ready.get_by_test_id("nothing-ready")).to_be_visible()
            await page.goto(f"{server.url}/images")
            await expect(page.get_by_test_id("ready")).to_contain_text("Ready for everybody")
            await picture(ada, "images")
        # The refusal is the browser's own line for a status of 400.
        assert [each for each in ada.errors if "400" not in each] == []
