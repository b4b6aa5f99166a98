"""Which tasks a workspace has: its own `cloudide.toml`, and what its project brings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from cloudide.agents.link import Agent
from cloudide.errors import AgentUnavailable, CloudIDEError, NotFound, TooLarge
from cloudide.tasks import definitions, found
from cloudide.tasks.definitions import Problem, Task

FILE_LIMIT = 512 * 1024  # bytes; of files that are not ours

_Read = tuple[list[Task], list[Problem]]


class Catalogue(msgspec.Struct, frozen=True):
    """The tasks by name, in the order in which they are shown, and what is wrong with files."""

    tasks: dict[str, Task]
    problems: list[Problem]


async def catalogue(agent: Agent) -> Catalogue:
    """Look at the files in the workspace's root. What is wrong there is told, never raised.

    Raises:
        AgentUnavailable: the workspace does not run.
    """
    root = await agent.list("", 1)
    names = {entry.path for entry in root.entries if entry.type != "directory"}
    readers: list[tuple[str, int, Callable[[bytes], _Read]]] = []
    if definitions.FILE in names:
        readers.append((definitions.FILE, definitions.FILE_LIMIT, definitions.parse))
    if found.PACKAGE in names:
        readers.append((found.PACKAGE, FILE_LIMIT, lambda c: found.package_scripts(c, names)))
    for file in found.MAKEFILES:
        if file in names:
            readers.append((file, FILE_LIMIT, lambda c, file=file: found.make_targets(file, c)))
            break
    if found.PYPROJECT in names:
        readers.append((found.PYPROJECT, FILE_LIMIT, lambda c: found.python_scripts(c, names)))
    tasks: dict[str, Task] = {}
    problems: list[Problem] = []
    for file, limit, read in readers:
        try:
            content = (await agent.read(file, limit)).content or b""
            if len(content) > limit:  # the agent is not to be believed
                raise TooLarge
        except (AgentUnavailable, NotFound) as error:
            if isinstance(error, NotFound):
                continue  # it went meanwhile
            raise
        except TooLarge:
            kib = limit // 1024
            problems.append(Problem(file, f"The file is larger than {kib} KiB; it is not read."))
            continue
        except CloudIDEError as error:
            problems.append(Problem(file, error.message))
            continue
        # Beside the loop: a hostile file may be slow to read.
        more, wrong = await asyncio.to_thread(read, content)
        tasks |= {task.name: task for task in more}
        problems += wrong
    return Catalogue(tasks, problems)
