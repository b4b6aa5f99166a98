"""`cloudide.toml`: the tasks that a project defines for itself.

    [tasks.test]
    command = "pytest -q"              # a line for the shell, or a list: program and arguments
    cwd = "backend"                    # a folder of the workspace; default: its root
    env = { CI = "1" }
    depends_on = ["build"]             # tasks that have to pass first, or to be ready
    inputs = ["backend/**/*.py"]       # skipped while these are as they were when it last passed
    secrets = ["DEPLOY_TOKEN"]         # what it asks for; who owns a secret says who gets it
    background = true                  # runs until it is stopped
    ready_when = "Listening on"        # a regular expression for a line of output, or a port

What these may be is declared in `project.schema`; one wrong task leaves the others as they are.
"""

from __future__ import annotations

import msgspec

from cloudide.project import configuration
from cloudide.project.configuration import TASK_NAME as NAME
from cloudide.project.problems import Problem
from cloudide.project.schema import FILE, FILE_LIMIT

__all__ = ["FILE", "FILE_LIMIT", "NAME", "Problem", "Task", "parse"]


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
    secrets: list[str] = []
    ready_when: str | int = ""


def parse(content: bytes) -> tuple[list[Task], list[Problem]]:
    """The tasks of a `cloudide.toml` in their order, and what is wrong with it."""
    text, document, mistakes = configuration.load(content)
    mistakes += configuration.unknown_keys(document)
    tables, wrong = configuration.tasks(document)
    tasks = [
        Task(
            name=name, source=FILE, **{key: getattr(table, key) for key in table.__struct_fields__}
        )
        for name, table in tables.items()
    ]
    return tasks, configuration.problems(text, [*mistakes, *wrong])
