"""Figures of a benchmark: percentiles, ratios, and how they are shown and kept."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Protocol

import msgspec

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "RESULTS.md"


class Series(msgspec.Struct):
    """One thing measured: values in milliseconds, in rounds that alternated with the peers'."""

    name: str
    rounds: list[list[float]] = []
    compared: bool = True  # whether a ratio to the first series means anything

    @property
    def count(self) -> int:
        return sum(map(len, self.rounds))

    def percentile(self, percent: float) -> float:
        """The median of the rounds' percentiles, so that one disturbed round does not decide."""
        return statistics.median(_percentile(values, percent) for values in self.rounds)


class Quantity(msgspec.Struct):
    """One thing weighed, such as memory, and the most it may be; 0: whatever it is."""

    name: str
    value: float
    unit: str
    limit: float = 0.0


class Report(msgspec.Struct):
    """The outcome of one benchmark; the first series is ours, with `target` as its p50 in ms."""

    title: str
    conditions: str
    series: list[Series] = []
    quantities: list[Quantity] = []
    target: float = 0.0

    def table(self) -> str:
        return "\n".join(self._times() if self.series else self._quantities())

    def _times(self) -> list[str]:
        ours, *others = self.series
        compared = any(each.compared for each in others)
        rows = ["| | p50 ms | p99 ms | count |", "|---|--:|--:|--:|"]
        if compared:
            rows = [rows[0] + " CloudIDE ÷ this, p50 |", rows[1] + "--:|"]
        for each in self.series:
            half, name, ratio = each.percentile(50), each.name, ""
            if compared and each is ours:
                name, ratio = f"**{name}**", f"target ≤ {self.target:g} ms"
            elif each.compared:
                ratio = f"{ours.percentile(50) / half:.2f}"
            row = f"| {name} | {half:.2f} | {each.percentile(99):.2f} | {each.count:,} |"
            rows.append(f"{row} {ratio} |" if compared else row)
        return rows

    def _quantities(self) -> list[str]:
        return [
            "| | measured | limit |",
            "|---|--:|--:|",
            *(
                f"| {each.name} | {each.value:.1f} {each.unit} |"
                + (f" {each.limit:g} {each.unit} |" if each.limit else " |")
                for each in self.quantities
            ),
        ]


class Tabular(Protocol):
    title: str
    conditions: str

    def table(self) -> str: ...


def keep(report: Tabular, command: str, load: float) -> None:
    """Put a report into RESULTS.md in place of the last one of its title, with all that is needed
    to judge it; `load` is the machine's (one minute) when the run began."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {_versions()}"
    section = "\n".join(
        [
            f"## {report.title}",
            "",
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}, {machine}, "
            f"load {load:.1f} at the start; `{command}`. {report.conditions}",
            "",
            report.table(),
            "",
        ]
    )
    head, *sections = re.split(r"^(?=## )", RESULTS.read_text(), flags=re.MULTILINE)
    kept = [each for each in sections if not each.startswith(f"## {report.title}\n")]
    RESULTS.write_text("\n".join(each.rstrip() + "\n" for each in [head, *kept, section]))


def _versions() -> str:
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    packages = [f"{name} {metadata.version(name)}" for name in ("pycrdt", "uvicorn", "apsw")]
    node_version = [f"Node.js {node.stdout.strip()}"] if node.returncode == 0 else []
    return ", ".join([f"Python {platform.python_version()}", *node_version, *packages])


def _percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _commit() -> str:
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "cloudide"], check=False)
    return f"{commit} with changes" if changed.returncode else commit
