"""What a task depends on, and in which order that is to be done."""

from __future__ import annotations

from collections.abc import Mapping

from cloudide.errors import InvalidInput, NotFound, TooMany
from cloudide.tasks.definitions import Task

STEPS_LIMIT = 64  # tasks of one run


def steps(tasks: Mapping[str, Task], name: str) -> list[Task]:
    """The task and all it depends on, each once, dependencies first. Pure.

    Raises:
        NotFound: there is no such task. InvalidInput: a task depends on one that is not there, or,
            by whatever way, on itself. TooMany: there are more than anybody means.
    """
    if name not in tasks:
        raise NotFound(f"There is no task {name!r} here.")
    done: dict[str, Task] = {}
    # Not recursive: a chain may be as long as the file allows.
    way: list[tuple[str, list[str]]] = [(name, list(tasks[name].depends_on))]
    while way:
        current, left = way[-1]
        if not left:
            done[current] = tasks[current]
            way.pop()
            continue
        needed = left.pop(0)
        if needed in done:
            continue
        names = [each for each, _ in way]
        if needed in names:
            cycle = " → ".join([*names[names.index(needed) :], needed])
            raise InvalidInput(f"These tasks depend on each other: {cycle}. Break the circle.")
        if needed not in tasks:
            raise InvalidInput(
                f"The task {current!r} depends on {needed!r}, which is not there. "
                "Correct depends_on, or define it."
            )
        if len(way) + len(done) >= STEPS_LIMIT:
            raise TooMany(f"The task {name!r} depends on more than {STEPS_LIMIT} others.")
        way.append((needed, list(tasks[needed].depends_on)))
    return list(done.values())
