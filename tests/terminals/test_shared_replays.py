"""Programs on real terminals: whoever comes late, or fell behind, sees what the others see."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from linked import linked
from shared import KEY, Screen, Shared, shared

from cloudide.settings import Settings
from cloudide.terminals.terminals import Terminals

from screens import DUMP, screens, seen  # isort: skip

LINES = "".join(f"line {n}: the quick brown fox jumps over {n * n} dogs\n" for n in range(400))
VIM = ["vi", "-u", "NONE", "-i", "NONE", "-N", "-n", "lines.txt"]
# The program, keys until enough is lost, and keys that show something at the end.
PROGRAMS = {
    "vim": (VIM, b"\x06\x02", b":echo 'it is ' . 6 * 7\r", b"it is 42"),
    "less": (["less", "-+X", "-S", "lines.txt"], b" b", b"399g=", b"lines 399"),
    "htop": (["htop", "--delay=100"], b"\x1b[B\x1b[A", b"/", b"Search:"),
    "top": (["top", "-d", "100"], b"z", b"L", b"Locate string "),
}


def frames(output: bytes) -> list[int]:
    """How many lines the frames of top have ended that have begun in `output`."""
    return [frame.count(b"\r\n") for frame in output.split(b"\x1b[H")[1:]]


async def same(*of: Screen) -> None:
    first, *others = [job[0] for job in await screens(*([s.output, DUMP] for s in of))]
    for other in others:
        assert seen(other) == seen(first)


async def until_same(first: Screen, late: Screen) -> None:
    """Wait until what is drawn anew has come, however much of it before the replay."""
    while True:
        shown = first.shown + late.shown
        jobs = await screens([first.output, DUMP], [late.output, DUMP])
        if seen(jobs[0][0]) == seen(jobs[1][0]):
            return
        moved = [
            asyncio.create_task(
                each.until(lambda _, shown=shown: first.shown + late.shown != shown)
            )
            for each in (first, late)
        ]
        done, pending = await asyncio.wait(moved, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*done)


async def lose(sharing: Shared, screen: Screen, id: str, keys: bytes) -> None:
    """Type until the agent has dropped the beginning."""
    async with asyncio.timeout(60):
        while len(screen.output) < 60_000:
            before = len(screen.output)
            await screen.type(keys)
            await screen.until(lambda s, before=before: len(s.output) > before)


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_whose_start_is_lost_is_drawn_again(tmp_path: Path, name: str) -> None:
    command, keys, last, wanted = PROGRAMS[name]
    program = shutil.which(command[0])
    assert program is not None, f"{command[0]} is not installed; `make test` sees to that."
    async with shared(tmp_path, terminal_scrollback=10_000) as sharing:
        (sharing.link.root / "lines.txt").write_text(LINES)
        id = await sharing.open(program, *command[1:])
        first = sharing.look(id)
        await first.ready()
        await first.until(lambda screen: len(screen.output) > 500)
        await lose(sharing, first, id, keys)
        late = sharing.look(id, "bob")
        await late.ready()
        # What is typed now is drawn by both; before it, the program has drawn everything anew.
        await until_same(first, late)
        if name == "top":  # throws away what is typed while it draws; twice, at each size
            await late.until(lambda screen: frames(screen.output)[-2:] == [23, 23])
        await first.type(last)
        await first.shows(wanted)
        await late.shows(wanted)
        await same(first, late)


async def test_a_restarted_server_shows_the_same_screen(tmp_path: Path) -> None:
    """The program runs on, and what it drew before is drawn for whoever comes back."""
    program = shutil.which("htop")
    assert program is not None, "htop is not installed; `make test` sees to that."
    async with linked(tmp_path) as link:
        async with Terminals(link.agents, Settings(), KEY) as terminals:
            terminals.connected(link.agent)
            sharing = Shared(link, terminals)
            id = await sharing.open(program, "--delay=100")
            before = sharing.look(id)
            await before.ready()
            await before.until(lambda screen: len(screen.output) > 500)
            await before.type(b"/")
            await before.shows(b"Search:")
        assert before.closed is not None
        assert before.closed[0] == 1012
        link.agent.hello.terminals[:] = await link.agent.terminals()
        async with Terminals(link.agents, Settings(), KEY) as terminals:
            terminals.connected(link.agent)
            after = Shared(link, terminals).look(id)
            await after.ready()
            await same(before, after)
