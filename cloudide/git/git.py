"""Git of all workspaces: constructed once, and what the edge sees."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from cloudide.agents.hub import Agents
from cloudide.git.actions import Actions
from cloudide.git.asking import Asking
from cloudide.git.coauthors import CoAuthorship, Wrote
from cloudide.git.commits import Commits
from cloudide.git.credentials import Credentials
from cloudide.git.dotfiles import Dotfiles
from cloudide.git.errands import Errands
from cloudide.git.profiles import Profiles
from cloudide.git.questions import Questions
from cloudide.git.remotes import Hosts
from cloudide.identity.permissions import Person
from cloudide.identity.sealing import Sealing
from cloudide.identity.users import User
from cloudide.settings import Settings
from cloudide.storage.database import Database


class Git:
    """Use as an async context manager.

    Args:
        record: `Audit.append`.
        person_of: finds an account by its id.
        typist: who typed in a terminal of a workspace last.
        owner: whose a workspace is, if it is a person's.
    """

    def __init__(
        self,
        agents: Agents,
        database: Database,
        sealing: Sealing,
        settings: Settings,
        context: ssl.SSLContext,
        *,
        wrote: Wrote,
        record: Callable[..., Awaitable[None]],
        person_of: Callable[[str], Awaitable[User | None]],
        typist: Callable[[str, str], Person | None],
        owner: Callable[[str], Person | None],
    ) -> None:
        hosts = Hosts(settings.insecure_git_hosts, settings.git_internal_hosts)
        self.credentials = Credentials(database, sealing)
        name = urlsplit(settings.public_url).hostname or "localhost"
        self.profiles = Profiles(database, name, person_of)
        self.errands = Errands(agents, self.credentials, record, hosts, context)
        self.actions = Actions(agents, self.errands, settings.clone_timeout)
        coauthors = CoAuthorship(wrote, self.profiles)
        self.asking = Asking(self.errands, owner)
        self.questions = Questions(
            agents,
            coauthors,
            self.profiles,
            self.asking,
            typist,
            owner,
            settings.clone_timeout,
        )
        self.commits = Commits(agents, coauthors, self.profiles, self.questions.origin)
        self.dotfiles = Dotfiles(agents, self.errands, self.profiles)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Git:
        await self._stack.enter_async_context(self.actions)
        await self._stack.enter_async_context(self.questions)
        await self._stack.enter_async_context(self.dotfiles)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def forget(self, workspace: str) -> None:
        self.actions.forget(workspace)
