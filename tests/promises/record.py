"""What a full run of a promise came to, kept beside the benchmarks."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "bench" / "RESULTS.md"
COMMAND = "make soak"
HEADING = "## Promises in full"


def record(promise: int | str, outcome: str) -> None:
    """Add one line to RESULTS.md: when, commit, command, outcome with its counts.

    Only of a full run; a sample proves nothing that is worth keeping.
    """
    if os.environ.get("CLOUDIDE_SOAK") != "1":
        return
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    name = f"Promise {promise}" if isinstance(promise, int) else promise
    # A section of their own: the benchmarks replace theirs as a whole.
    before, _, lines = RESULTS.read_text().partition(HEADING)
    own, mark, after = lines.partition("\n## ")
    line = f"- {name}, {now}, commit {_commit()}, `{COMMAND}`: {outcome}"
    text = f"{before.rstrip()}\n\n{HEADING}\n\n{own.strip()}\n{line}\n".replace("\n\n\n", "\n\n")
    RESULTS.write_text(text + (f"{mark}{after}" if mark else ""))


def _commit() -> str:
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
