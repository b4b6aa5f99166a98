"""Asking people in their browser: may Git in a shell of theirs sign in as they do?

Who types in the terminal is asked first, and whose credentials it would be is always who is asked.
Somebody who has none, or wants another to do it, asks the workspace's owner, who is told who asks.
A push is shown with the branch and the commit; one that turns out to be another is asked again.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

import msgspec

from cloudide.errors import Conflict, Denied, InvalidInput, NotFound
from cloudide.git.credentials import Credential
from cloudide.git.errand import FETCH, PUSH, Errand, Service
from cloudide.git.errands import Errands, Request
from cloudide.git.remotes import Remote
from cloudide.identity.permissions import Person
from cloudide.protocol.pktline import Update
from cloudide.protocol.questions import MayI

PATIENCE = 60.0  # seconds for an answer
MAX_SHOWN = 200  # characters of what a workspace says


class Reply(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    HERE = "here"  # I type a password in the terminal
    OWNER = "owner"  # ask the workspace's owner


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody is asked. `username`: as whom they would sign in, "" if they cannot.

    `updates`: what a push would set, as the server has read it; empty as long as it has not, and
    then `branch` and `commit` are what the terminal says. `owner`: whom they may ask instead.
    """

    id: str
    workspace: str
    to: str
    asker: Person
    service: Service
    repository: str
    username: str
    branch: str
    commit: str
    updates: list[Update]
    owner: str
    expires_at: float


class Refused(Denied):
    """`ask_here`: they would rather type a password in the terminal."""

    def __init__(self, message: str, *, ask_here: bool = False) -> None:
        super().__init__(message)
        self.ask_here = ask_here


class Asking:
    """`on_change(question, asked)`: the person is to be shown it, or no longer.

    `owner(workspace)`: who owns it, if that is a person.
    """

    def __init__(self, errands: Errands, owner: Callable[[str], Person | None]) -> None:
        self.on_change: Callable[[Question, bool], None] = lambda question, asked: None
        self._errands = errands
        self._owner = owner
        self._open: dict[str, tuple[Question, asyncio.Future[Reply]]] = {}

    def pending(self, workspace: str, person: str) -> list[Question]:
        return [
            question
            for question, _ in self._open.values()
            if (question.workspace, question.to) == (workspace, person)
        ]

    def answer(self, workspace: str, person: str, id: str, reply: Reply) -> Question:
        """Raises: NotFound: this person is asked no such thing (any more)."""
        question, future = self._open.get(id, (None, None))
        if (
            question is None
            or future is None
            or future.done()
            or (question.workspace, question.to) != (workspace, person)
        ):
            raise NotFound("This question is over.")
        if reply is Reply.ALLOW and not question.username:
            raise Conflict("You have no Git credentials for this; add them on your account's page.")
        if reply is Reply.OWNER and not question.owner:
            raise InvalidInput("There is nobody else to ask.")
        if reply is Reply.HERE and (question.updates or question.asker.id != person):
            raise InvalidInput("You are not at that terminal.")
        future.set_result(reply)
        return question

    @asynccontextmanager
    async def admitted(
        self, workspace: str, person: Person, asked: MayI
    ) -> AsyncIterator[tuple[Errand, str, str]]:
        """An errand that somebody has allowed, its address in the container, and as whom.

        Raises:
            Refused: nobody did, and why. InvalidInput: not an address that this is possible for.
        """
        remote = self._errands.hosts.remote(asked.url)
        service = PUSH if asked.service == PUSH else FETCH
        signer, credential = await self._signer(workspace, person, remote, service, asked)

        async def approve(updates: Sequence[Update]) -> None:
            shown = {f"refs/heads/{asked.branch}": asked.commit} if asked.branch else {}
            if {each.ref: each.new for each in updates} == shown:
                return
            reply = await self._ask(
                workspace, signer, person, remote, service, asked, credential, updates
            )
            if reply is not Reply.ALLOW:
                raise Refused(f"{signer.name} did not allow this push.")

        request = Request(
            workspace=workspace,
            person=signer,
            raw=asked.url,
            remote=remote,
            service=service,
            action="git.push" if service == PUSH else "git.fetch",
            approve=approve if service == PUSH else None,
            detail={"in": "terminal", "by": person.name}
            if signer.id != person.id
            else {"in": "terminal"},
        )
        async with (
            self._errands.open(request, credential) as errand,
            self._errands.endpoint(workspace, errand) as url,
        ):
            yield errand, url, f"{credential.username} ({signer.name})"

    async def _signer(
        self, workspace: str, person: Person, remote: Remote, service: Service, asked: MayI
    ) -> tuple[Person, Credential]:
        credential = await self._errands.credentials.find(person.id, remote)
        reply = await self._ask(workspace, person, person, remote, service, asked, credential)
        signer = person
        if reply is Reply.OWNER:
            owner = self._owner(workspace)
            if owner is None:
                raise Refused("There is no owner to ask.")
            signer = owner
            credential = await self._errands.credentials.find(signer.id, remote)
            reply = await self._ask(workspace, signer, person, remote, service, asked, credential)
        if reply is Reply.HERE:
            raise Refused("Git asks here.", ask_here=True)
        if reply is not Reply.ALLOW or credential is None:
            raise Refused(f"{signer.name} did not allow it.")
        return signer, credential

    async def _ask(
        self,
        workspace: str,
        to: Person,
        asker: Person,
        remote: Remote,
        service: Service,
        asked: MayI,
        credential: Credential | None,
        updates: Sequence[Update] = (),
    ) -> Reply:
        owner = self._owner(workspace)
        question = Question(
            id=secrets.token_hex(8),
            workspace=workspace,
            to=to.id,
            asker=asker,
            service=service,
            repository=remote.repository,
            username=credential.username if credential else "",
            branch=_visible(asked.branch),
            commit=_visible(asked.commit),
            updates=[*updates][:50],
            owner=owner.name if owner and to.id == asker.id != owner.id and not updates else "",
            expires_at=time.time() + PATIENCE,
        )
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open[question.id] = question, future
        self.on_change(question, True)
        try:
            async with asyncio.timeout(PATIENCE):
                return await future
        except TimeoutError:
            message = (
                f"{to.name} did not answer within {PATIENCE:.0f} s. Run it again to ask again."
            )
            raise Refused(message) from None
        finally:
            del self._open[question.id]
            self.on_change(question, False)


def _visible(text: str) -> str:
    return "".join(char for char in text if char.isprintable())[:MAX_SHOWN]
