"""Fan-out: one person types before many; when does everybody see it, and what does it cost?"""

from __future__ import annotations

from argparse import Namespace

from bench.clients import load_and_watch
from bench.comparison import Column, Comparison
from bench.contestants import Contestant, contestants, started
from bench.serving import CLIENT_CORE, SERVER_CORE
from bench.turns import Figures, percentiles, rounds, seconds, take_turns

READERS = (50, 500)
RATE, WARM = 30, 1  # edits/s, seconds
COLUMNS = {
    "p50": Column("p50 ms"),
    "p99": Column("p99 ms"),
    "cpu": Column("server CPU s in 10 s", share=0.5),
    "client": Column("clients' core %", 0, compared=False),
    "resident": Column("RSS MiB", 0),
}


async def measure(options: Namespace) -> list[Comparison]:
    return [await _before(options, readers) for readers in READERS]


async def _before(options: Namespace, readers: int) -> Comparison:
    async def turn(contestant: Contestant, name: str) -> Figures:
        [connection] = await contestant.open([f"{name}.txt"])
        outcome, usage = await load_and_watch(
            contestant,
            "pace.mjs",
            rooms=[(connection, readers + 1)],
            typists=1,
            rate=RATE,
            warm=WARM,
            seconds=seconds(options),
        )
        return {
            **percentiles(outcome["latencies"]),
            "cpu": usage.share * 10,
            "client": outcome["busy"] * 100,
        }

    # Without persistence too, where one run is enough to see the difference.
    taking_part = contestants(options, memory=readers == min(READERS))
    async with started(taking_part) as servers:
        rows = await take_turns(options, servers, turn)
    conditions = (
        f"{RATE} edits/s, one character each; {rounds(options)} alternating rounds of "
        f"{seconds(options)} s after {WARM} s; server on core {SERVER_CORE}, clients in one "
        f"process on core {CLIENT_CORE}: the last reader's figure includes reading all others'."
    )
    title = f"Fan-out: 1 writer, {readers} readers"
    return Comparison(title, conditions, COLUMNS, rows)
