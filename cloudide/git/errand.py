"""One errand to one repository: what may be asked of it, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from cloudide.errors import CloudIDEError, Denied
from cloudide.git.credentials import Login
from cloudide.git.remotes import Remote
from cloudide.protocol.pktline import Update

Service = Literal["git-upload-pack", "git-receive-pack"]
FETCH: Service = "git-upload-pack"
PUSH: Service = "git-receive-pack"

Approve = Callable[[Sequence[Update]], Awaitable[None]]


class Errand:
    """A fetch from, or a push to, one repository as one person.

    Args:
        approve: is asked before a push goes on, with what it would change; raises to refuse.
    """

    def __init__(
        self, remote: Remote, service: Service, login: Login | None, approve: Approve | None = None
    ) -> None:
        self.remote = remote
        self.service = service
        self.login = login
        self.trouble: CloudIDEError | None = None  # why it failed, if we know better than Git
        self.failed = asyncio.Event()
        self.updates: list[Update] = []  # what was pushed
        self._approve = approve

    def fail(self, error: CloudIDEError) -> None:
        self.trouble = error
        self.failed.set()

    async def approve(self, updates: Sequence[Update]) -> None:
        """Raises: CloudIDEError: this is not what the person asked for."""
        if self._approve is None:
            raise Denied("No push was asked for.")
        await self._approve(updates)
        self.updates = [*updates]

    def discovers(self, target: str) -> bool:
        """Whether a request for `target`, from the repository on, asks what there is."""
        parts = urlsplit(target)
        return parts.path == "/info/refs" and parse_qs(parts.query, strict_parsing=False) == {
            "service": [self.service]
        }

    def serves(self, target: str) -> bool:
        """Whether it asks for the service of this errand."""
        return target == f"/{self.service}"


def exactly(wanted: Mapping[str, str]) -> Approve:
    """Approve what sets no other references than these, and these to nothing else.

    `wanted`: ids by reference; "" for one that is to be deleted.
    """

    async def approve(updates: Sequence[Update]) -> None:
        for update in updates:
            if update.ref not in wanted:
                raise Denied(f"The push would also change {update.ref}, which nobody asked for.")
            asked = wanted[update.ref]
            if update.deletes if asked else not update.deletes:
                raise Denied(f"The push would do something else with {update.ref}.")
            if asked and update.new != asked:
                raise Denied(
                    f"The push would set {update.ref} to {update.new[:10]}, but {asked[:10]} was "
                    "asked for; it has changed meanwhile. Look again, and push again."
                )

    return approve
