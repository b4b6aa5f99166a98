"""The account in the browser: a password, an API token, browsers that are signed out."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import Person, chromium, pictured
from playwright.async_api import expect
from server import Api, serving

PASSWORD = "correct horse battery staple"


@pytest.mark.timeout(180)
async def test_a_password_a_token_and_another_browser(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as server, chromium() as browser:
        ada = await Person.arrive(browser, "Ada")
        await ada.sign_in(server.sign_in_url)
        page = ada.page
        async with pictured(ada):
            await page.get_by_test_id("avatar").click()
            await page.get_by_role("menuitem", name="Your account").click()
            await page.get_by_test_id("password-open").click()
            await page.locator("#account-email").fill("ada@example.org")
            await page.locator("#account-password").fill("ada@example.org")
            await page.get_by_test_id("password-save").click()
            await expect(page.get_by_role("alert")).to_contain_text("harder to guess")
            await page.locator("#account-password").fill(PASSWORD)
            await page.get_by_test_id("password-save").click()
            await expect(page.get_by_text("You sign in with ada@example.org.")).to_be_visible()

            # By keyboard, as the form is filled in.
            await page.get_by_test_id("token-open").click()
            await page.keyboard.type("Nightly tests")
            await page.keyboard.press("Enter")
            secret = await page.get_by_test_id("token-secret").input_value()
            program = Api(server.url, headers={"Authorization": f"Bearer {secret}"})
            assert (await program.get("/api/v1/workspaces"))["workspaces"] == []
            await page.reload()
            token = page.get_by_test_id("token")
            await expect(token).to_contain_text("read")
            await expect(page.get_by_test_id("token-secret")).to_have_count(0)
            await token.get_by_role("button", name="Revoke").click()
            await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
            await expect(token).to_have_count(0)
            assert (await program.request("GET", "/api/v1/workspaces")).status_code == 401
            await program.close()

            other = await Person.arrive(browser, "Ada elsewhere")
            await other.page.goto(f"{server.url}/account")
            await other.page.locator("#email").fill("ada@example.org")
            await other.page.locator("#password").fill("wrong")
            await other.page.get_by_test_id("password-submit").click()
            await expect(other.page.get_by_role("alert")).to_contain_text("not the email address")
            await other.page.locator("#password").fill(PASSWORD)
            await other.page.get_by_test_id("password-submit").click()
            # The page that was asked for, not another one.
            await expect(other.page.get_by_test_id("browser")).to_have_count(2)
            await page.reload()
            await page.get_by_test_id("sign-out-others").click()
            await expect(page.get_by_test_id("browser")).to_have_count(1)
            await other.page.reload()
            await expect(other.page.get_by_test_id("password-submit")).to_be_visible()
        assert not ada.errors
