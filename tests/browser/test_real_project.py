"""Two people, one real project: open it, edit it together, run it, survive a killed server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from chromium import PICTURES, Person, chromium, pictured
from playwright.async_api import expect
from server import Server, serving

PACKAGE, VERSION = "tabulate", "0.9.0"
FILE = "tabulate/__init__.py"
RUN = "printf 'x 1\\ny 22\\n' | python -c 'import tabulate; tabulate._main()' -f grid\n"


@pytest.fixture(scope="session")
async def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's own source archive, as published."""
    folder = tmp_path_factory.mktemp("sdist")
    pip = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"),
        *("--dest", str(folder), f"{PACKAGE}=={VERSION}"),
    )
    assert await pip.wait() == 0
    (archive,) = folder.glob("*.tar.gz")
    return archive


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path / "data") as server:
        yield server


async def type_tokens(person: Person, tokens: list[str], typed: list[str]) -> None:
    """Type a comment line a token, at a human pace."""
    for token in tokens:
        await person.page.keyboard.press("Enter")
        await person.page.keyboard.type(f"# {token}", delay=15)
        typed.append(token)


@pytest.mark.timeout(600)
async def test_two_people_edit_and_run_a_real_project(own_server: Server, sdist: Path) -> None:
    server = own_server
    typed: list[str] = []
    async with chromium() as browser:
        ada = await Person.arrive(browser, "Ada")
        bo = await Person.arrive(browser, "Bo", dark=True)
        async with pictured(ada, bo):
            # Ada makes a workspace from the archive, by the dialog.
            await ada.sign_in(server.sign_in_url)
            await ada.page.get_by_test_id("new-workspace").first.click()
            await ada.page.get_by_test_id("create-name").fill("tabulate")
            await ada.page.get_by_test_id("create-image").select_option("python")
            await ada.page.get_by_test_id("create-source-archive").check(force=True)
            await ada.page.get_by_test_id("create-archive").set_input_files(sdist)
            await ada.page.get_by_test_id("create-submit").click()
            # On a machine that never served before, the image is built first.
            await ada.page.wait_for_url("**/w/*", timeout=300_000)
            await expect(ada.page.get_by_test_id("tree")).to_be_visible()

            # Bo comes by an invitation.
            await ada.page.get_by_test_id("share").click()
            await ada.page.get_by_test_id("create-invite").click()
            url = await ada.page.get_by_test_id("invite-url").input_value()
            await ada.page.keyboard.press("Escape")
            await bo.accept(url)

            # Both open the same file and type in it at the same time.
            for person in (ada, bo):
                await person.open(FILE)
            original = await ada.text(FILE)
            first_line, second_line = "import dataclasses", "import textwrap"
            await ada.click_line(first_line)
            await bo.click_line(second_line)
            await asyncio.gather(
                type_tokens(ada, [f"ada-{n}" for n in range(6)], typed),
                type_tokens(bo, [f"bo-{n}" for n in range(6)], typed),
            )
            for person in (ada, bo):
                for token in typed:
                    await person.until_text(FILE, f"# {token}")
                await person.until_saved()
            await expect(bo.page.get_by_test_id("avatar")).to_have_count(2)

            # The project's own code runs in a terminal that both see.
            await ada.page.get_by_test_id("new-terminal").first.click()
            terminal = ada.page.get_by_test_id("terminal")
            await expect(terminal.locator(".xterm-rows")).to_contain_text("$", timeout=30_000)
            await terminal.click()
            await ada.page.keyboard.type(RUN)
            await expect(terminal.locator(".xterm-rows")).to_contain_text("| y | 22 |")
            await expect(bo.page.get_by_test_id("terminal").locator(".xterm-rows")).to_contain_text(
                "| y | 22 |", timeout=30_000
            )

            # sed changes the file while Bo keeps typing.
            docstring = '"""Pretty-print tabular data."""'
            assert docstring in original
            await bo.click_line(second_line)
            await terminal.click()
            typing = asyncio.create_task(type_tokens(bo, [f"sed-{n}" for n in range(8)], typed))
            await ada.page.keyboard.type(f"sed -i 's/Pretty-print tabular/Print pretty/' {FILE}\n")
            for person in (ada, bo):
                await person.until_text(FILE, "Print pretty data.")
            await typing
            if PICTURES:
                await ada.page.screenshot(path=f"{PICTURES}/together.png")  # the README's

            # The server is killed in the middle, and started again; everybody carries on.
            await ada.click_line(first_line)
            typing = asyncio.gather(
                type_tokens(ada, [f"ada-kill-{n}" for n in range(8)], typed),
                type_tokens(bo, [f"bo-kill-{n}" for n in range(8)], typed),
            )
            await asyncio.sleep(0.3)  # into the middle of it
            await server.kill()
            await server.start()
            await typing
            await type_tokens(ada, ["ada-last"], typed)
            for person in (ada, bo):
                for token in typed:
                    await person.until_text(FILE, f"# {token}")
                await person.until_saved()
            await expect(terminal).to_have_attribute("data-connected", "true", timeout=30_000)
            await terminal.click()
            await ada.page.keyboard.type("echo still-$((40+2))\n")
            await expect(bo.page.get_by_test_id("terminal").locator(".xterm-rows")).to_contain_text(
                "still-42", timeout=30_000
            )

            # Every token is there exactly once, in both editors and on the disk.
            (workspace,) = (await server.api.get("/api/v1/workspaces"))["workspaces"]
            one, other = await ada.text(FILE), await bo.text(FILE)
            assert one == other
            exit, _ = await server.api.run(workspace["id"], "cp", FILE, "copy.py")
            assert exit == {"code": 0}
            assert (await server.api.read(workspace["id"], "copy.py")).decode() == one
            lines = one.split("\n")
            for token in typed:
                assert lines.count(f"# {token}") == 1, token
            kept = [line for line in lines if not line.startswith("# ") or line in original]
            assert "\n".join(kept) == original.replace("Pretty-print tabular", "Print pretty")
            assert not ada.errors
            assert not bo.errors
