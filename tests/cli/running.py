"""`cloudide` as a person runs it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Ran(NamedTuple):
    code: int
    output: str
    errors: str


async def begin(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("cloudide")), *arguments),
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(
    *arguments: str, input: bytes = b"", environment: Mapping[str, str] | None = None
) -> Ran:
    process = await begin(*arguments, environment=environment)
    output, errors = await process.communicate(input)
    return Ran(process.returncode or 0, output.decode(), errors.decode())
