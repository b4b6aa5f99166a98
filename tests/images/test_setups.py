"""Lifecycle commands, with an agent that does what the test wants; see test_devcontainer_builds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from cloudide.errors import AgentUnavailable, InvalidInput
from cloudide.identity.accounts import Accounts
from cloudide.images.devcontainer import plan, setups
from cloudide.images.devcontainer.setups import Setups
from cloudide.protocol.agent import Exit
from cloudide.storage.database import Database
from cloudide.workspaces.store import Store


class Agent:
    """What a workspace runs: `does` of each command, its name."""

    def __init__(self) -> None:
        self.is_there = True
        self.ran: list[str] = []
        self.codes: dict[str, int] = {}
        self.prints: dict[str, Iterator[bytes]] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.came = asyncio.Event()

    def agent(self, _workspace: str) -> Agent:
        if not self.is_there:
            raise AgentUnavailable
        return self

    async def execute(
        self, argv: list[str], on_output: Callable[[int, bytes], None], **_: Any
    ) -> Exit:
        word = argv[-1]
        self.ran.append(word)
        for chunk in self.prints.get(word, iter(())):
            on_output(1, chunk)
        self.came.set()
        if word in self.held:
            await self.held[word].wait()
        return Exit(code=self.codes.get(word, 0))


class Plans:
    """`commands`: the words of each hook."""

    def __init__(self, **commands: str) -> None:
        self.plan = plan.Plan(
            "d.json",
            {},
            commands={
                hook: [plan.Command({"": word}) for word in words.split()]
                for hook, words in commands.items()
            },
        )

    async def planned(self, _workspace: str) -> tuple[str, plan.Plan]:
        return "i@1", self.plan


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    accounts = Accounts(database, "", 30)
    owner, _ = await accounts.sign_in(await accounts.create_sign_in_token(), "Ada")
    await Store(database, per_user=2, per_team=2).create("w", "W", "base", owner.id, ("", ""))
    yield database
    await database.close()


@asynccontextmanager
async def a_server(database: Database, agent: Agent, plans: Plans) -> AsyncIterator[Setups]:
    async with asyncio.timeout(20), Setups(database, agent, plans, 60) as found:  # type: ignore[arg-type]
        yield found


async def settled(found: Setups) -> list[str]:
    """Wait until nothing runs; the states."""
    await asyncio.gather(*found._tasks)
    return [run.state.value for run in await found.runs("w")]


async def test_a_setup_that_was_cut_off_goes_on(database: Database) -> None:
    """Between two hooks, or while no agent was there: what waits is run."""
    agent = Agent()
    plans = Plans(onCreateCommand="first", postCreateCommand="second", postAttachCommand="last")
    agent.held["second"] = asyncio.Event()
    async with a_server(database, agent, plans) as found:
        found.started("w", "c")
        while "second" not in agent.ran:
            agent.came.clear()
            await agent.came.wait()
        # It is as if the server were killed here: nothing more is written.
    agent.held.clear()
    async with a_server(database, agent, plans) as found:
        assert [run.state for run in await found.runs("w")] == ["done", "waiting", "waiting"]
        found.started("w", "c")
        assert await settled(found) == ["done", "done", "waiting"]
        found.started("w", "c")  # what waits for somebody is not cut off
        await settled(found)
        assert agent.ran == ["first", "second", "second"]
        plans.plan.commands["postStartCommand"] = [plan.Command({"": "start"})]
        agent.is_there = False
        found.started("w", "another")
        assert await settled(found) == ["done", "done", "waiting"]  # nothing began
        agent.is_there = True
        found.started("w", "another")
        assert await settled(found) == ["done", "done", "done", "waiting"]
    assert agent.ran[3:] == ["start"]


async def test_what_failed_when_somebody_came_can_be_run_again(database: Database) -> None:
    agent = Agent()
    agent.codes["greet"] = 1
    async with a_server(
        database, agent, Plans(postStartCommand="start", postAttachCommand="greet")
    ) as found:
        found.started("w", "c")
        await settled(found)
        found.attached("w")
        assert await settled(found) == ["done", "failed"]
        agent.codes.clear()
        found.again("w")
        assert await settled(found) == ["done", "done"]
    assert agent.ran.count("greet") == 2


async def test_what_is_printed_is_bounded_and_made_text_only_when_somebody_looks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    shown = setups._shown

    def counted(output: bytes) -> str:
        nonlocal made
        made += 1
        return shown(output)

    monkeypatch.setattr(setups, "_shown", counted)
    agent = Agent()
    agent.prints["loud"] = (b"%07d\n" % number for number in range(40_000))
    agent.held["loud"] = asyncio.Event()
    async with a_server(database, agent, Plans(onCreateCommand="loud")) as found:
        found.started("w", "c")
        await agent.came.wait()
        for _ in range(2):
            [run] = await found.runs("w")
            assert run.state == "running"
            assert run.output.endswith("0039999\n")
            assert len(run.output) == setups.OUTPUT_LIMIT
        agent.held["loud"].set()
        assert await settled(found) == ["done"]
        [run] = await found.runs("w")
        assert (len(run.output), made) == (setups.OUTPUT_LIMIT, 3)


async def test_what_was_printed_is_not_written_anew_for_each_command(database: Database) -> None:
    agent = Agent()
    words = [f"w{number}" for number in range(plan.COMMANDS_LIMIT)]
    written = 0

    def count(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal written
        written += "INSERT INTO workspace_setups" in statement

    async with database.begin() as db:
        engine = db.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    async with a_server(database, agent, Plans(onCreateCommand=" ".join(words))) as found:
        found.started("w", "c")
        assert await settled(found) == ["done"] * len(words)
    assert agent.ran == words
    assert 0 < written <= 2


def test_there_are_not_too_many_commands() -> None:
    def drawn(count: int) -> plan.Plan:
        parts = {f"part {number}": "true" for number in range(count - 1)}
        merged = {"onCreateCommands": [parts], "postStartCommands": ["true"]}
        about: dict[str, Any] = {"folder": "", "local": [], "ineffective": []}
        return plan.draw("d.json", {}, merged, grants=plan.Grants(), **about)

    assert len(drawn(plan.COMMANDS_LIMIT).commands) == 2
    with pytest.raises(InvalidInput, match=f"{plan.COMMANDS_LIMIT + 1} parts; .* is the limit"):
        drawn(plan.COMMANDS_LIMIT + 1)
