"""Errands of people: with whose credentials, on record, and with an endpoint while they last."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from cloudide.agents.hub import Agents
from cloudide.errors import CloudIDEError, InvalidInput
from cloudide.git.credentials import Credential, Credentials
from cloudide.git.endpoint import endpoint, through
from cloudide.git.errand import FETCH, Approve, Errand, Service
from cloudide.git.remotes import Hosts, Remote
from cloudide.identity.audit import DONE
from cloudide.identity.permissions import Person

Record = Callable[..., Awaitable[None]]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """`raw` is the address as Git in the container has it, `remote` what that leads to.

    `action` is what the audit log calls it; `detail` goes into it.
    """

    workspace: str
    person: Person
    raw: str
    remote: Remote
    service: Service
    action: str
    approve: Approve | None = None
    detail: Mapping[str, Any] = {}


class Errands:
    def __init__(
        self,
        agents: Agents,
        credentials: Credentials,
        record: Record,
        hosts: Hosts,
        context: ssl.SSLContext,
    ) -> None:
        """`record` is `Audit.append`."""
        self.credentials = credentials
        self.hosts = hosts
        self._agents = agents
        self._record = record
        self._context = context

    async def fitting(self, person: str, url: str) -> tuple[Remote, Credential] | None:
        """What somebody would reach an address with; None: nothing of theirs fits."""
        try:
            remote = self.hosts.remote(url)
        except InvalidInput:
            return None
        credential = await self.credentials.find(person, remote)
        return None if credential is None else (remote, credential)

    @asynccontextmanager
    async def open(self, request: Request, credential: Credential) -> AsyncIterator[Errand]:
        """An errand without an endpoint yet; its end is recorded. See `at_endpoint`."""
        errand: Errand | None = None
        outcome = "interrupted"
        try:
            login = await self.credentials.use(credential)
            errand = Errand(request.remote, request.service, login, request.approve)
            yield errand
            trouble = errand.trouble
            outcome = DONE if trouble is None else f"{trouble.status} {trouble.title}"
        except CloudIDEError as error:
            # What the server saw says more than what Git makes of it.
            trouble = errand.trouble if errand is not None and errand.trouble else error
            outcome = f"{trouble.status} {trouble.title}"
            if trouble is error:
                raise
            raise trouble from error
        finally:
            updates = errand.updates if errand is not None else []
            await self._record(
                request.action,
                user=request.person.id,
                name=request.person.name,
                workspace=request.workspace,
                detail={
                    **request.detail,
                    "repository": request.remote.url,
                    "credential": credential.id,
                    "as": credential.username,
                    **({"updates": [_shown(each) for each in updates[:20]]} if updates else {}),
                },
                outcome=outcome,
            )

    @asynccontextmanager
    async def endpoint(self, workspace: str, errand: Errand) -> AsyncIterator[str]:
        """The address at which Git in the container finds the repository."""
        agent = self._agents.agent(workspace)
        async with endpoint(agent, errand, self.hosts, self._context) as made:
            yield made.url

    @asynccontextmanager
    async def environment(
        self, request: Request, credential: Credential
    ) -> AsyncIterator[Mapping[str, str]]:
        """The environment for one Git process of the container that is on this errand."""
        async with (
            self.open(request, credential) as errand,
            self.endpoint(request.workspace, errand) as url,
        ):
            yield through(url, request.raw)

    @asynccontextmanager
    async def cloning(
        self, workspace: str, owner: Person, url: str
    ) -> AsyncIterator[Mapping[str, str]]:
        """The environment in which a new workspace is cloned: its owner's credentials, if any."""
        fitting = await self.fitting(owner.id, url)
        if fitting is None:
            yield {}
            return
        remote, credential = fitting
        request = Request(
            workspace=workspace,
            person=owner,
            raw=url,
            remote=remote,
            service=FETCH,
            action="git.clone",
        )
        async with self.environment(request, credential) as environment:
            yield environment


def _shown(update: Any) -> str:
    return f"{update.ref} {update.old[:12]} → {update.new[:12]}"
