"""Where a Python server spends its time while it is measured: `--profile`, by py-spy."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

RATE, SHOWN = 200, 25  # samples a second, functions
LOOP = "Runner.run (asyncio/runners.py"  # what is before it is in every sample


@asynccontextmanager
async def profiled(pid: int) -> AsyncIterator[None]:
    """Print the functions that a process spent most time in."""
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if spy is None:
        raise SystemExit("--profile needs py-spy: install it into .venv with pip.")
    with tempfile.NamedTemporaryFile(prefix="cloudide-profile-", suffix=".txt") as file:
        recording = await asyncio.create_subprocess_exec(
            *(spy, "record", "--pid", str(pid), "--output", file.name),
            *("--format", "raw", "--rate", str(RATE), "--nonblocking", "--duration", "unlimited"),
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            recording.send_signal(signal.SIGINT)
            await recording.wait()
        print(_summary(Path(file.name)), flush=True)


def _summary(stacks: Path) -> str:
    """Functions with the samples taken in themselves and in what they called."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        functions = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]
        if LOOP in functions:
            functions = functions[functions.index(LOOP) :]
        own[functions[-1]] += int(count)
        within.update(dict.fromkeys(functions, int(count)))
    total = own.total() or 1
    shown = [*own.most_common(SHOWN), *within.most_common(SHOWN)]
    return "\n".join(
        f"{own[name] / total:6.1%} itself {within[name] / total:6.1%} in all  {name}"
        for name in sorted(dict.fromkeys(name for name, _ in shown), key=lambda name: -own[name])
    )
