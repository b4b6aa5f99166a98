"""Rounds in which every contestant has its turn: one scenario, one row of figures for each."""

from __future__ import annotations

import statistics
from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterable

from bench.comparison import Row
from bench.contestants import Contestant

ROUNDS, SECONDS = 3, 4

Figures = dict[str, float]
Turn = Callable[[Contestant, str], Awaitable[Figures]]


async def take_turns(options: Namespace, servers: list[Contestant], turn: Turn) -> list[Row]:
    """Let `turn(contestant, name of the round)` measure each server in each round.

    A server that fails is a failure in its row, and is not asked again; the others go on.
    """
    rows = [Row(each.label, competes=bool(each.kept)) for each in servers]
    for number in range(rounds(options)):
        for server, row in zip(servers, rows, strict=True):
            if row.failures or (number and not row.competes):
                continue  # in memory only, one round shows the difference
            try:
                row.add(**await turn(server, f"round-{number}"))
                await server.settle()
            except (RuntimeError, TimeoutError) as error:
                row.failures.append(f"round {number + 1}: {str(error) or type(error).__name__}")
                print(f"{server.label}: {row.failures[-1]}", flush=True)
                await server.restart()
    for server, row in zip(servers, rows, strict=True):
        row.add(resident=server.resident())
        row.notes = server.complaints()
    return rows


def rounds(options: Namespace) -> int:
    return options.rounds or (1 if options.quick else ROUNDS)


def seconds(options: Namespace) -> int:
    """How long people type at an even pace in one turn."""
    return 3 if options.quick else SECONDS


def percentiles(values: Iterable[float]) -> Figures:
    ordered = sorted(values)
    return {
        "p50": statistics.median(ordered),
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
    }
