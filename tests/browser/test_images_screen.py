"""Images in the browser: a build that is watched live, promoted, and offered to who has the old."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chromium import Person, chromium, pictured
from imagery import packed
from playwright.async_api import FilePayload, expect
from server import serving

PICTURES = os.environ.get("CLOUDIDE_TEST_PICTURES")
DOCKERFILE = "FROM cloudide/base\nRUN for n in 1 2 3 4; do echo line $n; sleep 1; done\n"


async def picture(person: Person, name: str) -> None:
    """For whoever wants to look at it."""
    if PICTURES:
        await person.page.screenshot(path=f"{PICTURES}/images-{name}.png")


def archive(dockerfile: str) -> FilePayload:
    content = packed({"Dockerfile": dockerfile})
    return {"name": "context.tar.gz", "mimeType": "application/gzip", "buffer": content}


@pytest.mark.timeout(180)
async def test_a_build_is_watched_and_its_version_offered(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as server, chromium() as browser:
        ada = await Person.arrive(browser, "Ada", dark=bool(PICTURES and PICTURES.endswith("dark")))
        await ada.sign_in(server.sign_in_url)
        page = ada.page
        async with pictured(ada):
            await page.goto(f"{server.url}/images")
            await page.get_by_test_id("new-image").click()
            await expect(page.get_by_test_id("image-name")).to_be_focused()
            await page.keyboard.type("tools")
            await page.get_by_test_id("image-archive").set_input_files(archive(DOCKERFILE))
            await picture(ada, "form")
            await page.get_by_test_id("image-create").click()

            await page.get_by_test_id("build-image").click()
            build, log = page.get_by_test_id("build"), page.get_by_test_id("build-log")
            await expect(log).to_contain_text("line 2")
            await expect(build).to_have_attribute("data-state", "running")
            await expect(page.get_by_test_id("build-step").nth(1)).to_contain_text("RUN for n in")
            await picture(ada, "building")
            await expect(build).to_have_attribute("data-state", "succeeded")
            await expect(log).to_contain_text("line 4")

            version = page.get_by_test_id("version").filter(has_text="Version 1")
            await version.get_by_test_id("promote").click()
            await expect(version).to_contain_text("in use")
            id = page.url.rpartition("/")[2]
            workspace = await server.api.create("made of it", image=id)

            second = archive(DOCKERFILE + "ENV SECOND=yes\n")
            await page.get_by_test_id("replace-context").set_input_files(second)
            await expect(page.get_by_text("The build context is uploaded.")).to_be_visible()
            await page.get_by_test_id("build-image").click()
            version = page.get_by_test_id("version").filter(has_text="Version 2")
            await version.get_by_test_id("promote").click()
            await expect(version).to_contain_text("in use")
            await expect(page.get_by_test_id("roll-back")).to_contain_text("version 1")
            await picture(ada, "versions")

            await page.goto(f"{server.url}/w/{workspace}")
            offer = page.get_by_test_id("image-update")
            await expect(offer).to_contain_text("version 2")
            await picture(ada, "offer")
            await page.get_by_test_id("take-update").click()
            await expect(offer).to_have_count(0)
            await server.api.until(workspace, "running")
            shown = await server.api.get(f"/api/v1/workspaces/{workspace}")
            assert shown["image_version"] == 2

            await page.goto(f"{server.url}/images")
            await expect(page.get_by_test_id("image")).to_contain_text("version 2 in use")
            await picture(ada, "list")
        assert ada.errors == []
