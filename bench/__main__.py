"""Run benchmarks: `python -m bench [name …]`; without a name, all that need no further input."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # the server in a process of its own, and its clients

from bench.figures import keep  # noqa: E402

BUSY = 0.5  # load average of the last minute
NAMES = ["create", "echo", "edit", "memory", "load"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join([*NAMES, "replay"]))
    parser.add_argument("--traces", type=Path, help="folder of editing traces, for `replay`")
    parser.add_argument("--quick", action="store_true", help="a few samples; nothing is kept")
    options = parser.parse_args()
    names = options.names or [*NAMES, *(["replay"] if options.traces else [])]
    if unknown := set(names) - {*NAMES, "replay"}:
        parser.error(f"there is no benchmark {', '.join(unknown)}")
    if "replay" in names and options.traces is None:
        parser.error("replay needs --traces")
    for name in names:
        load = os.getloadavg()[0]
        benchmark = importlib.import_module(f"bench.{name}")
        if load > BUSY:
            print(f"The machine is busy (load {load:.1f}); the figures will be worse than alone.")
        for report in uvloop.run(benchmark.measure(options)):
            print(f"\n{report.title}\n{report.conditions}\n{report.table()}", flush=True)
            if not options.quick:
                keep(report, f"python -m bench {name}", load)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
