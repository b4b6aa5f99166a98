"""Dotfiles of a person: cloned into the home of a workspace that they own, when it first starts.

The repository is fetched with the owner's own credentials, if it takes any; what it then runs has
nobody's: the endpoint is closed by then. What both printed, and why it failed, is in the home for
whoever looks later; a failure is told to the owner at once and changes nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from cloudide.agents.hub import Agents
from cloudide.errors import CloudIDEError
from cloudide.git.errands import Errands
from cloudide.git.profiles import Profiles
from cloudide.git.program import run_program
from cloudide.identity.permissions import Person

FOLDER, LOG = ".dotfiles", ".dotfiles.log"  # in the home
LOG_LINES, LOG_LIMIT = 1000, 64 * 1024  # characters; the last ones
TIMEOUT = 300.0  # seconds for each of the two steps
_CLONE = f'exec git clone --quiet --depth=1 -- "$1" "$HOME/{FOLDER}"'
# As others do who have dotfiles applied: a script of a usual name, or else links in the home.
_INSTALL = f"""
cd "$HOME/{FOLDER}" || exit 1
for script in install.sh install bootstrap.sh bootstrap setup.sh setup; do
    if [ -f "$script" ]; then
        if [ -x "$script" ]; then exec "./$script"; else exec sh "./$script"; fi
    fi
done
for file in .[!.]*; do
    case $file in .git|.gitignore|.gitmodules|.github) continue ;; esac
    ln -sfn "$HOME/{FOLDER}/$file" "$HOME/$file" || exit 1
done
"""

_KEEP = f'cd && printf %s "$1" > {LOG}~ && mv {LOG}~ {LOG}'

_log = structlog.get_logger(__name__)


class Dotfiles:
    """Use as an async context manager; it owns a task for each workspace that is set up.

    `on_failure(workspace, owner, message)` is told why a person has none of theirs.
    """

    def __init__(self, agents: Agents, errands: Errands, profiles: Profiles) -> None:
        self.on_failure: Callable[[str, Person, str], None] = lambda workspace, owner, message: None
        self._agents = agents
        self._errands = errands
        self._profiles = profiles
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Dotfiles:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def begin(self, workspace: str, owner: Person) -> None:
        """A workspace is there for the first time: set it up, beside all else."""
        task = self._tasks.create_task(self._apply(workspace, owner))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _apply(self, workspace: str, owner: Person) -> None:
        said: deque[str] = deque(maxlen=LOG_LINES)
        try:
            url = (await self._profiles.get(owner.id)).dotfiles
            if not url:
                return
            agent = self._agents.agent(workspace)
            try:
                async with self._errands.cloning(workspace, owner, url) as environment:
                    clone = ["sh", "-c", _CLONE, "dotfiles", url]
                    await run_program(agent, clone, "", environment, said.append, TIMEOUT)
                await run_program(agent, ["sh", "-c", _INSTALL], "", {}, said.append, TIMEOUT)
            except CloudIDEError as error:
                _log.info("git.dotfiles_failed", workspace=workspace)
                message = f"Your dotfiles were not set up. {error.message}"
                said.append(message)
                self.on_failure(workspace, owner, f"{message} See ~/{LOG}.")
            log = "".join(f"{line}\n" for line in said)[-LOG_LIMIT:]
            await agent.execute(["sh", "-c", _KEEP, "log", log])
        except CloudIDEError as error:  # it was stopped meanwhile
            _log.info("git.dotfiles_cut_off", workspace=workspace, error=error.message)
        except Exception:
            _log.exception("git.dotfiles_failed", workspace=workspace)
