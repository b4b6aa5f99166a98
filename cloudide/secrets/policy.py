"""Which processes may have a secret: those that it names, and no others."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloudide.errors import InvalidInput

READERS_LIMIT = 100
TASKS_LIMIT = 100
TASK_LENGTH = 300  # characters; tasks found in makefiles and the like have long names
EVERY = "*"


class Reader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A workspace whose processes may have it: the tasks that are named ("*": all), and, with
    `programs`, terminals and programs that ask for it."""

    workspace: str
    tasks: list[str] = []
    programs: bool = False


class Process(msgspec.Struct, frozen=True):
    """Who asks: a task of a workspace, or, without one, a terminal or program of it."""

    workspace: str
    kind: str  # task, terminal, exec
    task: str = ""

    @property
    def label(self) -> str:
        return f"{self.kind} {self.task}" if self.task else self.kind


def allows(readers: Sequence[Reader], process: Process) -> bool:
    """Whether one of them is this process."""
    for reader in readers:
        if reader.workspace != process.workspace:
            continue
        if process.kind == "task":
            if EVERY in reader.tasks or process.task in reader.tasks:
                return True
        elif reader.programs:
            return True
    return False


def checked(readers: Sequence[Reader], workspace: str) -> list[Reader]:
    """The readers as they are kept. `workspace`: the one whose secret it is, which then is the
    only one that can read it and need not be named; "": it is not one's.

    Raises:
        InvalidInput: they are too many, or one of them is none.
    """
    if len(readers) > READERS_LIMIT:
        raise InvalidInput(f"At most {READERS_LIMIT} readers can be named.", pointer="/readers")
    found: list[Reader] = []
    for index, reader in enumerate(readers):
        if workspace and reader.workspace not in ("", workspace):
            raise InvalidInput(
                "A workspace's secret is for that workspace alone.",
                pointer=f"/readers/{index}/workspace",
            )
        where = workspace or reader.workspace
        if not where or len(where) > TASKS_LIMIT:
            raise InvalidInput("Name a workspace.", pointer=f"/readers/{index}/workspace")
        if len(reader.tasks) > TASKS_LIMIT or any(
            not task or len(task) > TASK_LENGTH for task in reader.tasks
        ):
            raise InvalidInput(
                f"Name up to {TASKS_LIMIT} tasks, or * for all.", pointer=f"/readers/{index}/tasks"
            )
        found.append(Reader(where, sorted(set(reader.tasks)), reader.programs))
    if len({each.workspace for each in found}) < len(found):
        raise InvalidInput("A workspace is named once.", pointer="/readers")
    return found
