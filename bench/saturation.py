"""Saturation: ten people in one document, each typing as fast as all the others get to see it."""

from __future__ import annotations

from argparse import Namespace

from bench.clients import load_and_watch
from bench.comparison import Column, Comparison
from bench.contestants import Contestant, contestants, started
from bench.serving import CLIENT_CORE, SERVER_CORE
from bench.turns import Figures, percentiles, rounds, take_turns

TYPISTS, WINDOW, WARM = 10, 200, 1.0  # WINDOW: edits of one typist that are not everywhere yet
COLUMNS = {
    "rate": Column("updates/s", 0, high=True, goal=40_000),
    "p50": Column("p50 ms", 1, compared=False),
    "p99": Column("p99 ms", 1, compared=False),
    "server": Column("server's core %", 0, compared=False),
    "client": Column("clients' core %", 0, compared=False),
    "resident": Column("RSS MiB", 0),
}


async def measure(options: Namespace) -> list[Comparison]:
    seconds = 2 if options.quick else 3

    async def turn(contestant: Contestant, name: str) -> Figures:
        [connection] = await contestant.open([f"{name}.txt"])
        outcome, usage = await load_and_watch(
            contestant,
            "saturation.mjs",
            connection=connection,
            typists=TYPISTS,
            window=WINDOW,
            warm=WARM,
            seconds=seconds,
        )
        return {
            "rate": outcome["rate"],
            **percentiles(outcome["latencies"]),
            "server": usage.share * 100,
            "client": outcome["busy"] * 100,
        }

    async with started(contestants(options, memory=True)) as servers:
        rows = await take_turns(options, servers, turn)
    conditions = (
        f"{TYPISTS} clients in one document, single characters, one update a frame, at most "
        f"{WINDOW} of each client's edits on their way; an update counts once all {TYPISTS} have "
        f"it. {rounds(options)} alternating rounds of {seconds} s after {WARM:g} s; server on core "
        f"{SERVER_CORE}, clients in one process on core {CLIENT_CORE}."
    )
    return [Comparison("Saturation", conditions, COLUMNS, rows)]
