"""The queue of builds: kept in the database, so that it outlives the server and whoever asked.

    queued ─► running ─► succeeded | failed | cancelled
       ▲         │
       └─────────┴─► interrupted      (the server died in it; tried again, but not for ever)

What is asked for twice at one time is one build, and what was built already is not built again:
its version is the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Any, Protocol

import msgspec
import structlog
from sqlalchemy import delete, func, insert, select, update

from cloudide.errors import CloudIDEError, Conflict, EngineUnavailable, NotFound, TooMany
from cloudide.images.builder import Redactor, Telling
from cloudide.images.definitions import Definition, Definitions
from cloudide.images.logs import BuildLogs
from cloudide.images.steps import Step
from cloudide.settings import Settings
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import image_builds

log = structlog.get_logger()

ATTEMPTS = 3  # so often a build is begun whose server died in it
KEPT_BUILDS = 50  # of one image, with their logs
CLEAN_SECONDS = 10.0  # between tries, while the engine does not answer
STEPS_SECONDS = 1.0  # how often the steps of a running build are written down


class BuildState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


UNDER_WAY = (BuildState.QUEUED, BuildState.RUNNING)


class Build(msgspec.Struct, frozen=True):
    """`version`: what came of it. `reused`: that was there already. `error`: one sentence.
    `fresh`: not "": nothing of the cache is used, a mark of this one time."""

    id: str
    image: str
    version: int | None
    state: BuildState
    key: str
    fresh: str
    reused: bool
    attempts: int
    steps: list[Step]
    error: str
    created_at: float
    created_by: str
    started_at: float | None
    ended_at: float | None


class Outcome(msgspec.Struct, frozen=True):
    version: int
    reused: bool


class Maker(Protocol):
    """What makes versions; see `make.py`."""

    async def known(self, definition: Definition) -> int | None:
        """The version that a build would give, if that can be said at once."""
        ...

    async def make(
        self, definition: Definition, build: Build, hidden: Mapping[str, bytes], tell: Telling
    ) -> Outcome:
        """Raises: CloudIDEError: its message says why there is none."""
        ...


class Builds:
    """Use as an async context manager; it owns a task for each build that runs."""

    def __init__(
        self,
        database: Database,
        definitions: Definitions,
        logs: BuildLogs,
        settings: Settings,
        make: Maker,
        redactor: Callable[[Mapping[str, bytes]], Redactor],
        clean: Callable[[], Awaitable[None]],
    ) -> None:
        self.on_change: Callable[[Build], None] = lambda build: None
        self._database = database
        self._definitions = definitions
        self._settings = settings
        self._make = make
        self._redactor = redactor
        self._clean = clean
        self._running: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._telling: dict[str, Telling] = {}
        self._wake = asyncio.Event()
        self._asking = asyncio.Lock()  # two who ask for the same at once get one build
        self._tasks = asyncio.TaskGroup()
        self._pump: asyncio.Task[None] | None = None
        self._closing = False
        self.logs = logs

    async def __aenter__(self) -> Builds:
        await self._tasks.__aenter__()
        await self._recover()
        self._pump = self._tasks.create_task(self._work())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the builds that run; they are begun again with the next server."""
        self._closing = True
        for task in [*self._running.values(), self._pump]:
            if task is not None:
                task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    # ── what people ask ─────────────────────────────────────────────────────────────────────────

    async def request(
        self, definition: Definition, by: str, *, fresh: bool = False
    ) -> tuple[Build, bool]:
        """Ask for a build; whether it is a new one, and not one that is under way.

        What is known to be built already is answered with a build that has ended.

        Raises:
            TooMany: as many of the team's builds wait as may.
        """
        known = None if fresh else await self._make.known(definition)
        async with self._asking:
            return await self._request(definition, by, fresh, known)

    async def _request(
        self, definition: Definition, by: str, fresh: bool, known: int | None
    ) -> tuple[Build, bool]:
        now = time.time()
        ended: dict[str, Any] = {"state": BuildState.QUEUED, "reused": False}
        if known is not None:
            ended = {"state": BuildState.SUCCEEDED, "reused": True, "version": known}
            ended |= {"started_at": now, "ended_at": now}
        of_team = await self._of_team(definition.team)
        mark = f"{time.time():.3f}" if fresh else ""
        key = _key_of(definition, fresh)
        id = "bld_" + secrets.token_hex(8)
        async with self._database.begin() as db:
            found = await db.execute(
                select(image_builds).where(
                    image_builds.c.image == definition.id,
                    image_builds.c.key == key,
                    image_builds.c.state.in_(UNDER_WAY),
                )
            )
            if (same := found.first()) is not None:
                return _read(same._mapping), False
            waiting = await db.execute(
                select(func.count())
                .select_from(image_builds)
                .where(
                    image_builds.c.state == BuildState.QUEUED,
                    image_builds.c.image.in_(of_team),
                )
            )
            if known is None and waiting.scalar_one() >= self._settings.build_queue:
                raise TooMany(
                    f"{self._settings.build_queue} builds are waiting, which is the limit. "
                    "Wait for them, or cancel one."
                )
            await db.execute(
                insert(image_builds).values(
                    id=id,
                    image=definition.id,
                    key=key,
                    fresh=mark,
                    attempts=0,
                    steps="[]",
                    error="",
                    created_at=now,
                    created_by=by,
                    **ended,
                )
            )
        self._wake.set()
        build = await self.get(id)
        self.on_change(build)
        return build, True

    async def get(self, id: str) -> Build:
        """A build as it is now. Raises: NotFound."""
        async with self._database.begin() as db:
            row = (await db.execute(select(image_builds).where(image_builds.c.id == id))).first()
        if row is None:
            raise NotFound("There is no such build.")
        build = _read(row._mapping)
        if telling := self._telling.get(id):
            build = msgspec.structs.replace(build, steps=list(telling.steps.all))
        return build

    async def of(self, image: str, limit: int = KEPT_BUILDS) -> list[Build]:
        """The newest first."""
        query = (
            select(image_builds)
            .where(image_builds.c.image == image)
            .order_by(image_builds.c.created_at.desc(), image_builds.c.id)
            .limit(limit)
        )
        async with self._database.begin() as db:
            return [_read(row._mapping) for row in await db.execute(query)]

    async def cancel(self, id: str) -> Build:
        """End a build. Raises: NotFound. Conflict: it has ended."""
        async with self._database.begin() as db:
            here = (image_builds.c.id == id, image_builds.c.state == BuildState.QUEUED)
            changed = await db.execute(
                update(image_builds)
                .where(*here)
                .values(state=BuildState.CANCELLED, ended_at=time.time(), error="")
            )
        if not changed.rowcount:
            task = self._running.get(id)
            if task is None:
                await self.get(id)
                raise Conflict("The build has ended already.")
            self._cancelled.add(id)
            task.cancel()
            await asyncio.wait([task])
        build = await self.get(id)
        self._tell(build)
        return build

    @property
    def is_busy(self) -> bool:
        """Whether any build runs here."""
        return bool(self._running)

    # ── the queue ───────────────────────────────────────────────────────────────────────────────

    async def _recover(self) -> None:
        """What ran when the server ended is begun again, unless it was too often."""
        async with self._database.begin() as db:
            running = image_builds.c.state == BuildState.RUNNING
            await db.execute(
                update(image_builds)
                .where(running, image_builds.c.attempts >= ATTEMPTS)
                .values(
                    state=BuildState.INTERRUPTED,
                    ended_at=time.time(),
                    error=f"The server ended {ATTEMPTS} times while this was built. Build again.",
                )
            )
            again = await db.execute(
                update(image_builds).where(running).values(state=BuildState.QUEUED)
            )
            if again.rowcount:
                log.info("builds.again", count=again.rowcount)

    async def _work(self) -> None:
        """Begin what waits, whenever there is a place for it."""
        while True:
            # What a server that died left running has to be gone before it is begun again.
            try:
                await self._clean()
                break
            except CloudIDEError as error:
                log.warning("builds.not_cleaned", error=error.message)
                await asyncio.sleep(CLEAN_SECONDS)
        while True:
            self._wake.clear()
            try:
                await self._begin_some()
            except CloudIDEError as error:
                log.warning("builds.not_begun", error=error.message)
            await self._wake.wait()

    async def _begin_some(self) -> None:
        async with self._database.begin() as db:
            rows = await db.execute(
                select(image_builds)
                .where(image_builds.c.state == BuildState.QUEUED)
                .order_by(image_builds.c.created_at)
            )
            waiting = [_read(row._mapping) for row in rows]
        if not waiting:
            return
        teams = {each.id: each.team for each in await self._definitions.all()}
        async with self._database.begin() as db:
            rows = await db.execute(
                select(image_builds.c.image).where(image_builds.c.id.in_(list(self._running)))
            )
            busy = Counter(teams.get(row.image, "") for row in rows)
        for build in waiting:
            team = teams.get(build.image, "")
            if len(self._running) >= self._settings.build_concurrency:
                return
            if build.id in self._running or busy[team] >= self._settings.builds_per_team:
                continue
            busy[team] += 1
            async with self._database.begin() as db:
                begun = await db.execute(
                    update(image_builds)
                    .where(image_builds.c.id == build.id)
                    .where(image_builds.c.state == BuildState.QUEUED)
                    .values(
                        state=BuildState.RUNNING,
                        started_at=time.time(),
                        attempts=image_builds.c.attempts + 1,
                    )
                )
            if begun.rowcount:
                self._running[build.id] = self._tasks.create_task(self._run(build.id))

    async def _run(self, id: str) -> None:
        values: dict[str, Any]
        try:
            values = await self._outcome(id)
        except asyncio.CancelledError:
            if id not in self._cancelled or self._closing:
                raise  # the server ends; the next one begins it again
            values = {"state": BuildState.CANCELLED}
        except CloudIDEError as error:
            values = {"state": BuildState.FAILED, "error": error.message}
        except Exception:
            log.exception("builds.broken", build=id)
            values = {
                "state": BuildState.FAILED,
                "error": "The server made a mistake in this build; its log says which.",
            }
        finally:
            self._running.pop(id, None)
        telling = self._telling.pop(id, None)
        if telling is not None:
            telling.flush()
            telling.steps.end(failed=values["state"] is not BuildState.SUCCEEDED)
            values["steps"] = msgspec.json.encode(telling.steps.all).decode()
        self._cancelled.discard(id)
        if values.get("error"):
            self.logs.append(id, f"\n{values['error']}\n".encode())
        await self._end(id, values)

    async def _outcome(self, id: str) -> dict[str, Any]:
        build = await self.get(id)
        definition = await self._definitions.get(build.image)
        if build.attempts > 1:
            self.logs.append(id, b"\n[The server was started anew; the build begins again.]\n")
        hidden = await self._definitions.secret_values(definition.id)
        telling = Telling(lambda text: self.logs.append(id, text), self._redactor(hidden))
        self._telling[id] = telling
        self._tell(await self.get(id))
        writing = asyncio.create_task(self._write_steps(id, telling))
        try:
            async with asyncio.timeout(self._settings.build_minutes * 60):
                outcome: Outcome = await self._make.make(definition, build, hidden, telling)
        except TimeoutError as error:
            raise telling.failed(
                f"it took longer than {self._settings.build_minutes:g} minutes, which is the limit"
            ) from error
        except EngineUnavailable as error:
            raise telling.failed(error.message) from error
        finally:
            writing.cancel()
        return {
            "state": BuildState.SUCCEEDED,
            "version": outcome.version,
            "reused": outcome.reused,
        }

    async def assign(self, id: str, version: int) -> None:
        """Say, while it runs, which version it builds: nothing may take that away meanwhile."""
        async with self._database.begin() as db:
            await db.execute(
                update(image_builds).where(image_builds.c.id == id).values(version=version)
            )

    async def _write_steps(self, id: str, telling: Telling) -> None:
        """So that a look after a crash shows how far it came; and those who watch see each."""
        before = b""
        while True:
            now = msgspec.json.encode(telling.steps.all)
            if now != before:
                before = now
                async with self._database.begin() as db:
                    await db.execute(
                        update(image_builds)
                        .where(image_builds.c.id == id)
                        .values(steps=now.decode())
                    )
                self._tell(await self.get(id))
            await asyncio.sleep(STEPS_SECONDS)

    async def _end(self, id: str, values: dict[str, Any]) -> None:
        async with self._database.begin() as db:
            await db.execute(
                update(image_builds)
                .where(image_builds.c.id == id)
                .values(**values, ended_at=time.time())
            )
        build = await self.get(id)
        definition = await self._definitions.get(build.image)
        about = {"id": id, "image": build.image, "state": build.state, "version": build.version}
        async with self._database.begin() as db:
            subject = f"images/{build.image}"
            await emit(db, "image.built", subject, about, team=definition.team)
        await self._forget_old(build.image)
        self._tell(build)
        self._wake.set()

    async def _forget_old(self, image: str) -> None:
        old = (await self.of(image, 10 * KEPT_BUILDS))[KEPT_BUILDS:]
        ids = [build.id for build in old if build.state not in UNDER_WAY]
        async with self._database.begin() as db:
            await db.execute(delete(image_builds).where(image_builds.c.id.in_(ids)))
        for id in ids:
            self.logs.delete(id)

    async def _of_team(self, team: str) -> list[str]:
        return [each.id for each in await self._definitions.all() if each.team == team]

    def _tell(self, build: Build) -> None:
        self.logs.touch(build.id)
        self.on_change(build)


def _key_of(definition: Definition, fresh: bool) -> str:
    wanted = [msgspec.to_builtins(definition.source), definition.context, fresh]
    return hashlib.sha256(msgspec.json.encode(wanted)).hexdigest()


def _read(row: Mapping[Any, Any]) -> Build:
    values = {name: row[name] for name in Build.__struct_fields__}
    values["state"] = BuildState(row["state"])
    values["steps"] = msgspec.json.decode(row["steps"], type=list[Step])
    return Build(**values)
