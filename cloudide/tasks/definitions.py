"""`cloudide.toml`: the tasks that a project defines for itself.

    [tasks.test]
    command = "pytest -q"              # a line for the shell, or a list: program and arguments
    cwd = "backend"                    # a folder of the workspace; default: its root
    env = { CI = "1" }
    depends_on = ["build"]             # tasks that have to pass first, or to be ready
    inputs = ["backend/**/*.py"]       # skipped while these are as they were when it last passed
    background = true                  # runs until it is stopped
    ready_when = "Listening on"        # a regular expression for a line of output, or a port

The file is hostile input: it is bounded, and one wrong task is a problem of its own that leaves the
others as they are.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence

import msgspec

FILE = "cloudide.toml"
FILE_LIMIT = 64 * 1024  # bytes
TASKS_LIMIT = 200
TEXT_LIMIT = 4000  # characters of a command or a value
PATTERN_LIMIT = 500
LIST_LIMIT = 64  # dependencies, input patterns, variables
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A named command. `source` is the file it was found in."""

    name: str
    source: str
    command: list[str] | str
    cwd: str = ""
    env: dict[str, str] = {}
    depends_on: list[str] = []
    inputs: list[str] = []
    background: bool = False
    ready_when: str | int = ""


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a file, and what to do about it. `line` counts from 1; 0: unknown."""

    file: str
    message: str
    line: int = 0


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[tasks.…]` as it is written."""

    command: list[str] | str
    cwd: str = ""
    env: dict[str, str] = {}
    depends_on: list[str] = []
    inputs: list[str] = []
    background: bool = False
    ready_when: str | int = ""


def parse(content: bytes) -> tuple[list[Task], list[Problem]]:
    """The tasks of a `cloudide.toml` in their order, and what is wrong with it."""
    if len(content) > FILE_LIMIT:
        return [], [Problem(FILE, f"The file is larger than {FILE_LIMIT // 1024} KiB.")]
    try:
        text = content.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError:
        return [], [Problem(FILE, "The file is not UTF-8 text; save it as that.")]
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        message = str(error)[: found.start()] if found else str(error)
        line = int(found[1]) if found else 0
        return [], [Problem(FILE, f"This is not TOML: {message}.", line)]
    except RecursionError:
        return [], [Problem(FILE, "Its values are nested too deeply.")]
    problems = [
        Problem(FILE, f"{key[:100]!r} means nothing here; tasks are tables like [tasks.test].")
        for key in document
        if key != "tasks"
    ][:LIST_LIMIT]
    tables = document.get("tasks", {})
    if not isinstance(tables, dict):
        problems.append(Problem(FILE, "`tasks` is not a table; write [tasks.test]."))
        return [], problems
    tasks: list[Task] = []
    for name, table in list(tables.items())[:TASKS_LIMIT]:
        try:
            tasks.append(_task(name, table))
        except _Wrong as wrong:
            line = _line(text, name, wrong.key)
            problems.append(Problem(FILE, f"[tasks.{name[:100]}]: {wrong}", line))
    if len(tables) > TASKS_LIMIT:
        problems.append(Problem(FILE, f"Only the first {TASKS_LIMIT} tasks are taken."))
    return tasks, problems


class _Wrong(Exception):
    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


def _task(name: str, table: object) -> Task:
    if not NAME.fullmatch(name):
        raise _Wrong("A name has up to 100 letters, digits and _ . : / -, a letter or digit first.")
    if not isinstance(table, dict):
        raise _Wrong('This is not a table; write `command = "…"` below it.')
    for key in table:
        if key not in _Table.__struct_fields__:
            known = ", ".join(_Table.__struct_fields__)
            raise _Wrong(f"There is no key {key[:100]!r}; a task has {known}.", key)
    try:
        task = msgspec.convert(table, _Table)
    except msgspec.ValidationError as error:
        found = re.search(r" - at `\$\.(\w+)", str(error))
        key = found[1] if found else ""
        raise _Wrong(f"{key or 'It'}: {str(error).partition(' - at ')[0]}.", key) from error
    _check_values(task)
    return Task(name=name, source=FILE, **{f: getattr(task, f) for f in task.__struct_fields__})


def _check_values(task: _Table) -> None:
    command = task.command
    parts = [command] if isinstance(command, str) else command
    if not parts or not parts[0].strip():
        raise _Wrong("command is empty; say what it runs.", "command")
    _check_texts("command", parts)
    if not is_path(task.cwd):
        raise _Wrong("cwd is a folder of the workspace, without a leading / and `..`.", "cwd")
    for name in task.env:
        if not _VARIABLE.fullmatch(name):
            raise _Wrong(f"env: {name[:100]!r} is not the name of a variable.", "env")
    _check_texts("env", list(task.env.values()))
    _check_texts("depends_on", task.depends_on)
    _check_texts("inputs", task.inputs)
    for pattern in task.inputs:
        if not pattern or not is_path(pattern):
            raise _Wrong(
                f"inputs: {pattern[:100]!r} is not a path of the workspace such as src/**/*.py.",
                "inputs",
            )
    _check_ready(task.ready_when)
    if task.ready_when and not task.background:
        raise _Wrong("ready_when is for background tasks; add `background = true`.", "ready_when")
    if task.background and task.inputs:
        raise _Wrong("A background task is never skipped, so inputs mean nothing.", "inputs")


def _check_ready(ready: str | int) -> None:
    if isinstance(ready, int):
        if not 1 <= ready <= 65535:
            raise _Wrong("ready_when: a port is a number from 1 to 65535.", "ready_when")
        return
    if len(ready) > PATTERN_LIMIT:
        raise _Wrong(f"ready_when is longer than {PATTERN_LIMIT} characters.", "ready_when")
    try:
        re.compile(ready)  # only looked at: the agent is who searches with it
    except (re.error, OverflowError, RecursionError) as error:
        raise _Wrong(f"ready_when is not a regular expression: {error}.", "ready_when") from error


def _check_texts(key: str, texts: Sequence[str]) -> None:
    if len(texts) > LIST_LIMIT:
        raise _Wrong(f"{key} has more than {LIST_LIMIT} parts.", key)
    if any(len(text) > TEXT_LIMIT or "\0" in text for text in texts):
        raise _Wrong(f"{key} has a NUL character or more than {TEXT_LIMIT} characters.", key)


def is_path(path: str) -> bool:
    """Whether this is a path of the protocol, patterns included ("" is the root)."""
    parts = path.rstrip("/").split("/") if path else []
    return len(path) <= 1000 and not any(p in ("", ".", "..") or "\0" in p for p in parts)


def _line(text: str, name: str, key: str) -> int:
    """The line in which a table [tasks.NAME] begins, or that of a key in it; 0 if not found."""
    lines = text.split("\n")
    quoted = rf'(?:"{re.escape(name)}"|\'{re.escape(name)}\'|{re.escape(name)})'
    header = re.compile(
        rf"\s*(?:\[\s*tasks\s*\.\s*{quoted}\s*[\].]|(?:tasks\s*\.\s*)?{quoted}\s*[.=])"
    )
    start = next((at for at, line in enumerate(lines) if header.match(line)), None)
    if start is None:
        return 0
    if key:
        wanted = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]")
        for at in range(start + 1, len(lines)):
            if lines[at].lstrip().startswith("["):
                break
            if wanted.match(lines[at]):
                return at + 1
    return start + 1
