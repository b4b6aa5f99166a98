"""Many documents: two people in each of two hundred, both typing."""

from __future__ import annotations

from argparse import Namespace

from bench.clients import load_and_watch
from bench.comparison import Column, Comparison
from bench.contestants import Contestant, contestants, started
from bench.serving import CLIENT_CORE, SERVER_CORE
from bench.turns import Figures, percentiles, rounds, seconds, take_turns

DOCUMENTS, CLIENTS = 200, 2
RATE, WARM = 2, 1  # edits/s of each client, seconds
COLUMNS = {
    "p50": Column("p50 ms"),
    "p99": Column("p99 ms", goal=1.2),
    "cpu": Column("server CPU s in 10 s", share=1),
    "client": Column("clients' core %", 0, compared=False),
    "resident": Column("RSS MiB", 0),
}


async def measure(options: Namespace) -> list[Comparison]:
    async def turn(contestant: Contestant, name: str) -> Figures:
        names = [f"{name}/{number}.txt" for number in range(DOCUMENTS)]
        outcome, usage = await load_and_watch(
            contestant,
            "pace.mjs",
            rooms=[(connection, CLIENTS) for connection in await contestant.open(names)],
            typists=CLIENTS,
            rate=RATE,
            warm=WARM,
            seconds=seconds(options),
        )
        return {
            **percentiles(outcome["latencies"]),
            "cpu": usage.share * 10,
            "client": outcome["busy"] * 100,
        }

    async with started(contestants(options, memory=True, halted=True)) as servers:
        rows = await take_turns(options, servers, turn)
    conditions = (
        f"{CLIENTS} clients in each document, {RATE} edits/s from each client, spread evenly; "
        f"{rounds(options)} alternating rounds of {seconds(options)} s after {WARM} s; server on "
        f"core {SERVER_CORE}, clients in one process on core {CLIENT_CORE}. “Workspace stopped”: "
        "the documents were opened while it ran, and what is typed goes to the journal alone."
    )
    return [
        Comparison(f"{DOCUMENTS} documents, {CLIENTS} clients in each", conditions, COLUMNS, rows)
    ]
