"""Take the picture in the README: two people in one file, a shared terminal below.

    .venv/bin/python scripts/screenshot.py docs/together.png

It runs a real server with a real workspace, and drives a real Chromium.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "browser")]

from chromium import Person, chromium  # noqa: E402
from playwright.async_api import expect  # noqa: E402
from server import serving  # noqa: E402

PROGRAM = '''"""Counts words, the most frequent first."""

import re
import sys
from collections import Counter


def words(text: str) -> list[str]:
    """Lower-case words of a text, in order."""
    return re.findall(r"[a-z']+", text.lower())


def main() -> None:
    counter = Counter(words(sys.stdin.read()))
    for word, count in counter.most_common(5):
        print(f"{count:5}  {word}")


if __name__ == "__main__":
    main()
'''
README = "# wordcount\n\nThe smallest useful program.\n"


async def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder) / "data") as server, chromium() as browser:
            ada = await Person.arrive(browser, "Ada")
            bo = await Person.arrive(browser, "Bo")
            await ada.sign_in(server.sign_in_url)
            workspace = await server.api.create("wordcount", "python")
            for path, content in {"wordcount.py": PROGRAM, "README.md": README}.items():
                await server.api.write(workspace, path, content)
            await server.api.write(workspace, "tests/test_words.py", "import wordcount\n")
            invite = await server.api.post(
                "/api/v1/invites", json={"workspace": workspace, "role": "editor"}
            )
            await bo.accept(invite["url"])
            await ada.page.goto(f"{server.url}/w/{workspace}")
            for person in (ada, bo):
                await person.open("wordcount.py")
            await bo.click_line("counter = Counter")
            await bo.page.keyboard.press("Enter")
            await bo.page.keyboard.type("# five are enough for a start", delay=5)
            await ada.click_line("import sys")
            await ada.page.get_by_test_id("new-terminal").first.click()
            terminal = ada.page.get_by_test_id("terminal")
            await expect(terminal.locator(".xterm-rows")).to_contain_text("$")
            await terminal.click()
            await ada.page.keyboard.type("cat README.md | python wordcount.py\n")
            await expect(terminal.locator(".xterm-rows")).to_contain_text("1  wordcount")
            await ada.until_saved()
            await ada.page.screenshot(path=target)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
