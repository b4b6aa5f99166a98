"""What programs of workspaces ask, and who answers (`protocol/questions.py`)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.errors import CloudIDEError, InvalidInput
from cloudide.git.asking import Asking, Refused
from cloudide.git.coauthors import CoAuthorship
from cloudide.git.profiles import Profiles
from cloudide.identity.permissions import Person
from cloudide.protocol.questions import (
    Answer,
    AnswerAsked,
    Asked,
    CoAuthors,
    Declined,
    Granted,
    KnowTypist,
    MayI,
    WhoWrote,
)

QUESTIONS_LIMIT = 16  # of one workspace at a time
ANSWER_TIMEOUT = 8.0  # seconds for what the server answers itself; a hook waits for ten
TYPIST_TIMEOUT = 2.0  # seconds; somebody is typing

_log = structlog.get_logger(__name__)


class Questions(Listener):
    """Use as an async context manager; it owns a task for each question.

    `typist(workspace, terminal)`: who typed there last. `owner(workspace)`: whose it is.
    `lasts`: seconds that what was allowed may take.
    """

    def __init__(
        self,
        agents: Agents,
        coauthors: CoAuthorship,
        profiles: Profiles,
        asking: Asking,
        typist: Callable[[str, str], Person | None],
        owner: Callable[[str], Person | None],
        lasts: float,
    ) -> None:
        self._agents = agents
        self._coauthors = coauthors
        self._profiles = profiles
        self._asking = asking
        self._typist = typist
        self._owner = owner
        self._lasts = lasts
        self._origins: dict[tuple[str, str], Person] = {}
        self._asked: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._granted: dict[tuple[str, str], asyncio.Event] = {}  # until it is set
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Questions:
        await self._tasks.__aenter__()
        self._agents.subscribe(self)
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._asked.values():
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    @contextmanager
    def origin(self, workspace: str, person: Person) -> Iterator[str]:
        """A name by which a program that the server starts for somebody asks."""
        name = f"c{secrets.token_hex(16)}"
        self._origins[workspace, name] = person
        try:
            yield name
        finally:
            del self._origins[workspace, name]

    async def typing(self, workspace: str, terminal: str, person: Person) -> None:
        """Somebody begins to type in a terminal: the commits made there are theirs from now on.

        What the owner of a workspace has configured in it themselves counts first, as long as they
        have set no address for commits here.
        """
        with suppress(CloudIDEError):
            signature = await self._profiles.signature(person)
            owner = self._owner(workspace)
            usual = owner is not None and person.id == owner.id and not signature.chosen
            await self._agents.agent(workspace).call(
                KnowTypist(terminal, signature.name, signature.email, usual), TYPIST_TIMEOUT
            )

    # ── what agents tell ────────────────────────────────────────────────────────────────────────

    def asked(self, workspace_id: str, asked: Asked) -> None:
        key = workspace_id, asked.id
        if len([each for each in self._asked if each[0] == workspace_id]) >= QUESTIONS_LIMIT:
            _log.warning("git.too_many_questions", workspace=workspace_id)
            return
        if key not in self._asked:
            self._asked[key] = self._tasks.create_task(self._answer(workspace_id, asked))
            self._asked[key].add_done_callback(lambda _: self._asked.pop(key, None))

    def withdrawn(self, workspace_id: str, question_id: str) -> None:
        if over := self._granted.get((workspace_id, question_id)):
            over.set()
        elif task := self._asked.get((workspace_id, question_id)):
            task.cancel()

    def disconnected(self, workspace_id: str) -> None:
        for (workspace, _), task in [*self._asked.items()]:
            if workspace == workspace_id:
                task.cancel()

    async def _answer(self, workspace: str, asked: Asked) -> None:
        try:
            agent = self._agents.agent(workspace)
            person = self._origins.get((workspace, asked.origin))
            person = person or self._typist(workspace, asked.origin)
            if isinstance(asked.question, MayI):
                await self._admit(agent, asked, asked.question, person)
                return
            answer = await self._authors(agent, asked.question, person)
            await agent.call(AnswerAsked(asked.id, answer))
        except CloudIDEError as error:
            _log.debug("git.unanswered", workspace=workspace, error=error.message)
        except Exception:
            _log.exception("git.question_failed", workspace=workspace)

    async def _admit(
        self, agent: Agent, asked: Asked, question: MayI, person: Person | None
    ) -> None:
        """Ask whose hands it may be, and hold the door open for Git until it is done."""
        if person is None:
            message = "Nobody is known to have typed in this terminal."
            await agent.call(AnswerAsked(asked.id, Declined(message, ask_here=True)))
            return
        key = agent.workspace_id, asked.id
        try:
            async with self._asking.admitted(agent.workspace_id, person, question) as admitted:
                errand, url, who = admitted
                over = self._granted[key] = asyncio.Event()
                await agent.call(AnswerAsked(asked.id, Granted(url, who)))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._lasts):
                        await _either(over, errand.failed)
                        if errand.trouble is not None:
                            # Git would say no more than a number.
                            told = AnswerAsked(asked.id, Declined(errand.trouble.message))
                            await agent.call(told)
                            await over.wait()
        except Refused as error:
            answer = Declined(error.message, ask_here=error.ask_here)
            await agent.call(AnswerAsked(asked.id, answer))
        except InvalidInput as error:
            await agent.call(AnswerAsked(asked.id, Declined(error.message, ask_here=True)))
        except CloudIDEError as error:
            await agent.call(AnswerAsked(asked.id, Declined(error.message)))
        finally:
            self._granted.pop(key, None)

    async def _authors(self, agent: Agent, question: WhoWrote, person: Person | None) -> Answer:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                found = await self._coauthors.of(agent, question)
                author = await self._profiles.signature(person) if person else ""
            return CoAuthors(str(author), [str(each) for each in found])
        except CloudIDEError as error:
            return Declined(error.message)
        except TimeoutError:
            return Declined("It took too long to look up who wrote what.")


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    waiting = [asyncio.create_task(each.wait()) for each in (one, other)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
