"""The content security policy holds, and nothing of the IDE goes against it."""

from __future__ import annotations

from typing import Any

import pytest
from chromium import Person, chromium, pictured
from playwright.async_api import expect
from server import serving

LISTEN = """
addEventListener('securitypolicyviolation', (event) => {
  const { violatedDirective, blockedURI, sourceFile, lineNumber, sample } = event;
  violated([violatedDirective, blockedURI, sourceFile, lineNumber, sample].join(' '));
});
"""
COLOUR = "rgb(250, 20, 30)"


@pytest.mark.timeout(180)
async def test_the_ide_keeps_to_its_policy(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("policy")
    violations: list[Any] = []
    async with serving(folder / "data") as server, chromium() as browser:
        workspace = await server.api.create("policy")
        await server.api.write(workspace, "cloudide.toml", '[tasks.test]\ncommand = "true"\n')
        ada = await Person.arrive(browser, "Ada")
        page = ada.page
        await page.context.expose_function("violated", lambda said: violations.append(said))
        await page.context.add_init_script(LISTEN)
        async with pictured(ada):
            await ada.sign_in(server.sign_in_url)
            await page.goto(f"{server.url}/w/{workspace}")
            await ada.open("cloudide.toml")
            await ada.click_line("command")
            await page.keyboard.type("\nc")
            problems = page.get_by_test_id("problems-count")
            await expect(problems).to_contain_text("1", timeout=30_000)  # a server is there
            await page.keyboard.press("Control+Space")
            info = page.locator(".cm-completionInfo")
            await expect(info).to_contain_text("The folder", timeout=30_000)
            await page.keyboard.press("Escape")
            await page.keyboard.type("wd = 'src'")
            await ada.until_saved()
            await page.locator(".cm-line", has_text="command").get_by_text("command").hover()
            await expect(page.locator(".cm-lsp-hover-tooltip")).to_be_visible(timeout=30_000)
            # The editor's own style sheet is there.
            assert await page.locator(".cm-editor").evaluate(
                "each => getComputedStyle(each).display"
            ) == ("flex")

            await page.get_by_test_id("history-toggle").click()
            await expect(page.get_by_test_id("version").first).to_be_visible(timeout=30_000)
            await page.get_by_test_id("version").first.click()
            await expect(page.locator(".cm-mergeView, .cm-changedLine").first).to_be_visible()
            await page.get_by_test_id("history-toggle").click()

            await page.get_by_test_id("new-terminal").first.click()
            await page.get_by_test_id("terminal").click()
            await page.keyboard.type("printf '\\033[38;2;250;20;30mgl%s\\033[0m\\n' owing\n")
            glowing = page.locator(".xterm-rows span", has_text="glowing").last
            await expect(glowing).to_be_visible(timeout=30_000)
            # xterm keeps what is hard to read apart from the background: hues stay.
            colour = await glowing.evaluate("each => getComputedStyle(each).color")
            assert colour.startswith("rgb(2"), colour
            assert await glowing.evaluate("each => getComputedStyle(each).display") == (
                "inline-block"
            )

            await page.goto(f"{server.url}/account")
            await page.get_by_test_id("token-open").click()
            await page.keyboard.type("Policy")
            await page.keyboard.press("Enter")
            await expect(page.get_by_test_id("token-secret")).to_be_visible()
        assert violations == []
        assert ada.errors == []

        # And it is a policy: what a page of ours must not do, it cannot.
        refused = {
            "const s = document.createElement('script'); s.text = 'ran = 1'": "trusted-types",
            "document.body.setAttribute('style', 'color: red')": "style-src-attr",
            "const s = document.createElement('style'); s.textContent = 'a{}'": "style-src-elem",
            "const s = document.createElement('img'); s.src = 'https://evil.example/'": "img-src",
        }
        for script, directive in refused.items():
            violations.clear()
            add = "document.body.append(s)" if script.startswith("const") else ""
            await page.evaluate(f"() => {{ try {{ {script}; {add} }} catch {{}} }}")
            await page.evaluate("() => new Promise((done) => setTimeout(done))")
            assert any(directive in each for each in violations), (script, violations)
        assert await page.evaluate("window.ran") is None
        clean = "document.body.innerHTML = '<img src=x onerror=violated(1)>'"
        assert await page.evaluate(f"() => {{ try {{ {clean} }} catch (e) {{ return e.name }} }}")
