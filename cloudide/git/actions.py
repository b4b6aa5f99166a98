"""Fetch, pull and push: what a person has the server do with a repository in their workspace.

Git runs in the container, as everything does; the repository's host is reached by the server, with
the person's credentials if they have any that fit (see `endpoint`). What is asked names the address
that the person saw: a workspace that says another one a moment later is not followed.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from enum import StrEnum

import msgspec
import structlog

from cloudide.agents.hub import Agents
from cloudide.errors import CloudIDEError, Conflict, InvalidInput, NotFound
from cloudide.git.errand import FETCH, PUSH, exactly
from cloudide.git.errands import Errands, Request
from cloudide.git.program import GitFailed, read, run
from cloudide.identity.permissions import Person

LINES = 200  # of output that are kept
KEPT = 20  # actions of one workspace that have ended
REMOTE = re.compile(r"(?!-)[\w./+@-]{1,200}")
BRANCH = re.compile(r"(?!-)(?!.*(\.\.|//|@\{|\.lock$))[^\x00-\x20~^:?*\[\\\x7f]{1,250}(?<![/.])")
ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")

_log = structlog.get_logger(__name__)


class Kind(StrEnum):
    FETCH = "fetch"
    PULL = "pull"
    PUSH = "push"


class State(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with the repository in a folder of the workspace.

    `url` is the address of the remote that the person saw. A push sets `branch` there to `commit`;
    with `force` also where that loses commits, unless somebody has pushed since the last fetch.
    """

    kind: Kind
    directory: str
    remote: str
    url: str
    branch: str = ""
    commit: str = ""
    force: bool = False


class View(msgspec.Struct, frozen=True):
    """An action as people see it. `lines`: the end of what Git printed."""

    id: str
    kind: Kind
    person: Person
    repository: str
    state: State
    started_at: float
    lines: list[str]
    error: str = ""


class _Action:
    def __init__(self, order: Order, person: Person, *, signs_in: bool) -> None:
        self.signs_in = signs_in
        self.id = secrets.token_hex(8)
        self.order = order
        self.person = person
        self.state = State.RUNNING
        self.started_at = time.time()
        self.lines: deque[str] = deque(maxlen=LINES)
        self.error = ""
        self.task: asyncio.Task[None] | None = None

    @property
    def view(self) -> View:
        return View(
            self.id,
            self.order.kind,
            self.person,
            self.order.url,
            self.state,
            self.started_at,
            [*self.lines],
            self.error,
        )


