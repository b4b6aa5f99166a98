"""Tasks that a project already has: scripts of package.json, targets of make, Python's runners.

Each reader takes a file's content and gives its tasks; what it cannot read is a problem of that
file. Their names begin with the program that runs them, so that they never meet a task's name from
`cloudide.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from cloudide.project import toml
from cloudide.tasks.definitions import NAME, Problem, Task

PACKAGE = "package.json"
PYPROJECT = "pyproject.toml"
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")  # in the order in which make looks
FOUND_LIMIT = 100  # tasks of one file

# The lock file that a package manager leaves, and the manager.
_LOCKS = (
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
    ("package-lock.json", "npm"),
)
_PYTHON_LOCKS = (("uv.lock", "uv"), ("poetry.lock", "poetry"), ("pdm.lock", "pdm"))
# Where task runners keep theirs in pyproject.toml, and how they are started.
_RUNNERS = (
    (("tool", "poe", "tasks"), "poe", ["poe"]),
    (("tool", "pdm", "scripts"), "pdm", ["pdm", "run"]),
    (("tool", "taskipy", "tasks"), "taskipy", ["task"]),
    (("tool", "hatch", "envs", "default", "scripts"), "hatch", ["hatch", "run"]),
)
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class _Package(msgspec.Struct):
    scripts: dict[str, str] = {}
    manager: str = msgspec.field(name="packageManager", default="")


def package_scripts(content: bytes, names: Collection[str]) -> tuple[list[Task], list[Problem]]:
    """The scripts of a package.json. `names`: the files beside it, for the package manager."""
    try:
        package = msgspec.json.decode(content, type=_Package)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return [], [Problem(PACKAGE, f"Its scripts cannot be read: {error}.")]
    said = package.manager.partition("@")[0]
    manager = next((program for lock, program in _LOCKS if lock in names), "npm")
    if said in ("npm", "pnpm", "yarn", "bun"):
        manager = said
    return _tasks(PACKAGE, manager, [manager, "run"], package.scripts), []


def make_targets(file: str, content: bytes) -> tuple[list[Task], list[Problem]]:
    """The targets of a makefile: those called phony, or all plain names where none is."""
    text = content.decode(errors="replace")
    phony: set[str] = set()
    targets: list[str] = []
    for line in text.replace("\\\n", " ").split("\n"):
        head, colon, rest = line.partition("#")[0].partition(":")
        if not colon or rest.startswith(("=", ":=")) or line[:1].isspace():
            continue  # a variable, a line of a recipe, or nothing of interest
        names = head.split()
        if names == [".PHONY"]:
            phony.update(rest.split())
        elif all(_TARGET.fullmatch(name) for name in names):
            targets += names
    if phony:
        targets = [name for name in targets if name in phony]
    else:
        targets = [name for name in targets if "." not in name]
    return _tasks(file, "make", ["make"], dict.fromkeys(targets)), []


def python_scripts(content: bytes, names: Collection[str]) -> tuple[list[Task], list[Problem]]:
    """The scripts of a pyproject.toml, and those of the task runners that keep theirs there."""
    try:
        text = content.decode()
        if toml.too_deep(text) >= 0:
            return [], [Problem(PYPROJECT, "Its values are nested too deeply.")]
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or too large a number
        return [], [Problem(PYPROJECT, f"This is not TOML: {error}.")]
    runner = next((program for lock, program in _PYTHON_LOCKS if lock in names), "")
    scripts = _table(document, ("project", "scripts"))
    tasks = _tasks(PYPROJECT, "script", [runner, "run"] if runner else [], scripts)
    for path, prefix, command in _RUNNERS:
        # A leading underscore marks shared options (pdm) and helpers (poe).
        own = [name for name in _table(document, path) if not name.startswith("_")]
        tasks += _tasks(PYPROJECT, prefix, command, own)
    return tasks, []


def _tasks(file: str, prefix: str, command: list[str], names: Iterable[str]) -> list[Task]:
    # A name that begins with a dash would be an option of the program.
    good = [name for name in names if NAME.fullmatch(name) and NAME.fullmatch(f"{prefix}:{name}")]
    return [
        Task(name=f"{prefix}:{name}", source=file, command=[*command, name])
        for name in good[:FOUND_LIMIT]
    ]


def _table(document: dict[str, Any], path: Iterable[str]) -> dict[str, Any]:
    found: Any = document
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
