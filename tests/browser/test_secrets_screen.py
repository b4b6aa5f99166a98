"""Secrets in the browser: kept, given to a task, and never shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from chromium import Person, chromium, pictured
from playwright.async_api import expect
from server import serving

VALUE = "canary-5up3r-s3cr3t"
PICTURES = os.environ.get("CLOUDIDE_TEST_PICTURES")
TASKS = '[tasks.deploy]\ncommand = "echo got $DEPLOY_TOKEN"\nsecrets = ["DEPLOY_TOKEN"]\n'


async def picture(person: Person, name: str) -> None:
    """For whoever wants to look at it."""
    if PICTURES:
        await person.page.screenshot(path=f"{PICTURES}/secrets-{name}.png")


@pytest.mark.timeout(180)
async def test_a_secret_of_ones_own_and_one_of_a_workspace(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as server, chromium() as browser:
        workspace = await server.api.create("Shop")
        await server.api.write(workspace, "cloudide.toml", TASKS)
        ada = await Person.arrive(browser, "Ada", dark=bool(PICTURES and PICTURES.endswith("dark")))
        await ada.sign_in(server.sign_in_url)
        page = ada.page
        async with pictured(ada):
            await page.goto(f"{server.url}/account")
            await page.get_by_test_id("secret-open").click()
            await page.keyboard.type("MY_TOKEN")  # the form takes the keyboard
            await page.get_by_test_id("secret-value").fill(VALUE)
            await page.get_by_test_id("secret-workspace").select_option(label="Shop")
            await page.get_by_label("Terminals and programs that ask for it").check()
            await picture(ada, "form")
            await page.get_by_test_id("secret-create").click()
            secret = page.get_by_test_id("secret")
            await expect(secret).to_contain_text("version 1 · never used")
            await expect(secret).to_contain_text("Shop: terminals and programs that ask")

            await page.goto(f"{server.url}/w/{workspace}")
            await page.get_by_test_id("secrets").click()
            dialog = page.get_by_role("dialog")
            await expect(dialog).to_contain_text("There are none.")
            await page.get_by_test_id("secret-open").click()
            await page.get_by_test_id("secret-name").fill("PATH")
            await page.get_by_test_id("secret-value").fill(VALUE)
            await page.get_by_test_id("secret-tasks").fill("deploy")
            await page.get_by_test_id("secret-create").click()
            await expect(dialog.get_by_role("alert")).to_contain_text("no name for a secret")
            await page.get_by_test_id("secret-name").fill("DEPLOY_TOKEN")
            await page.get_by_test_id("secret-create").click()
            await expect(dialog.get_by_test_id("secret")).to_contain_text("task deploy")

            runs = f"/api/v1/workspaces/{workspace}/tasks/deploy/runs"
            run = await server.api.post(runs, json={})
            path = f"/api/v1/workspaces/{workspace}/task-runs/{run['id']}"
            async with server.api.socket(path) as socket:
                while True:
                    frame = await socket.recv()
                    if isinstance(frame, str) and json.loads(frame)["type"] == "ended":
                        assert json.loads(frame)["run"]["state"] == "passed"
                        break
            await dialog.get_by_role("button", name="Change DEPLOY_TOKEN").click()
            await expect(dialog.get_by_label("Where it is used")).to_contain_text("task deploy")
            await dialog.get_by_label("New value").fill(VALUE + "2")
            await dialog.get_by_role("button", name="Add as version 2").click()
            await expect(dialog.get_by_label("Older versions")).to_contain_text("DEPLOY_TOKEN@1")
            await dialog.get_by_test_id("secret-tasks").fill("deploy, test")
            await page.keyboard.press("Tab")
            await dialog.get_by_test_id("secret-save").click()
            await expect(dialog).to_contain_text("tasks deploy, test")
            await picture(ada, "dialog")
            assert "canary" not in await page.content()
            await dialog.get_by_role("button", name="Delete", exact=True).click()
            await page.get_by_role("button", name="Delete", exact=True).last.click()
            await expect(dialog).to_contain_text("There are none.")
            await page.goto(f"{server.url}/teams")
            await page.get_by_test_id("new-team").click()
            await page.get_by_test_id("team-name").fill("Red")
            await page.get_by_test_id("create-team").click()
            await page.get_by_test_id("team-secrets").click()
            await page.get_by_test_id("secret-open").click()
            await page.get_by_test_id("secret-name").fill("OF_TEAM")
            await page.get_by_test_id("secret-value").fill(VALUE)
            # Shop is not the team's.
            await expect(page.get_by_role("dialog")).to_contain_text("There is no workspace")
            await page.get_by_test_id("secret-create").click()
            await expect(page.get_by_test_id("secret")).to_contain_text("Nothing may read it yet")
            await picture(ada, "team")
        assert ada.errors == []
