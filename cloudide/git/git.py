"""Git of all workspaces: constructed once, and what the edge sees."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

from cloudide.agents.hub import Agents
from cloudide.git.actions import Actions
from cloudide.git.credentials import Credentials
from cloudide.git.errands import Errands
from cloudide.git.remotes import Hosts
from cloudide.identity.sealing import Sealing
from cloudide.settings import Settings
from cloudide.storage.database import Database


class Git:
    """Use as an async context manager. `record` is `Audit.append`."""

    def __init__(
        self,
        agents: Agents,
        database: Database,
        sealing: Sealing,
        settings: Settings,
        context: ssl.SSLContext,
        record: Callable[..., Awaitable[None]],
    ) -> None:
        hosts = Hosts(settings.insecure_git_hosts, settings.git_internal_hosts)
        self.credentials = Credentials(database, sealing)
        self.errands = Errands(agents, self.credentials, record, hosts, context)
        self.actions = Actions(agents, self.errands, settings.clone_timeout)

    async def __aenter__(self) -> Git:
        await self.actions.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.actions.__aexit__(*error)

    def forget(self, workspace: str) -> None:
        self.actions.forget(workspace)
