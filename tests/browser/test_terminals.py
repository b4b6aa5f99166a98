"""Shared terminals in Chromium: hostile output, who types, recordings, keys before the past."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from chromium import Person, chromium, pictured
from playwright.async_api import Locator, expect
from server import serving

HOSTILE = [
    b"\x1b]52;c;cm0gLXJm\x07", b"\x1b]52;c;?\x07", b"\x1b]52;p;aGk=\x1b\\", b"\x1b[c", b"\x1b[>c",
    b"\x1b[6n", b"\x1b]0;" + b"A" * 3000 + b"\x07", b"\x1b]2;<img src=x onerror=alert(1)>\x07",
    b"\x1b[21t", b"\x1b]10;?\x07", b"\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07",
    b"\x1bP$qm\x1b\\", b"\x1b]1337;File=inline=1:AAAA\x07", b"\x1b]777;notify;a;b\x07",
    b"\x1b[999999999b", b"\x1b[1;1;1;1;1;1r", b"\x1b[?1049h\x1b[?1049l", b"\x07",
    b"\x1b]7;file:///<script>\x07", b"\x1b[8;9999;9999t", b"\x1b[?9999h", b"\x1b[99999;99999H",
    b"\x1b]4;1;?\x07",
]  # fmt: skip
UNDO = b"\x1bc\x1b]0;calm\x07"


def screen(person: Person) -> Locator:
    return person.page.get_by_test_id("terminal").locator(".xterm-rows")


@pytest.mark.timeout(180)
async def test_two_people_at_one_terminal(tmp_path: Path) -> None:
    async with serving(tmp_path / "data") as server, chromium() as browser:
        api = server.api
        workspace = await api.create("terminals")
        ada, bo = await Person.arrive(browser, "Ada"), await Person.arrive(browser, "Bo")
        async with pictured(ada, bo):
            await ada.sign_in(server.sign_in_url)
            invite = await api.post(
                "/api/v1/invites", json={"workspace": workspace, "role": "terminal"}
            )
            await bo.accept(invite["url"])
            await ada.page.goto(f"{server.url}/w/{workspace}")

            # Keys that are typed at once are not lost.
            await ada.page.get_by_test_id("new-terminal").first.click()
            await expect(ada.page.get_by_test_id("terminal")).to_be_visible(timeout=30_000)
            await ada.page.get_by_test_id("terminal").click()
            await ada.page.keyboard.type("echo here-$((6*7))\n")
            await expect(screen(ada)).to_contain_text("here-42", timeout=30_000)
            await expect(screen(bo)).to_contain_text("here-42", timeout=30_000)
            await expect(bo.page.get_by_test_id("typist")).to_have_count(0, timeout=30_000)
            await ada.page.keyboard.type("ls")
            await expect(bo.page.get_by_test_id("typist")).to_have_text("Ada types")

            # Others write, and the owner's Enter runs it.
            await ada.page.get_by_test_id("terminal-typing").select_option("approve")
            await expect(bo.page.get_by_text("Ada presses Enter here")).to_be_visible()
            await ada.page.get_by_test_id("terminal").click()
            await ada.page.keyboard.press("Control+u")
            await bo.page.get_by_test_id("terminal").click()
            await bo.page.keyboard.type("echo from-bo-$((2*3))\n")
            await expect(ada.page.get_by_test_id("typist")).to_have_text("Bo waits for Enter")
            await expect(screen(ada)).to_contain_text("echo from-bo-")
            await expect(screen(ada)).not_to_contain_text("from-bo-6")
            await ada.page.keyboard.press("Enter")
            await expect(screen(bo)).to_contain_text("from-bo-6")
            await bo.page.get_by_test_id("terminal-typing").select_option("everyone")
            await expect(bo.page.get_by_text("may say who types")).to_be_visible()
            await ada.page.get_by_test_id("terminal-typing").select_option("everyone")

            # 500 hostile mixtures: nothing is typed, shown outside the screen, copied or run.
            chance = random.Random(3)  # noqa: S311
            mixtures = [b"".join(chance.choices(HOSTILE, k=4)) for _ in range(500)]
            await api.write(workspace, "hostile", b"".join(mixtures) + UNDO + b"survived\n")
            await ada.page.get_by_test_id("terminal-record").click()
            await ada.page.get_by_test_id("terminal").click()
            await ada.page.keyboard.type("clear; stty -echo; cat hostile; ")
            # Emulators answer for a while: until they have been quiet, nothing is typed.
            await ada.page.keyboard.type("while read -rt 3 -N 99 x; do :; done; ")
            await ada.page.keyboard.type("stty echo; printf '\\033[3J'; echo over-$((1+1))\n")
            for person in (ada, bo):
                await expect(screen(person)).to_contain_text("over-2", timeout=30_000)
            await bo.page.reload()
            await expect(screen(bo)).to_contain_text("over-2", timeout=30_000)
            await ada.page.keyboard.type("echo calm-$((3+4))\n")
            for person in (ada, bo):
                await expect(screen(person)).to_contain_text("calm-7")
                await expect(person.page.locator("img[src=x]")).to_have_count(0)
                assert person.errors == []

            # The recording is there to be downloaded, and the end says how it came.
            await ada.page.get_by_test_id("terminal-record").click()
            async with ada.page.expect_download() as waiting:
                await ada.page.get_by_test_id("terminal-recording").click()
            file = await (await waiting.value).path()
            assert b"survived" in file.read_bytes()
            await ada.page.get_by_test_id("terminal").click()
            await ada.page.keyboard.type("kill -9 $$\n")
            await expect(bo.page.get_by_text("Ended by SIGKILL (signal 9)")).to_be_visible()
