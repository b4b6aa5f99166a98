"""Run benchmarks: `python -m bench [name …]`; without a name, all. `collab` is all that concern
shared documents, beside other servers of the kind."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # the server in a process of its own, and its clients

from bench.figures import keep  # noqa: E402

BUSY = 0.5  # load average of the last minute
COLLAB = ["edit", "fanout", "documents", "saturation", "join", "load", "idle"]
NAMES = [
    "create",
    "pool",
    "prebuild",
    "echo",
    "bulk",
    "preview",
    "languages",
    "memory",
    "browser",
    "terminals",
    *COLLAB,
    "replay",
]
TRACED = {"join", "replay"}  # they need --traces


def main() -> int:
    options = _options()
    partial = options.quick or options.only or options.rounds or options.profile
    for name in options.names:
        load, began = os.getloadavg()[0], time.monotonic()
        benchmark = importlib.import_module(f"bench.{name}")
        if load > BUSY:
            print(f"The machine is busy (load {load:.1f}); the figures will be worse than alone.")
        for report in uvloop.run(benchmark.measure(options)):
            print(f"\n{report.title}\n{report.conditions}\n{report.table()}", flush=True)
            if not partial:
                keep(report, f"python -m bench {name}", load)
        print(f"({name} took {time.monotonic() - began:.0f} s)")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join([*NAMES, "collab"]))
    parser.add_argument("--traces", type=Path, help=f"editing traces, for {', '.join(TRACED)}")
    parser.add_argument("--quick", action="store_true", help="a few samples; nothing is kept")
    parser.add_argument("--only", type=_set, help="these servers, as cloudide; nothing is kept")
    parser.add_argument("--rounds", type=int, help="not the usual number; nothing is kept")
    parser.add_argument("--profile", action="store_true", help="where our time goes (py-spy)")
    options = parser.parse_args()
    asked: list[str] = options.names
    if unknown := set(asked) - {*NAMES, "collab"}:
        parser.error(f"there is no benchmark {', '.join(unknown)}")
    if options.traces is None and (untraced := TRACED & set(asked)):
        parser.error(f"{', '.join(untraced)} needs --traces")
    names = [each for name in asked or NAMES for each in (COLLAB if name == "collab" else [name])]
    if skipped := {name for name in names if name in TRACED and options.traces is None}:
        print(f"Without --traces there is no {', '.join(skipped)}.")
    options.names = [name for name in names if name not in skipped]
    return options


def _set(value: str) -> set[str]:
    return set(value.split(","))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
