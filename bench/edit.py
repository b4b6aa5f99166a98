"""Edit → other client: two clients of one file on loopback, each with a document of its own."""

from __future__ import annotations

from argparse import Namespace

from bench.clients import load
from bench.comparison import Column, Comparison
from bench.contestants import Contestant, contestants, started
from bench.serving import CLIENT_CORE, SERVER_CORE
from bench.turns import Figures, percentiles, rounds, take_turns

EDITS, WARM, PAUSE = 400, 100, 4  # PAUSE: milliseconds between edits
COLUMNS = {
    "p50": Column("p50 ms"),
    "p99": Column("p99 ms"),
    "durable_p50": Column("durable: p50 ms", compared=False),
    "durable_p99": Column("durable: p99 ms", compared=False),
    "resident": Column("RSS MiB", 0),
}


async def measure(options: Namespace) -> list[Comparison]:
    edits = 100 if options.quick else EDITS

    async def turn(contestant: Contestant, name: str) -> Figures:
        [connection] = await contestant.open([f"{name}.txt"])
        outcome = await load(
            "edits.mjs", connection=connection, edits=edits, warm=WARM, pause=PAUSE
        )
        figures = percentiles(outcome["arrivals"])
        if acknowledged := outcome["acknowledgements"]:
            durable = percentiles(acknowledged)
            figures |= {f"durable_{name}": value for name, value in durable.items()}
        return figures

    async with started(contestants(options, memory=True)) as servers:
        rows = await take_turns(options, servers, turn)
    conditions = (
        f"Loopback; server on core {SERVER_CORE}, clients on core {CLIENT_CORE}; "
        f"{rounds(options)} alternating rounds of {edits} edits, each {PAUSE} ms after the last "
        "arrived. Durable: the writer is told that the edit is on disk, which only CloudIDE does."
    )
    return [Comparison("Edit → other client", conditions, COLUMNS, rows)]
