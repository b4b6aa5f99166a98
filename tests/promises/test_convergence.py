"""Promise 4: five clients, the file and the server's deaths, in any order, end in one text.

A program is a row of steps that its seed decides: somebody types a token or deletes a few, leaves
or comes back, goes on typing offline; a program in the workspace writes the file; the workspace is
out of reach; the server dies, also between the journal, the intent, the exchange and the record of
a write. At rest the clients, the room and the file are equal, and every token that was typed and
not deleted is there exactly once.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clients import TOKEN, Client, Typist, YjsProcess, try_to_connect, yjs_process
from linked import linked
from local import ADA, BOB, QUICK, WORKSPACE, Collab, Hub
from record import record

from cloudide.errors import AgentUnavailable
from cloudide.identity.permissions import Person, Role
from cloudide.protocol.agent import WriteFile

PATH = "src/notes.txt"
ROUND = 100  # steps between two rests
TOKENS = 300  # more than these are not let stand; a text that only grows would measure itself
DISK_WAIT = 30.0  # seconds
SCRIPT = "\N{MATHEMATICAL SCRIPT CAPITAL X}\N{COMBINING ACUTE ACCENT}"
LETTERS = ("", "é", "ß汉字", "😀", "👩\u200d💻", SCRIPT, "\u2028", "עב")
PEOPLE = (ADA, BOB, Person("cyd", "Cyd", "#00bb00"), Person("dan", "Dan", "#00aaaa"))


class Faults(Hub):
    """Dies around the next write to the disk, or knows that none is under way."""

    def __init__(self, agents: Any) -> None:
        super().__init__(agents)
        self.dies: str = ""  # "before" the exchange or "after" it, when there is no record yet
        self.on_death: Callable[[], None] = lambda: None
        self.quiet = asyncio.Condition()
        self._calls = 0

    async def _call(self, agent: Any, request: Any) -> Any:
        dies = self.dies if isinstance(request, WriteFile) else ""
        if dies == "before":
            self._die()
        if self.cut:
            raise AgentUnavailable  # it was there when the caller asked for it, and is no longer
        self._calls += 1
        try:
            answer = await agent.call(request)
        finally:
            self._calls -= 1
            async with self.quiet:
                self.quiet.notify_all()
        if dies == "after":
            self._die()
        if self.cut:
            raise AgentUnavailable  # it broke meanwhile: done, and nobody hears of it
        return answer

    def _die(self) -> None:
        self.dies = ""
        self.on_death()
        raise AgentUnavailable

    async def idle(self) -> None:
        """No call is under way, and none begins in this turn of the loop."""
        async with self.quiet:
            await self.quiet.wait_for(lambda: not self._calls)


class Program:
    def __init__(self, collab: Collab, hub: Faults, node: YjsProcess, seed: int) -> None:
        self.collab = collab
        self.hub = hub
        hub.on_death = self._die
        self.path = f"{seed}/{PATH}"
        self.file = collab.write(self.path, b"[first]\n")
        self.choose = random.Random(seed)  # noqa: S311 - a replayable order, not a secret
        self.clients: list[Client] = [
            Typist(collab, self.path, PEOPLE[0], Role.EDITOR),
            Typist(collab, self.path, PEOPLE[0], Role.OWNER),
            Typist(collab, self.path, PEOPLE[1], Role.EDITOR),
            Typist(collab, self.path, PEOPLE[2], Role.EDITOR, extended=False),
            node.client(collab, self.path, PEOPLE[3]),
        ]
        self.up = True
        self.typed = ["[first]"]
        self.erased: set[str] = set()
        self.kills = 0
        self.log: list[str] = []

    # ── steps ───────────────────────────────────────────────────────────────────────────────────

    def token(self, who: str) -> str:
        token = f"[{who}{len(self.typed):05d}{self.choose.choice(LETTERS)}]"
        self.typed.append(token)
        return token

    async def type(self) -> None:
        number, at = self.choose.randrange(len(self.clients)), self.choose.random()
        line_end = self.choose.choice(("", "", "\n"))
        await self.clients[number].type(at, self.token("abcde"[number]) + line_end)

    async def erase(self) -> None:
        client, at = self.choose.choice(self.clients), self.choose.random()
        much = len(self.typed) - len(self.erased) > TOKENS
        self.erased.update(await client.erase(at, 40 if much else self.choose.randrange(1, 6)))

    async def come_or_go(self) -> None:
        client = self.choose.choice(self.clients)
        if client.connected:
            await client.disconnect()
        elif self.up:
            await try_to_connect(client)

    async def come(self) -> None:
        client = self.choose.choice(self.clients)
        if self.up and not client.connected:
            await try_to_connect(client)

    def _with_a_line(self, text: str) -> str:
        lines = text.split("\n")
        lines.insert(self.choose.randrange(len(lines)), self.token("disk"))
        return "\n".join(lines)

    async def rename_over(self) -> None:
        """As editors write: they have read the file a moment ago."""
        if self.file.exists():
            new = self.file.with_name("new")
            new.write_text(self._with_a_line(self.file.read_text()))
            new.replace(self.file)

    async def append(self) -> None:
        await self.hub.idle()  # what is written into a displaced file after the last look is gone
        with self.file.open("a") as file:
            file.write(self.token("disk") + "\n")

    async def truncate_and_write(self) -> None:
        await self.hub.idle()
        self.file.write_text(self._with_a_line(self.file.read_text()))

    async def sed(self) -> None:
        if not self.file.stat().st_size:
            return  # where there is no line it writes none
        token = self.token("disk")
        where = self.choose.choice(("1i", "$a"))
        command = ("sed", "-i", f"{where} {token}", str(self.file))
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0

    async def out_of_reach(self) -> None:
        """The workspace's link breaks, or comes back."""
        if self.up:
            self.hub.cut = not self.hub.cut
            if not self.hub.cut:
                for entry in self.collab.rooms._below(WORKSPACE, ""):
                    entry.peer.reconnected()

    async def kill(self) -> None:
        """The server dies, perhaps in the middle of a write."""
        if not self.up:
            return
        self.kills += 1
        self.up = False
        entry = self.collab.rooms._open.get((WORKSPACE, self.path))
        how = self.choose.choice(("", "before", "after"))
        if how and entry and entry.peer.dirty and not self.hub.cut:
            self.hub.dies = how
            entry.peer.hint()
            flush = asyncio.ensure_future(entry.peer.flush())
            await asyncio.wait({flush}, timeout=DISK_WAIT)
            flush.cancel()
            await asyncio.gather(flush, return_exceptions=True)
        self._die()
        await self.collab.stop()
        for client in self.clients:
            await client.disconnect()
        self.collab.journal_file = self._corpse()

    def _corpse(self) -> Path:
        return self.collab.journal_file.with_name(f"{self.file.parent.parent.name}-{self.kills}")

    def _die(self) -> None:
        """From here on the server that runs is a ghost: it reaches no file any more, and the next
        one finds the journal as it is now, whatever the ghost commits yet."""
        self.hub.cut = True
        if self._corpse().exists():
            return
        journal = str(self.collab.journal_file)
        with self.collab.database() as db:
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM rooms").fetchone()  # what is read stays in the log
            # By a program: who closes a file of SQLite's in this process lets go of its locks.
            subprocess.run(["cp", journal, str(self._corpse())], check=True)
            subprocess.run(["cp", f"{journal}-wal", f"{self._corpse()}-wal"], check=True)

    async def start(self) -> None:
        if not self.up:
            await self.hub.idle()  # a call of the dead server that the agent still works on
            self.hub.dies = ""
            await self.collab.start()
            self.up = True

    async def pause(self) -> None:
        await asyncio.sleep(self.choose.choice((0, 0.001, 0.005, 0.02)))

    STEPS = (
        (type, 60),
        (erase, 8),
        (come_or_go, 6),
        (come, 12),
        (rename_over, 2),
        (append, 2),
        (truncate_and_write, 2),
        (sed, 1),
        (out_of_reach, 1),
        (kill, 1),
        (start, 10),
        (pause, 10),
    )

    # ── the run ─────────────────────────────────────────────────────────────────────────────────

    async def run(self, steps: int) -> None:
        kinds = [kind for kind, _ in self.STEPS]
        weights = [weight for _, weight in self.STEPS]
        await self.rest()
        for number in range(steps):
            (step,) = self.choose.choices(kinds, weights)
            self.log.append(step.__name__)
            await step(self)
            await asyncio.sleep(0)
            if number % ROUND == ROUND - 1:
                await self.rest()
        await self.rest()
        for client in self.clients:
            await client.disconnect()

    async def rest(self) -> None:
        """Bring everybody back, wait until nothing is left to do, and count."""
        self.log.append("rest")
        await self.start()
        if self.hub.cut:
            await self.out_of_reach()
        first = self.clients[0]
        assert isinstance(first, Typist)
        async with asyncio.timeout(2 * DISK_WAIT):
            while True:
                for client in self.clients:
                    while not client.connected:
                        await try_to_connect(client)
                text = await self._agreed(first)
                texts = [await client.read() for client in self.clients]
                if {*texts, self.file.read_text()} == {text} and all(
                    client.connected for client in self.clients
                ):
                    break
        there = Counter(TOKEN.findall(text))
        wanted = Counter(token for token in self.typed if token not in self.erased)
        assert there == wanted, f"lost {wanted - there}, too much {there - wanted}"
        assert "".join(TOKEN.split(text)).strip("\n") == ""
        self.typed = [*wanted, *self.erased]

    async def _agreed(self, first: Typist) -> str:
        """The room's text, as soon as the file holds it and everybody reads it."""
        room = self.collab.rooms._open[WORKSPACE, self.path].room

        def clean() -> bool:
            return not first.connected or (
                first.disk.get("state") == "clean" and self.file.read_text() == str(room.text)
            )

        for client in self.clients:
            if isinstance(client, Typist) and client.extended and client.connected:
                await client.until(
                    lambda client=client: client.acknowledged >= client.sent or not client.connected
                )
        await first.until(clean)
        for client in self.clients:
            await client.until_it_reads(room)
        return str(room.text)


async def test_random_programs_converge(tmp_path: Path, soak: Callable[[int, int], int]) -> None:
    seeds, steps = soak(500, 10), soak(10_000, 500)
    chosen = os.environ.get("CLOUDIDE_SEED")
    kills = tokens = 0
    async with linked(tmp_path) as link:
        for seed in [int(chosen)] if chosen else range(seeds):
            collab = Collab(link, tmp_path, QUICK)
            collab.journal_file = tmp_path / f"{seed}.sqlite"
            hub = Faults(link.agents)
            collab.hub = hub
            async with yjs_process() as node:
                program = Program(collab, hub, node, seed)
                program.up = False
                await program.start()
                try:
                    await program.run(steps)
                except BaseException as error:
                    error.add_note(
                        f"CLOUDIDE_SEED={seed} runs this program again; its last steps: "
                        + " ".join(program.log[-ROUND:])
                    )
                    raise
                finally:
                    if program.up:
                        await collab.stop()
            kills += program.kills
            tokens += len(program.typed)
    assert tokens
    record(
        4,
        f"{1 if chosen else seeds:,} programs of {steps:,} steps, {tokens:,} tokens, {kills:,} "
        "kills: clients, room and file equal, every token once.",
    )
