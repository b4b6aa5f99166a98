"""Acknowledgement under load: 200 clients make 1,000 edits a second; when is each one durable?

Beside it what the disk itself takes to make a write durable, in the same rounds: no server's
acknowledgement can come sooner.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from bench.clients import load_and_watch
from bench.comparison import Column, Comparison
from bench.contestants import CloudIDE, Contestant, started
from bench.serving import CLIENT_CORE, SERVER_CORE
from bench.turns import Figures, percentiles, rounds, take_turns

ROOMS, CLIENTS_PER_ROOM, RATE, WARM = 20, 10, 1000, 3
WRITE, WRITES, DISK_RATE = 8192, 500, 200  # bytes, places in the file, times a second
COLUMNS = {
    "p50": Column("durable: p50 ms"),
    "p99": Column("durable: p99 ms", goal=20),
    "disk_p50": Column("the disk alone: p50 ms", compared=False),
    "disk_p99": Column("the disk alone: p99 ms", compared=False),
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
        disk = percentiles(await asyncio.to_thread(_disk_alone, contestant.log.parent, seconds))
        return {
            **percentiles(outcome["acknowledgements"]),
            **{f"seen_{name}": value for name, value in seen.items()},
            **{f"disk_{name}": value for name, value in disk.items()},
            "server": usage.share * 100,
            "client": outcome["busy"] * 100,
        }

    async with started([CloudIDE(profile=options.profile)]) as servers:
        rows = await take_turns(options, servers, turn)
    conditions = (
        f"{clients} clients in {ROOMS} files, {RATE:,} edits/s in all, {rounds(options)} rounds of "
        f"{seconds} s after {WARM} s; each edit goes to {CLIENTS_PER_ROOM - 1} others; server on "
        f"core {SERVER_CORE}, clients in one process on core {CLIENT_CORE}. The disk alone: "
        f"{WRITE // 1024} KiB written over and fdatasync'ed, {DISK_RATE} times a second, after "
        "each round."
    )
    return [Comparison("Acknowledgement under load", conditions, COLUMNS, rows)]


def _disk_alone(folder: Path, seconds: float) -> list[float]:
    """Milliseconds that writes of a commit's size and rate take until they are durable."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        descriptor = file.fileno()
        os.pwrite(descriptor, bytes(WRITE * WRITES), 0)
        os.fsync(descriptor)
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            os.pwrite(descriptor, os.urandom(WRITE), len(times) % WRITES * WRITE)
            os.fdatasync(descriptor)
            times.append((time.perf_counter() - now) * 1e3)
            time.sleep(max(0.0, began + len(times) / DISK_RATE - time.perf_counter()))
    return times
