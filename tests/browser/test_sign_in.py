"""Signing in at a provider and by password, linking and unlinking, as a person does."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import Person, chromium, pictured
from identity_provider import configured, identity_provider
from playwright.async_api import expect
from promises.uncontained import uncontained
from server import Api

from cloudide.cli.login import GRANT_TYPE

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


@pytest.mark.timeout(180)
async def test_a_program_is_let_in_by_the_one_who_sees_its_code(tmp_path: Path) -> None:
    async with uncontained(tmp_path) as server, chromium() as browser:
        ada = await Person.arrive(browser, "Ada")
        page = ada.page
        program = Api(server.url)
        form = {"client_id": "cloudide on laptop", "scope": "read write"}
        async with pictured(ada):
            await ada.sign_in(server.sign_in_url)
            for answer, says in (("refuse", "was refused"), ("allow", "is signed in")):
                codes = await program.post("/api/v1/device/authorize", data=form)
                await page.goto(f"{server.url}/device")
                await expect(page.get_by_label("Code")).to_be_focused()
                await page.keyboard.type("bbbb bbbb")
                await page.keyboard.press("Enter")
                await expect(page.get_by_role("alert")).to_contain_text("No program waits")
                await page.get_by_test_id("device-code").fill(codes["user_code"].lower())
                await page.keyboard.press("Enter")
                await expect(page.get_by_test_id("device-shown")).to_have_text(codes["user_code"])
                heading = page.get_by_role("heading", name="Let “cloudide on laptop” sign in")
                await expect(heading).to_be_visible()
                await expect(page.get_by_label("Change files")).to_be_checked()
                await page.get_by_label("Change files").uncheck()
                await page.get_by_test_id(f"device-{answer}").click()
                await expect(page.get_by_role("heading", name=says)).to_be_visible()
            ask = {"grant_type": GRANT_TYPE, "device_code": codes["device_code"]}
            token = await program.post("/api/v1/device/token", data=ask)
            assert (token["token_type"], token["scope"]) == ("Bearer", "read")
        assert not ada.errors
        await program.close()
