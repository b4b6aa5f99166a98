"""Joining a document with a long history: late, while others have it open, and cold, as the first
after the server was restarted.

The history is the longest recorded session in `--traces` (see `replay.py`), typed into each server
once. What a server brings back after SIGTERM is compared with what was typed.
"""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from pathlib import Path

from bench.clients import load
from bench.comparison import Column, Comparison, Row
from bench.contestants import Connection, Contestant, contestants, started
from bench.replay import sessions
from bench.serving import CLIENT_CORE, SERVER_CORE
from bench.turns import rounds

JOINS = 7  # late ones, in the turn of a server
REST = 10.0  # seconds from the last edit to SIGTERM: time enough to store it
COLUMNS = {
    "late": Column("late join ms", 1),
    "cold": Column("cold load ms", 1, goal=30),
    "resident": Column("RSS MiB", 0),
}


async def measure(options: Namespace) -> list[Comparison]:
    trace = max(sessions(options.traces), key=lambda path: path.stat().st_size).resolve()
    async with started(contestants(options, memory=False)) as servers:
        rows = [Row(each.label, competes=True) for each in servers]
        turns = list(zip(servers, rows, strict=True))
        typed = [await _type(server, row, trace) for server, row in turns]
        for (server, row), (connection, finished) in zip(turns, typed, strict=True):
            if connection is not None:
                await asyncio.sleep(max(0.0, finished + REST - time.monotonic()))
                await _restart(server, row, connection, trace, rounds(options))
            row.notes += server.complaints()
    name = trace.name.removesuffix(".json.gz")
    conditions = (
        f"The document is the session {name} of josephg/editing-traces (CC BY 4.0), typed before "
        "a second client, an update for each recorded edit. From opening the socket until the last "
        f"byte of the text is there; late: {JOINS} joins while two others have the document open; "
        f"cold: the first join after SIGTERM and a new start, {rounds(options)} of them. Server on "
        f"core {SERVER_CORE}, client on core {CLIENT_CORE}."
    )
    return [Comparison("Late join and cold load", conditions, COLUMNS, rows)]


async def _type(server: Contestant, row: Row, trace: Path) -> tuple[Connection | None, float]:
    """Type the session, then join late; returns the document (None: it failed) and when."""
    [connection] = await server.open(["history.txt"])
    try:
        for took in await _join(connection, trace, row, "late join", type=True, joins=JOINS):
            row.add(late=took)
    except (RuntimeError, TimeoutError) as error:
        row.failures.append(f"while it was typed: {str(error) or type(error).__name__}")
        return None, 0.0
    row.add(resident=server.resident())
    return connection, time.monotonic()


async def _restart(
    server: Contestant, row: Row, connection: Connection, trace: Path, restarts: int
) -> None:
    for _ in range(restarts):
        await server.restart()
        await server.settle()  # it is the document that is cold, not the server
        times = await _join(connection, trace, row, "after SIGTERM", type=False, joins=1)
        if not times:
            return  # what is lost will not come back the next time
        row.add(cold=times[0])


async def _join(
    connection: Connection, trace: Path, row: Row, when: str, *, type: bool, joins: int
) -> list[float]:
    outcome = await load(
        "join.mjs", connection=connection, trace=str(trace), type=type, joins=joins
    )
    if outcome["missing"]:
        row.notes.append(f"{when}, {outcome['missing']:,} characters were missing")
    return outcome["joins"]
