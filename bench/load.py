"""Acknowledgement under load: 200 clients make 1,000 edits a second; when is each one durable?"""

from __future__ import annotations

from argparse import Namespace

from bench.clients import load_and_watch
from bench.comparison import Column, Comparison
from bench.contestants import CloudIDE, Contestant, started
from bench.serving import CLIENT_CORE, SERVER_CORE
from bench.turns import Figures, percentiles, rounds, take_turns

ROOMS, CLIENTS_PER_ROOM, RATE, WARM = 20, 10, 1000, 3
COLUMNS = {
    "p50": Column("durable: p50 ms"),
    "p99": Column("durable: p99 ms", goal=20),
    "seen_p50": Column("seen: p50 ms"),
    "seen_p99": Column("seen: p99 ms"),
    "server": Column("server's core %", 0),
    "client": Column("clients' core %", 0, compared=False),
    "resident": Column("RSS MiB", 0),
}


async def measure(options: Namespace) -> list[Comparison]:
    clients = ROOMS * CLIENTS_PER_ROOM
    seconds = 3 if options.quick else 10

    async def turn(contestant: Contestant, name: str) -> Figures:
        names = [f"{name}/{number}.txt" for number in range(ROOMS)]
        outcome, usage = await load_and_watch(
            contestant,
            "pace.mjs",
            rooms=[(each, CLIENTS_PER_ROOM) for each in await contestant.open(names)],
            typists=CLIENTS_PER_ROOM,
            rate=RATE / clients,
            warm=WARM,
            seconds=seconds,
        )
        seen = percentiles(outcome["latencies"])
        return {
            **percentiles(outcome["acknowledgements"]),
            **{f"seen_{name}": value for name, value in seen.items()},
            "server": usage.share * 100,
            "client": outcome["busy"] * 100,
        }

    async with started([CloudIDE(profile=options.profile)]) as servers:
        rows = await take_turns(options, servers, turn)
    conditions = (
        f"{clients} clients in {ROOMS} files, {RATE:,} edits/s in all, {rounds(options)} rounds of "
        f"{seconds} s after {WARM} s; each edit goes to {CLIENTS_PER_ROOM - 1} others; server on "
        f"core {SERVER_CORE}, clients in one process on core {CLIENT_CORE}."
    )
    return [Comparison("Acknowledgement under load", conditions, COLUMNS, rows)]
