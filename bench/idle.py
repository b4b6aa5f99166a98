"""Memory of idle connections: a thousand people look at twenty documents and nobody types."""

from __future__ import annotations

from argparse import Namespace

from bench.clients import load_and_watch
from bench.comparison import Column, Comparison
from bench.contestants import Contestant, contestants, started
from bench.turns import Figures, take_turns

CONNECTIONS, DOCUMENTS = 1000, 20
COLUMNS = {
    "each": Column("KiB for each connection", 1, goal=60),
    "resident": Column("RSS MiB, all gone again", 0, compared=False),
}


async def measure(options: Namespace) -> list[Comparison]:
    each = (200 if options.quick else CONNECTIONS) // DOCUMENTS

    async def turn(contestant: Contestant, name: str) -> Figures:
        names = [f"{name}-{number}.txt" for number in range(DOCUMENTS)]
        outcome, usage = await load_and_watch(
            contestant,
            "idle.mjs",
            rooms=[(connection, each + 1) for connection in await contestant.open(names)],
        )
        return {"each": usage.grown * 1024 / outcome["joined"]}

    options = Namespace(**{**vars(options), "rounds": 1})
    async with started(contestants(options, memory=False)) as servers:
        rows = await take_turns(options, servers, turn)
    conditions = (
        f"{each * DOCUMENTS:,} further connections to {DOCUMENTS} empty documents that somebody "
        "has open already: how much the server's resident memory grows."
    )
    return [Comparison("Idle connections", conditions, COLUMNS, rows)]
