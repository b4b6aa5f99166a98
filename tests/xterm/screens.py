"""Screens as xterm.js has them, from Node.js."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DUMP = "dump"
TIMEOUT = 120  # seconds

Step = bytes | str  # bytes to draw, or DUMP


async def screens(*jobs: list[Step], cols: int = 80, rows: int = 24) -> list[list[dict[str, Any]]]:
    """Draw each job's bytes on a fresh terminal; returns the dumps of each."""
    assert (HERE / "node_modules").is_dir(), "Run `make test`: it installs the npm packages."
    node = shutil.which("node")
    assert node is not None, "Node.js is not installed; `make test` sees to that."
    process = await asyncio.create_subprocess_exec(
        *(node, str(HERE / "screens.mjs")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    wire = [
        {
            "cols": cols,
            "rows": rows,
            "steps": [s if isinstance(s, str) else base64.b64encode(s).decode() for s in steps],
        }
        for steps in jobs
    ]
    async with asyncio.timeout(TIMEOUT):
        output, _ = await process.communicate(json.dumps(wire).encode())
    assert process.returncode == 0
    return json.loads(output)


def seen(dump: dict[str, Any]) -> dict[str, Any]:
    """What a person sees and a key does: text, attributes, cursor, modes; not the scrollback."""
    return {key: dump[key] for key in ("screen", "rows", "cursor", "modes")}
