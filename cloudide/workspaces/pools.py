"""Ready workspaces: containers that run, with their agents connected, before anybody asks for one.

Each has its final id from the beginning, since labels cannot change, but is nobody's: it is a row
among the slots and not among the workspaces, so that no list, limit or right knows of it. Claiming
one gives its link a new token and makes it somebody's in one transaction.

One task keeps the pools as they are to be: one thing at a time, and nothing while people's own
workspaces are starting. A slot that is not as it should be is never mended, but removed and made
anew. After a restart of the server the slots are found by their rows.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol

import msgspec
import structlog

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.errors import CloudIDEError, EngineUnavailable, InvalidInput, Unavailable
from cloudide.settings import Settings
from cloudide.workspaces.containers import Containers
from cloudide.workspaces.pool_store import Key, Pool, PoolStore, Slot
from cloudide.workspaces.runtime import Runtime

_log = structlog.get_logger(__name__)

MOST = 100  # workspaces of one pool
RECHECK_SECONDS = 60.0
QUIET_SECONDS = 2.0  # after somebody's own start, before the pools use the machine again
WARM_SECONDS = 10.0
PAUSE_SECONDS = 60.0  # after a failure of one pool
GENERATION = 1


class Starts(Protocol):
    """What the pools need to know of people's own workspaces."""

    def starting(self) -> bool:
        """Whether any is being built, created or filled just now."""
        ...


class PoolState(msgspec.Struct, frozen=True):
    """A pool, how many of it are ready, and why there are not more if something failed. What a
    prebuild keeps ready is a pool of its own."""

    pool: Pool
    ready: int
    error: str


