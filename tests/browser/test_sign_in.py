"""Signing in at a provider and by password, linking and unlinking, as a person does."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import Person, chromium, pictured
from identity_provider import configured, identity_provider
from playwright.async_api import expect
from promises.uncontained import uncontained

PASSWORD = "correct horse battery staple"


@pytest.mark.timeout(180)
async def test_a_person_signs_in_at_a_provider_and_by_password(tmp_path: Path) -> None:
    async with (
        identity_provider() as idp,
        uncontained(tmp_path, oidc=configured(idp, "company", "school", label="")) as server,
        chromium() as browser,
    ):
        idp.interactive = True
        ada = await Person.arrive(browser, "Ada")
        page = ada.page
        async with pictured(ada):
            await page.goto(f"{server.url}/account")
            await page.get_by_test_id("provider-company").click()
            await page.get_by_role("link", name="Refuse").click()
            await expect(page.get_by_role("alert")).to_contain_text("you did not agree")
            await page.get_by_role("link", name="Go to CloudIDE").click()
            await page.goto(f"{server.url}/account")
            await page.get_by_test_id("provider-company").click()
            await page.get_by_role("link", name="Allow").click()
            # The page that was asked for.
            await expect(page.locator("#account-name")).to_have_value("Ada Lovelace")
            identity = page.get_by_test_id("identity")
            await expect(identity).to_contain_text("Company")

            # The last way in stays; a second one can be had, and either can go then.
            await identity.get_by_role("button", name="Unlink").click()
            await page.get_by_role("dialog").get_by_role("button", name="Unlink").click()
            await expect(page.get_by_text("your last way to sign in")).to_be_visible()
            await page.get_by_test_id("link-school").click()
            await page.get_by_role("link", name="Allow").click()
            await expect(identity).to_have_count(2)
            await page.get_by_test_id("password-open").click()
            await page.locator("#account-email").fill("ada@example.org")
            await page.locator("#account-password").fill(PASSWORD)
            await page.get_by_test_id("password-save").click()
            await expect(page.get_by_text("You sign in with ada@example.org.")).to_be_visible()
            await identity.first.get_by_role("button", name="Unlink").click()
            await page.get_by_role("dialog").get_by_role("button", name="Unlink").click()
            await expect(identity).to_have_count(1)

            await page.get_by_test_id("avatar").click()
            await page.get_by_role("menuitem", name="Sign out").click()
            await page.locator("#email").fill("ada@example.org")
            await page.locator("#password").fill(PASSWORD)
            await page.get_by_test_id("password-submit").click()
            await expect(page.get_by_test_id("avatar")).to_be_visible()
            await page.goto(f"{server.url}/account")
            await expect(page.locator("#account-name")).to_have_value("Ada Lovelace")
        assert not ada.errors