class Actions:
    """Use as an async context manager; it owns a task for each action.

    `on_change(workspace, view)` is told of each line and each change.
    """

    def __init__(self, agents: Agents, errands: Errands, timeout: float) -> None:
        self.on_change: Callable[[str, View], None] = lambda workspace, view: None
        # Called when a push is done, with the workspace, the repository's address and the branch.
        self.on_pushed: Callable[[str, str, str], Awaitable[None]] = _unheard
        self._agents = agents
        self._errands = errands
        self._timeout = timeout
        self._actions: dict[str, dict[str, _Action]] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Actions:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for actions in self._actions.values():
            for action in actions.values():
                if action.task is not None:
                    action.task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def list(self, workspace: str) -> list[View]:
        """The newest last."""
        return [action.view for action in self._actions.get(workspace, {}).values()]

    def get(self, workspace: str, id: str) -> View:
        return self._find(workspace, id).view

    def begin(self, workspace: str, person: Person, order: Order, *, signs_in: bool) -> View:
        """Begin an action; `on_change` tells how it goes on.

        `signs_in`: with the person's credentials, if any fit; else as anybody.

        Raises:
            InvalidInput: part of the order is none.
            Conflict: another one is at work on this repository.
            AgentUnavailable: the workspace does not run.
        """
        _check(order)
        self._agents.agent(workspace)
        actions = self._actions.setdefault(workspace, {})
        for other in actions.values():
            if other.state is State.RUNNING and other.order.directory == order.directory:
                raise Conflict(f"{other.person.name} has a {other.order.kind} running here.")
        action = _Action(order, person, signs_in=signs_in)
        actions[action.id] = action
        ended = [each for each in actions.values() if each.state is not State.RUNNING]
        for each in ended[:-KEPT]:
            del actions[each.id]
        action.task = self._tasks.create_task(self._run(workspace, action))
        self.on_change(workspace, action.view)
        return action.view

    def cancel(self, workspace: str, id: str) -> View:
        """End it; what Git has done until then stays."""
        action = self._find(workspace, id)
        if action.task is not None and action.state is State.RUNNING:
            action.task.cancel()
        return action.view

    def forget(self, workspace: str) -> None:
        for action in self._actions.pop(workspace, {}).values():
            if action.task is not None:
                action.task.cancel()

    def _find(self, workspace: str, id: str) -> _Action:
        action = self._actions.get(workspace, {}).get(id)
        if action is None:
            raise NotFound("There is no such action; the server may have been restarted.")
        return action

    async def _run(self, workspace: str, action: _Action) -> None:
        def tell(line: str) -> None:
            # Progress of one kind counts up in place: its last line says all.
            if action.lines and _same_progress(action.lines[-1], line):
                action.lines.pop()
            action.lines.append(line)
            self.on_change(workspace, action.view)

        try:
            await self._do(workspace, action, tell)
            action.state = State.DONE
        except asyncio.CancelledError:
            action.state, action.error = State.CANCELLED, "It was cancelled."
        except CloudIDEError as error:
            action.state, action.error = State.FAILED, error.message
        except Exception:
            _log.exception("git.action_failed", workspace=workspace, kind=action.order.kind)
            action.state, action.error = (
                State.FAILED,
                "The server failed at this; its log says how.",
            )
        finally:
            self.on_change(workspace, action.view)
        if action.order.kind is Kind.PUSH and action.state is State.DONE:
            try:
                await self.on_pushed(workspace, action.order.url, action.order.branch)
            except Exception:
                # It was pushed, whoever could not make anything of it.
                _log.exception("git.push_not_heard", workspace=workspace)

    async def _do(self, workspace: str, action: _Action, tell: Callable[[str], None]) -> None:
        order, agent = action.order, self._agents.agent(workspace)
        raw = await self._raw_url(workspace, order)
        arguments = _arguments(order)
        async with AsyncExitStack() as stack:
            environment: Mapping[str, str] = {}
            fitting = None
            if action.signs_in:
                fitting = await self._errands.fitting(action.person.id, order.url)
            if fitting is not None:
                remote, credential = fitting
                pushes = order.kind is Kind.PUSH
                request = Request(
                    workspace=workspace,
                    person=action.person,
                    raw=raw,
                    remote=remote,
                    service=PUSH if pushes else FETCH,
                    action=f"git.{order.kind}",
                    approve=exactly({f"refs/heads/{order.branch}": order.commit})
                    if pushes
                    else None,
                    detail={"directory": order.directory} if order.directory else {},
                )
                environment = await stack.enter_async_context(
                    self._errands.environment(request, credential)
                )
            try:
                await run(agent, arguments, order.directory, environment, tell, self._timeout)
            except GitFailed as error:
                if "could not read Username" in error.message:
                    raise GitFailed(
                        f"{order.url} wants a sign-in, and you have no Git credentials for it. "
                        "Add them on your account's page."
                    ) from error
                raise

    async def _raw_url(self, workspace: str, order: Order) -> str:
        """The address as the configuration has it, before Git replaces parts of it.

        Raises:
            Conflict: the remote leads elsewhere than the person saw.
        """
        agent = self._agents.agent(workspace)
        pushes = order.kind is Kind.PUSH
        which = ["--push"] if pushes else []
        shown = await read(
            agent, ["remote", "get-url", "--all", *which, "--", order.remote], order.directory
        )
        if shown.decode(errors="replace").splitlines() != [order.url]:
            raise Conflict(
                f"The remote {order.remote} has another address than when you looked. Look again."
            )
        for key in ([f"remote.{order.remote}.pushurl"] if pushes else []) + [
            f"remote.{order.remote}.url"
        ]:
            found = await read(
                agent, ["config", "--get-all", "--null", key], order.directory, also=(1,)
            )
            if found:
                return found.split(b"\0")[0].decode(errors="replace")
        return order.url


async def _unheard(_workspace: str, _url: str, _branch: str) -> None:
    return None


def _check(order: Order) -> None:
    if not REMOTE.fullmatch(order.remote) or ".." in order.remote:
        raise InvalidInput("This is not the name of a remote.")
    if order.branch and not BRANCH.fullmatch(order.branch):
        raise InvalidInput("This is not the name of a branch.")
    if order.kind is Kind.PUSH and (not order.branch or not ID.fullmatch(order.commit)):
        raise InvalidInput("A push names a branch, and the whole id of the commit it is to be.")
    if order.kind is Kind.PULL and not order.branch:
        raise InvalidInput("A pull names the branch that is pulled.")


def _arguments(order: Order) -> list[str]:
    match order.kind:
        case Kind.FETCH:
            return ["fetch", "--progress", "--prune", "--", order.remote]
        case Kind.PULL:
            # Only forward: whoever has commits of their own decides how they are brought together.
            return ["pull", "--ff-only", "--progress", "--", order.remote, order.branch]
        case Kind.PUSH:
            force = ["--force-with-lease"] if order.force else []
            refspec = f"{order.commit}:refs/heads/{order.branch}"
            return ["push", "--progress", *force, "--", order.remote, refspec]


_COUNTING = re.compile(r"^(?:remote: )?([A-Z][a-z]+(?: [a-z]+)*):\s+\d+")


def _same_progress(one: str, other: str) -> bool:
    a, b = _COUNTING.match(one), _COUNTING.match(other)
    return a is not None and b is not None and a.group(1) == b.group(1)
