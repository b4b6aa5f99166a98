"""Git in the page: credentials, the panel, and a terminal that asks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chromium import Person, chromium, pictured
from git_host import git_host
from playwright.async_api import Browser, Page, expect
from server import Server, serving

# In the container, at the address of the host, which it cannot reach: somebody who wants a sign-in.
# What is let in, the server brings to the real one.
WANTS_A_SIGN_IN = (
    'perl -MIO::Socket::INET -e \'$s = IO::Socket::INET->new(LocalAddr => "{host}", Listen => 5, '
    'ReuseAddr => 1) or die; while ($c = $s->accept) {{ sysread $c, $_, 65536; print $c "HTTP/1.1 '
    '401 Who\\r\\nWWW-Authenticate: Basic realm=\\"x\\"\\r\\nContent-Length: 0\\r\\n'
    "Connection: close\\r\\n\\r\\n\"; close $c }}' &"
)
PICTURES = os.environ.get("CLOUDIDE_TEST_PICTURES")


async def pictures(page: Page, name: str) -> None:
    """For whoever wants to see it, in both colours."""
    if PICTURES:
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            await page.screenshot(path=f"{PICTURES}/{name}-{scheme}.png")


async def add_credential(server: Server, page: Page, host: str) -> None:
    await page.goto(f"{server.url}/account")
    await page.get_by_test_id("git-credential-open").click()
    await page.keyboard.type(f"http://{host}")
    await page.keyboard.press("Tab")
    await page.keyboard.type("ada")
    await page.keyboard.press("Tab")
    await page.keyboard.type("t0ken")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("git-credential")).to_contain_text("as ada")
    await expect(page.get_by_text("t0ken")).to_have_count(0)
    await pictures(page, "git-credentials")


async def compare_in_the_editor(ada: Person) -> None:
    """What was committed shows among the text that is typed, and comes back where one wants it."""
    page = ada.page
    editor = page.get_by_test_id("editor")
    await expect(editor.locator(".cm-gutterElement.cm-change-changed")).to_have_count(1)
    await page.get_by_test_id("compare-toggle").click()
    former = editor.locator(".cm-deletedChunk")
    await expect(former).to_contain_text("hello")
    await editor.locator(".cm-line").first.click()
    await page.keyboard.press("Control+End")
    await page.keyboard.type("and all\n")
    await page.keyboard.press("Alt+F5")
    await page.keyboard.press("Home")
    await page.keyboard.type("> ")
    assert (await ada.text("README")).startswith("> hello, world\n")
    await pictures(page, "git-compare")
    await former.get_by_role("button", name="Take back").click()
    await expect(former).to_have_count(0)
    assert await ada.text("README") == "hello\n"
    await page.keyboard.press("Control+z")
    await page.get_by_test_id("compare-toggle").click()
    assert (await ada.text("README")).startswith("> hello, world")


async def see_the_log(ada: Person) -> None:
    page = ada.page
    await page.get_by_test_id("git-log-tab").click()
    newest = page.get_by_test_id("git-log-commit").first
    await expect(newest).to_contain_text("Greet the world")
    await newest.click()
    details = page.get_by_test_id("git-commit-details")
    await details.get_by_role("button", name="README").click()
    await expect(page.get_by_test_id("git-commit-diff")).to_contain_text("hello, world")
    await pictures(page, "git-log")


async def go_to_a_branch_together(
    browser: Browser, server: Server, ada: Person, workspace: str
) -> None:
    """With somebody else in the room it is asked first; their editor goes along."""
    page = ada.page
    invited = await page.request.post(
        f"{server.url}/api/v1/invites",
        data={"workspace": workspace, "role": "viewer"},
        headers={"Origin": server.url},
    )
    bo = await Person.arrive(browser, "Bo")
    await bo.accept((await invited.json())["url"])
    await bo.open("README")
    await bo.until_text("README", "hello, world")
    branches = page.get_by_test_id("git-branches")
    await branches.click()
    await page.get_by_test_id("branch-query").fill("an idea")
    await page.get_by_test_id("branch").filter(has_text="Make branch an-idea").click()
    await expect(branches).to_contain_text("an-idea")
    await page.get_by_test_id("editor").locator(".cm-line").first.click()
    await page.keyboard.press("Control+Home")
    await page.keyboard.type("an idea: ")
    await bo.until_text("README", "an idea")
    await page.get_by_role("tab", name="Changes").click()
    await page.get_by_role("button", name="Stage README").click()
    await page.get_by_label("Message of the commit").fill("Have an idea")
    await page.get_by_test_id("git-commit").click()
    await expect(page.get_by_label("Message of the commit")).to_have_value("")
    await branches.click()
    await pictures(page, "git-branches")
    await page.get_by_test_id("branch").filter(has_text="main").first.click()
    await expect(page.get_by_role("dialog")).to_contain_text("Bo is here, too")
    await pictures(page, "git-switch")
    await page.get_by_test_id("confirm").click()
    await expect(branches).to_contain_text("main")
    await expect(bo.page.get_by_text("Ada went to the branch main")).to_be_visible()
    await bo.page.wait_for_function(
        "() => !(window.cloudide.text('README') ?? 'an idea').includes('an idea')"
    )
    assert not bo.errors
    await bo.page.context.close()


async def see_what_is_used(ada: Person) -> None:
    """Figures of the engine, programs that the agent tells of, and why the workspace runs."""
    page = ada.page
    await page.get_by_test_id("panel-resources").click()
    await expect(page.get_by_test_id("resources-processes")).to_contain_text("perl -MIO::Socket")
    panel = page.get_by_test_id("resources")
    await expect(panel).to_contain_text("of 2 CPUs")
    await expect(page.get_by_test_id("resources-life")).to_contain_text("It ")
    assert float((await panel.locator("b").nth(2).text_content()) or 0) >= 2  # processes
    await expect(panel.locator("canvas").first).to_be_visible()
    await pictures(page, "resources")


@pytest.mark.timeout(240)
async def test_a_change_is_staged_committed_and_pushed(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    async with (
        git_host(tmp_path / "host") as host,
        serving(tmp_path / "data", insecure_git_hosts=host.host) as server,
        chromium() as browser,
    ):
        host.people["ada"] = "t0ken"
        url = await host.add("project", {"README": "hello\n", "other": "x\n"})
        ada = await Person.arrive(browser, "Ada")
        await ada.sign_in(server.sign_in_url)
        page = ada.page
        async with pictured(ada):
            await add_credential(server, page, host.host)
            made = await page.request.post(
                f"{server.url}/api/v1/workspaces",
                data={"name": "panel", "image": "base", "git": {"url": url}},
                headers={"Origin": server.url},
            )
            workspace = (await made.json())["id"]
            await page.goto(f"{server.url}/w/{workspace}")
            await ada.open("README")
            await page.keyboard.press("Alt+g")
            await expect(page.get_by_test_id("git-branch")).to_have_text("main")
            await page.get_by_test_id("editor").locator(".cm-line").first.click()
            await page.keyboard.press("End")
            await page.keyboard.type(", world")
            changed = page.get_by_test_id("git-changed")
            await expect(changed).to_contain_text("README")
            await changed.get_by_role("button", name="README, modified").click()
            await expect(page.get_by_test_id("git-diff").locator(".add")).to_contain_text(
                "hello, world"
            )
            staged = page.get_by_test_id("git-staged")
            await page.get_by_test_id("stage-hunk").click()
            await expect(staged).to_contain_text("README")
            await page.get_by_role("button", name="Unstage this change").click()
            await expect(staged).to_have_count(0)
            await compare_in_the_editor(ada)
            await page.get_by_role("button", name="Stage README").click()
            await expect(staged).to_contain_text("README")
            await expect(changed).to_have_count(0)
            await page.get_by_label("Message of the commit").fill("Greet the world")
            await pictures(page, "git-panel")
            await page.keyboard.press("Control+Enter")
            await expect(page.get_by_test_id("git-branch")).to_have_text("main ↑1")
            await expect(page.get_by_label("Message of the commit")).to_have_value("")
            await page.get_by_test_id("git-push").click()
            await expect(page.get_by_test_id("git-action")).to_contain_text("push done")
            await expect(page.get_by_test_id("git-branch")).to_have_text("main")
            assert await host.log("project") == "Greet the world\nfirst"
            assert (await host.log("project", "%an")).startswith("Ada\n")

            await see_the_log(ada)
            await go_to_a_branch_together(browser, server, ada, workspace)

            # In a terminal: first denied, then allowed.
            await page.keyboard.press("Control+`")
            await page.get_by_test_id("new-terminal").first.click()
            await page.get_by_test_id("terminal").click()
            await page.keyboard.type(WANTS_A_SIGN_IN.format(host=host.host) + "\n")
            await page.keyboard.type("git commit --allow-empty -qm Again; git push\n")
            question = page.get_by_test_id("git-question")
            await expect(question).to_contain_text("main →")
            await expect(page.get_by_role("dialog")).to_contain_text("wants to push to")
            await pictures(page, "git-question")
            await page.get_by_test_id("git-deny").click()
            await expect(question).to_have_count(0)
            await page.wait_for_function(
                "() => document.querySelector('.xterm-rows').innerText.includes('did not allow it')"
            )
            assert (await host.log("project")).startswith("Greet")
            await page.get_by_test_id("terminal").click()
            await page.keyboard.type("git push -q && echo pu''shed\n")
            await page.get_by_test_id("git-allow").click()
            await page.wait_for_function(
                "() => document.querySelector('.xterm-rows').innerText.includes('pushed')"
            )
            assert (await host.log("project")).startswith("Again")
            await see_what_is_used(ada)
        assert not ada.errors
