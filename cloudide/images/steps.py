"""What a build is told as while it goes on: its steps, and why one failed. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import msgspec

from cloudide.images.dockerfile import Instruction

TITLE_LENGTH = 160  # characters
_STEP = re.compile(r"Step (\d+)/(\d+) : ")
_EXIT = re.compile(r"returned a non-zero code: (\d+)")
_LAST_LENGTH = 200


class Step(msgspec.Struct, omit_defaults=True):
    """`line`: of the Dockerfile, 0 for a step of ours. `seconds`: None while it goes on."""

    title: str
    line: int = 0
    started_at: float = 0.0
    seconds: float | None = None
    cached: bool = False
    failed: bool = False


class Steps:
    """The steps of one build; at most one goes on at a time."""

    def __init__(self) -> None:
        self.all: list[Step] = []

    def begin(self, title: str, line: int = 0) -> Step:
        """The next one; the one before it is done."""
        self.end()
        title = " ".join(title.split())
        if len(title) > TITLE_LENGTH:
            title = title[: TITLE_LENGTH - 1] + "…"
        step = Step(title, line, started_at=time.time())
        self.all.append(step)
        return step

    def end(self, *, failed: bool = False) -> None:
        if self.all and self.all[-1].seconds is None:
            step = self.all[-1]
            step.seconds = round(time.time() - step.started_at, 3)
            step.failed = failed

    @property
    def current(self) -> Step | None:
        return self.all[-1] if self.all and self.all[-1].seconds is None else None


def step_number(text: str) -> int | None:
    """The number in the engine's "Step 3/7 : RUN …"."""
    match = _STEP.match(text)
    return int(match[1]) if match else None


def secretless(instruction: Instruction) -> str:
    """An instruction as it is shown."""
    return f"{instruction.name} {instruction.rest}"


def explained(step: Step | None, error: str, last_lines: Sequence[str]) -> str:
    """Why a build failed, in one sentence."""
    where = f"“{step.title}”" if step else "The build"
    if step and step.line:
        where = f"Line {step.line} ({step.title})"
    match = _EXIT.search(error)
    if match is None:
        return f"{where} failed: {_first_line(error)}"
    code = int(match[1])
    said = next((line.strip() for line in reversed(last_lines) if line.strip()), "")
    said = f": {said[:_LAST_LENGTH]}" if said else "."
    if code == 137:
        return (
            f"{where} was ended by the kernel: it needed more memory than a build may use, or the "
            "build was stopped."
        )
    if code == 127:
        return f"{where} runs a program that the image does not have{said}"
    if code == 126:
        return f"{where} runs a program that cannot be run{said}"
    return f"{where} ended with exit code {code}{said}"


def _first_line(error: str) -> str:
    line = next((line.strip() for line in error.splitlines() if line.strip()), "")
    line = line[:300] or "the engine does not say why"
    return line if line.endswith((".", "!", "?")) else f"{line}."