class Pools(Listener):
    """Use as an async context manager, which owns the one task."""

    def __init__(
        self,
        store: PoolStore,
        runtime: Runtime,
        containers: Containers,
        agents: Agents,
        starts: Starts,
        settings: Settings,
    ) -> None:
        # Copies a prebuild's seed into a slot: `app.py` wires it.
        self.fill: Callable[[str, str], Awaitable[None]] = _unfilled
        self.prepare: Callable[[Agent, str], Awaitable[None]] = _unprepared
        self._store = store
        self._runtime = runtime
        self._containers = containers
        self._agents = agents
        self._starts = starts
        self._settings = settings
        # What is claimed leaves these in the same turn of the loop; rows follow.
        self._slots: dict[str, Slot] = {}
        self._ready: set[str] = set()
        self._unchecked: set[str] = set()
        self._leaving: set[str] = set()
        self._failed: dict[Key, tuple[float, str]] = {}
        self._quiet_since = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Pools:
        for slot in await self._store.slots():
            self._slots[slot.id] = slot
            self._unchecked.add(slot.id)
            await self._agents.listen(slot.id)
        self._agents.subscribe(self)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the task; slots stay as they are."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # ── what people ask ─────────────────────────────────────────────────────────────────────────

    async def list(self, team: str) -> list[PoolState]:
        """The pools of a team, or ("") everybody's."""
        return [
            PoolState(pool, len(self._ready_of(pool.key)), self._failed.get(pool.key, (0, ""))[1])
            for pool in await self._store.pools(team)
        ]

    async def resize(self, team: str, image: str, size: int) -> PoolState:
        """Say how many workspaces of an image are to be ready; 0: none.

        Raises:
            NotFound: there is no such image.
            InvalidInput: that many are not allowed.
        """
        if not 0 <= size <= MOST:
            raise InvalidInput(f"size is a number from 0 to {MOST}.", pointer="/size")
        if size:
            await self._containers.expect(image)
        await self._store.resize(team, image, size)
        key = team, image, ""
        self._failed.pop(key, None)
        self._wake.set()
        return PoolState(Pool(team, image, size), len(self._ready_of(key)), "")

    @property
    def per_team(self) -> int:
        return self._store.per_team

    def take(self, image: str, team: str) -> Slot | None:
        """An empty ready workspace of an image, of the team's own pools first; None: there is none.

        Whoever takes it makes it somebody's (`Store.create`), or gives it back.
        """
        for key in dict.fromkeys([(team, image, ""), ("", image, "")]):
            if ready := self._ready_of(key):
                return self._take(ready[0])
        return None

    def take_filled(self, image: str, team: str, git_url: str, git_ref: str) -> Slot | None:
        """As `take`, one that a repository's prebuild has filled, of the same branch before others;
        with `image` "" one of any image."""
        filled = [
            slot
            for slot in map(self._slots.__getitem__, self._ready)
            if slot.git_url == git_url and slot.team in ("", team) and image in ("", slot.image)
        ]
        if not filled:
            return None
        best = min(filled, key=lambda slot: (slot.git_ref != git_ref, slot.team != team))
        return self._take(best.id)

    def _take(self, id: str) -> Slot:
        self._ready.discard(id)
        self._quiet_since = time.monotonic()
        self._agents.renew_token(id)
        self._wake.set()
        return self._slots.pop(id)

    def give_back(self, slot: Slot) -> None:
        """It has become nobody's workspace after all."""
        self._slots[slot.id] = slot
        self._unchecked.add(slot.id)
        self._wake.set()

    def _ready_of(self, key: Key) -> list[str]:
        return [id for id in self._ready if self._slots[id].key == key]

    # ── what is heard ───────────────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """Something changed that the pools may depend on: images, starts of people, the engine."""
        self._wake.set()

    def recheck(self) -> None:
        """Images or settings of containers may have changed, or the engine came back."""
        self._unchecked |= self._slots.keys()
        self._wake.set()

    def disconnected(self, workspace_id: str) -> None:
        if workspace_id in self._slots:
            self._ready.discard(workspace_id)
            self._unchecked.add(workspace_id)
            self._wake.set()

    # ── the task ────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        checked_at = time.monotonic()
        while True:
            self._wake.clear()
            try:
                pause = await self._step()
            except EngineUnavailable:
                pause = QUIET_SECONDS
            except Exception:
                _log.exception("pools.step_failed")
                pause = PAUSE_SECONDS
            if pause:
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                if time.monotonic() - checked_at > RECHECK_SECONDS:
                    # Nobody tells of a new version of an image, or of a setting of the engine's.
                    checked_at = time.monotonic()
                    self.recheck()

    async def _step(self) -> float:
        """Do one thing; returns how long to sleep unless woken, 0 when there may be more to do."""
        if self._starts.starting():
            self._quiet_since = time.monotonic()
        if (wait := self._quiet_since + QUIET_SECONDS - time.monotonic()) > 0:
            return wait
        pools = {pool.key: pool for pool in await self._store.pools()}
        for id in [*self._leaving]:
            await self._destroy(id)
        for id in [*self._unchecked]:
            self._unchecked.discard(id)
            if (slot := self._slots.get(id)) is not None:
                await self._check(slot, pools)
            return 0.0
        for key in {slot.key for slot in self._slots.values()}:
            slots = [slot for slot in self._slots.values() if slot.key == key]
            wanted = pools[key].size if key in pools else 0
            for slot in slots[wanted:]:
                self._leave(slot)
                return 0.0
        return await self._fill(pools)

    async def _check(self, slot: Slot, pools: dict[Key, Pool]) -> None:
        """Find out whether a slot is as it should be; it leaves if it is not."""
        try:
            spec = await self._containers.draw(
                slot.id, GENERATION, slot.image, _silent, slot.team, slot.git_url
            )
            observed = await self._runtime.inspect(slot.id)
            right = (
                slot.key in pools
                and slot.seed == pools[slot.key].seed
                and self._containers.version(spec) == slot.version
                and observed is not None
                and observed.status == "running"
            )
            if right:
                await self._warm(slot.id)
        except EngineUnavailable:
            self._unchecked.add(slot.id)
            raise
        except CloudIDEError as error:
            _log.info("pools.slot_lost", workspace=slot.id, error=error.message)
            right = False
        if slot.id in self._slots:  # or it was claimed meanwhile, ready as it was
            if right:
                self._ready.add(slot.id)
            else:
                self._leave(slot)

    async def _fill(self, pools: dict[Key, Pool]) -> float:
        """Make one slot for the pool that has the fewest for its size."""
        now = time.monotonic()
        room = self._settings.pool_limit - len(self._slots)
        lacking = [
            pool
            for pool in pools.values()
            if self._of(pool) < pool.size
            and now - self._failed.get(pool.key, (-PAUSE_SECONDS, ""))[0] >= PAUSE_SECONDS
        ]
        if not lacking or room <= 0:
            return RECHECK_SECONDS if not self._failed else PAUSE_SECONDS
        pool = min(lacking, key=lambda pool: self._of(pool) / pool.size)
        try:
            await self._make(pool)
            self._failed.pop(pool.key, None)
        except EngineUnavailable as error:
            self._failed[pool.key] = (now, error.message)
            raise
        except CloudIDEError as error:
            _log.warning("pools.not_filled", image=pool.image, error=error.message)
            self._failed[pool.key] = (now, error.message)
        return 0.0

    def _of(self, pool: Pool) -> int:
        return sum(slot.key == pool.key for slot in self._slots.values())

    async def _make(self, pool: Pool) -> None:
        id = "w" + secrets.token_hex(6)
        spec = await self._containers.draw(
            id, GENERATION, pool.image, _silent, pool.team, pool.git_url
        )
        slot = Slot(
            id,
            pool.team,
            pool.image,
            self._containers.version(spec),
            pool.prebuild,
            pool.seed,
            pool.git_url,
            pool.git_ref,
        )
        await self._store.add(slot)
        self._slots[id] = slot
        try:
            await self._containers.fence()
            await self._runtime.create(spec)
            await self._runtime.start(id)
            await self._warm(id)
            try:
                await self.prepare(self._agents.agent(id), pool.team)
            except TimeoutError:  # it is as good without
                _log.warning("pools.not_prepared", workspace=id)
            if pool.seed:
                await self.fill(pool.seed, id)
        except CloudIDEError:
            self._leave(slot)
            raise
        self._ready.add(id)
        _log.info("pools.ready", workspace=id, image=pool.image, team=pool.team or None)

    async def _warm(self, id: str) -> None:
        """Wait for the agent, and have it do what a first program needs, which takes as long as
        all the rest of opening a terminal.

        Raises:
            AgentUnavailable: it does not connect in time.
        """
        agent = await self._agents.wait(id, self._settings.start_timeout)
        try:
            await agent.execute(["true"], timeout=WARM_SECONDS)
        except (TimeoutError, CloudIDEError) as error:
            # An image need not have this program; the agent has loaded what it would take.
            _log.debug("pools.not_warmed", workspace=id, error=str(error))

    def _leave(self, slot: Slot) -> None:
        del self._slots[slot.id]
        self._ready.discard(slot.id)
        self._unchecked.discard(slot.id)
        self._leaving.add(slot.id)
        self._wake.set()

    async def _destroy(self, id: str) -> None:
        await self._runtime.destroy(id)
        await self._agents.forget(id)
        await self._store.remove(id)
        self._leaving.discard(id)


async def _unprepared(_agent: Agent, _team: str) -> None:
    return None


async def _unfilled(_seed: str, _id: str) -> None:
    raise Unavailable("There are no prebuilds here.")


def _silent(_: Any) -> None:
    """Nobody watches a slot being made."""
