"""The runs of tasks in the database: how each went, and what the last ones printed."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import NotFound
from cloudide.storage.database import Database
from cloudide.storage.outbox import emit
from cloudide.storage.tables import task_runs

RUNS_KEPT = 30  # of one task
OUTPUTS_KEPT = 5  # of one task
WORKSPACE_RUNS_KEPT = 1000


class State(StrEnum):
    """The life of a run. All but the first two are final."""

    WAITING = "waiting"  # for what it depends on
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    STOPPED = "stopped"  # by a person
    SKIPPED = "skipped"  # its inputs have not changed since it passed
    CANCELLED = "cancelled"  # what it depends on did not pass
    INTERRUPTED = "interrupted"  # the server or the workspace went away; how it ended is not known

    @property
    def final(self) -> bool:
        return self not in (State.WAITING, State.RUNNING)


class Record(msgspec.Struct, kw_only=True):
    """One run of one task, as it is kept. `seconds` without the time it waited."""

    id: str
    workspace: str
    task: str
    batch: str
    person: str
    background: bool = False
    state: State = State.WAITING
    detail: str = ""
    created_at: float = 0.0
    seconds: float | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    signature: str = ""
    lost: int = 0


_COLUMNS = [task_runs.c[name] for name in Record.__struct_fields__]


class Records:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def recover(self) -> None:
        """What runs when nothing can run any more was interrupted."""
        lost = task_runs.c.state.in_([State.WAITING, State.RUNNING])
        async with self._database.begin() as db:
            found = [
                _record(row._mapping) for row in await db.execute(select(*_COLUMNS).where(lost))
            ]
            await db.execute(
                update(task_runs)
                .where(lost)
                .values(state=State.INTERRUPTED, detail="The server was restarted while this ran.")
            )
            for record in found:
                record.state = State.INTERRUPTED
                await _tell(db, record)

    async def begin(self, records: list[Record]) -> None:
        async with self._database.begin() as db:
            for record in records:
                record.created_at = time.time()
                await db.execute(insert(task_runs).values(**msgspec.structs.asdict(record)))

    async def finish(self, record: Record, output: bytes) -> None:
        """Keep how a run ended and what it printed, and forget what is older than is kept."""
        # What never ran printed nothing, and takes no place of what did.
        packed = None if record.seconds is None else zlib.compress(output, 1)
        own = (task_runs.c.workspace == record.workspace) & (task_runs.c.task == record.task)
        ended = task_runs.c.state.not_in([State.WAITING, State.RUNNING])
        newest = select(task_runs.c.id).order_by(task_runs.c.created_at.desc())
        async with self._database.begin() as db:
            await db.execute(
                update(task_runs)
                .where(task_runs.c.id == record.id)
                .values(**msgspec.structs.asdict(record), output=packed)
            )
            await _tell(db, record)
            await db.execute(
                update(task_runs)
                .where(own, task_runs.c.output.is_not(None))
                .where(
                    task_runs.c.id.not_in(
                        newest.where(own, task_runs.c.output.is_not(None)).limit(OUTPUTS_KEPT)
                    )
                )
                .values(output=None)
            )
            await db.execute(
                delete(task_runs).where(
                    own, ended, task_runs.c.id.not_in(newest.where(own).limit(RUNS_KEPT))
                )
            )
            whole = task_runs.c.workspace == record.workspace
            await db.execute(
                delete(task_runs).where(
                    whole,
                    ended,
                    task_runs.c.id.not_in(newest.where(whole).limit(WORKSPACE_RUNS_KEPT)),
                )
            )

    async def all(self, workspace: str, task: str = "") -> list[Record]:
        """All kept runs of a task, or of all tasks, newest first."""
        query = (
            select(*_COLUMNS)
            .where(task_runs.c.workspace == workspace)
            .order_by(task_runs.c.created_at.desc())
        )
        if task:
            query = query.where(task_runs.c.task == task)
        async with self._database.begin() as db:
            return [_record(row._mapping) for row in await db.execute(query)]

    async def last_ended(self, workspace: str, task: str) -> Record | None:
        """The last run that passed or failed."""
        query = (
            select(*_COLUMNS)
            .where(task_runs.c.workspace == workspace, task_runs.c.task == task)
            .where(task_runs.c.state.in_([State.PASSED, State.FAILED]))
            .order_by(task_runs.c.created_at.desc())
            .limit(1)
        )
        async with self._database.begin() as db:
            row = (await db.execute(query)).first()
        return _record(row._mapping) if row else None

    async def output(self, workspace: str, id: str) -> tuple[Record, bytes | None]:
        """A run and what it printed, as far as that is known; None when it is no longer kept.

        Raises:
            NotFound: there is no such run in this workspace.
        """
        query = select(*_COLUMNS, task_runs.c.output).where(
            task_runs.c.workspace == workspace, task_runs.c.id == id
        )
        async with self._database.begin() as db:
            row = (await db.execute(query)).first()
        if row is None:
            raise NotFound("There is no such run here, or it is no longer kept.")
        record = _record(row._mapping)
        if row.output is not None:
            return record, zlib.decompress(row.output)
        return record, b"" if record.seconds is None else None


async def _tell(db: AsyncConnection, record: Record) -> None:
    """Write the event of a run's end, in the transaction that keeps it."""
    about = {
        "run": record.id,
        "task": record.task,
        "workspace": record.workspace,
        "state": record.state,
        "person": record.person,
        "seconds": record.seconds,
        "exit_code": record.exit_code,
        "exit_signal": record.exit_signal,
    }
    subject = f"workspaces/{record.workspace}/task-runs/{record.id}"
    await emit(db, "task.finished", subject, about, workspace=record.workspace)


def _record(row: Mapping[Any, Any]) -> Record:
    values: dict[str, Any] = {name: row[name] for name in Record.__struct_fields__}
    values["state"] = State(values["state"])
    return Record(**values)
