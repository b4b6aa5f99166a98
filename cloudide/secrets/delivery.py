"""Giving secrets to a process that starts: those that it asks for and that name it as a reader.

Asking is only a wish. A name is looked for among the person's own secrets, the workspace's, and
those of the team that owns the workspace, in this order; the first that names the process as a
reader is taken. A person's own goes only to what that person started.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from sqlalchemy import select

from cloudide.errors import CloudIDEError, Denied
from cloudide.identity.permissions import Grant
from cloudide.secrets.names import Wish, parse_wishes
from cloudide.secrets.policy import Process, allows
from cloudide.secrets.redaction import Redactor
from cloudide.secrets.store import Owner, Secret, Secrets
from cloudide.storage.database import Database
from cloudide.storage.tables import workspaces

ACCESS = "secret.access"
Record = Callable[..., Awaitable[None]]


class Given(msgspec.Struct, frozen=True):
    """What a process gets: variables, and files by name. `own`: some of it is the person's own."""

    environment: dict[str, str] = {}
    files: dict[str, str] = {}
    own: bool = False

    def redactor(self) -> Redactor:
        """What takes them out of what the process prints."""
        values = {**self.environment, **self.files}
        return Redactor({name: value.encode() for name, value in values.items()})


NOTHING = Given()


class Delivery:
    """`record` writes to the audit log, as `Audit.append` does; each access is recorded before the
    value is given. `hide` is told of values that must not stand in the server's own log."""

    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        record: Record,
        hide: Callable[[Sequence[str]], None],
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._record = record
        self._hide = hide

    async def give(
        self,
        grant: Grant,
        wishes: Sequence[str],
        kind: str,
        task: str = "",
        *,
        offered: Sequence[str] = (),
    ) -> Given:
        """What a process that this person starts gets of what it asks for.

        `offered`: what the project asks for beside that. It is given where the workspace or its
        team has such a secret for such processes, never a person's own, and is else left out.

        Raises:
            InvalidInput: a wish is none. Denied: no secret of that name names it as a reader.
            NotFound: the secret has no such version. Unsealable: its key is missing.
        """
        asked = parse_wishes(wishes)
        names = {wish.name for wish in asked}
        more = [wish for wish in parse_wishes(offered) if wish.name not in names]
        if not asked and not more:
            return NOTHING
        process = Process(grant.workspace, kind, task)
        owners = [Owner(user=grant.person.id), Owner(workspace=grant.workspace)]
        if team := await self._team(grant.workspace):
            owners.append(Owner(team=team))
        found = await self._secrets.named([wish.name for wish in [*asked, *more]], owners)
        chosen = [(wish, self._choose(wish, found, process)) for wish in asked]
        for wish in more:
            fitting = (
                secret
                for secret in found
                if secret.name == wish.name
                and not secret.owner.user
                and wish.version <= secret.latest
                and allows(secret.readers, process)
            )
            if (secret := next(fitting, None)) is not None:
                chosen.append((wish, secret))
        environment: dict[str, str] = {}
        files: dict[str, str] = {}
        for wish, secret in chosen:
            value = await self._access(grant, process, secret, wish.version or secret.latest)
            (files if wish.as_file else environment)[wish.name] = value
        self._hide([*environment.values(), *files.values()])
        return Given(environment, files, any(secret.owner.user for _, secret in chosen))

    def _choose(self, wish: Wish, found: Sequence[Secret], process: Process) -> Secret:
        fitting = [secret for secret in found if secret.name == wish.name]
        for secret in fitting:
            if allows(secret.readers, process):
                return secret
        what = f"the task {process.task!r}" if process.task else "a terminal or program"
        if fitting:
            raise Denied(
                f"The secret {wish.name} does not name {what} of this workspace as a reader. "
                "Whoever owns the secret can add it."
            )
        raise Denied(
            f"There is no secret {wish.name} for {what} here: you have none of that name, nor has "
            "the workspace or its team."
        )

    async def _access(self, grant: Grant, process: Process, secret: Secret, version: int) -> str:
        person, limit = grant.person, grant.limit
        detail = {
            "secret": secret.id,
            "name": secret.name,
            "version": version,
            "owner": secret.owner.label,
            "process": process.label,
        }
        about = {
            "user": person.id,
            "name": person.name,
            "token": limit.token if limit else "",
            "workspace": process.workspace,
            "detail": detail,
        }
        try:
            value = await self._secrets.open(secret, version)
        except CloudIDEError as error:
            await self._record(ACCESS, **about, outcome=f"{error.status} {error.title}")
            raise
        await self._record(ACCESS, **about)
        await self._secrets.note_use(secret, version, process.workspace, process.label, person.id)
        return value

    async def _team(self, workspace: str) -> str:
        query = select(workspaces.c.team).where(workspaces.c.id == workspace)
        async with self._database.begin() as db:
            return (await db.execute(query)).scalar() or ""
