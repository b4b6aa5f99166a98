"""The audit log: who did what, when and from where, in a chain that cannot be changed unnoticed.

Each record carries an HMAC-SHA256 (RFC 2104) over itself and the one before, under a key that lies
beside the database and not in it; a sealed head says how many records there are, and the first one
is made with the key. Whoever can write the database, but has not the key, can neither change, add,
swap nor remove a record without `verify` finding it; only all of the database can be put back to
what it was, which a kept export shows: its last line has to be in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

import cloudide
from cloudide.errors import CloudIDEError
from cloudide.storage.database import Database
from cloudide.storage.tables import audit, audit_head

_log = structlog.get_logger(__name__)

KEY_FILE = "audit.key"  # beside the database
BEGIN = "audit.begin"
PAGE = 1000  # records that are read at a time
DETAIL_LIMIT = 4000  # characters
DONE = "done"


class Record(msgspec.Struct, frozen=True):
    """One thing that somebody did. `at` is in seconds since the epoch, `detail` JSON.

    `user` "" is the server itself, or somebody who was not signed in; `token` is the id of the API
    token they are known by. `outcome` is `done`, or why not.
    """

    seq: int
    at: float
    user: str
    name: str
    token: str
    address: str
    action: str
    workspace: str
    detail: str
    outcome: str
    mac: str


class Tampered(CloudIDEError):
    """The chain is broken."""

    status, close_code, title = 500, 1011, "The audit log was changed"


class Audit:
    """`key`: 32 bytes."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._key = key
        self._lock = asyncio.Lock()

    @classmethod
    async def start(cls, database: Database, folder: Path) -> Audit:
        """The log of the server that keeps its data in a folder; its key and first record are made
        when there is no key."""
        path = folder / KEY_FILE
        if path.exists():
            return cls(database, path.read_bytes())
        # A key is in its place only with a first record, whenever this is interrupted.
        draft = folder / f"{KEY_FILE}.new"
        if not draft.exists():
            draft.touch(mode=0o600)
            draft.write_bytes(secrets.token_bytes(32))
        audit = cls(database, draft.read_bytes())
        await audit.begin()
        draft.rename(path)
        return audit

    async def begin(self) -> None:
        """Make the first record of a log that has none."""
        async with self._database.begin() as db:
            found = await db.execute(select(audit.c.seq).limit(1))
            if found.first() is not None:
                return
        await self.append(BEGIN, detail={"version": cloudide.__version__})

    async def append(
        self,
        action: str,
        *,
        user: str = "",
        name: str = "",
        token: str = "",
        address: str = "",
        workspace: str = "",
        detail: Mapping[str, Any] | None = None,
        outcome: str = DONE,
    ) -> None:
        """Record something; when this returns it is durable."""
        text = json.dumps(detail or {}, sort_keys=True, ensure_ascii=False)
        async with self._lock, self._database.begin() as db:
            seq, mac = await self._last(db, beginning=action == BEGIN)
            record = Record(
                seq=seq + 1,
                at=time.time(),
                user=user,
                name=name,
                token=token,
                address=address,
                action=action,
                workspace=workspace,
                detail=text if len(text) <= DETAIL_LIMIT else "{}",
                outcome=outcome,
                mac="",
            )
            record = msgspec.structs.replace(record, mac=self._mac(record, mac))
            await db.execute(insert(audit).values(**msgspec.structs.asdict(record)))
            await db.execute(delete(audit_head))
            seal = self._seal(record.seq, record.mac)
            await db.execute(insert(audit_head).values(id=1, seq=record.seq, mac=seal))

    async def page(
        self, *, before: int | None = None, limit: int = 100, workspace: str = ""
    ) -> list[Record]:
        """The newest records first, those before a number if one is given."""
        query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.seq < before)
        if workspace:
            query = query.where(audit.c.workspace == workspace)
        async with self._database.begin() as db:
            return [_record(row._mapping) for row in await db.execute(query)]

    async def all(self) -> AsyncIterator[Record]:
        """Every record, the oldest first."""
        last = 0
        while True:
            query = select(audit).where(audit.c.seq > last).order_by(audit.c.seq).limit(PAGE)
            async with self._database.begin() as db:
                found = [_record(row._mapping) for row in await db.execute(query)]
            if not found:
                return
            for record in found:
                yield record
            last = found[-1].seq

    async def verify(self) -> int:
        """Go through the whole chain; returns how many records it has.

        Raises:
            Tampered: it was changed; the message says where.
        """
        expected, mac = 1, ""
        async with self._lock:
            async for record in self.all():
                if record.seq != expected:
                    raise Tampered(f"Record {expected} is missing from the audit log.")
                if not _equal(record.mac, self._mac(record, mac)):
                    raise Tampered(
                        f"Record {record.seq} of the audit log, or the one before it, was changed."
                    )
                expected, mac = record.seq + 1, record.mac
            async with self._database.begin() as db:
                await self._check_head(db, expected - 1, mac)
        return expected - 1

    async def _last(self, db: AsyncConnection, *, beginning: bool) -> tuple[int, str]:
        found = await db.execute(
            select(audit.c.seq, audit.c.mac).order_by(audit.c.seq.desc()).limit(1)
        )
        row = found.first()
        seq, mac = (row.seq, row.mac) if row else (0, "")
        if beginning and not seq:
            return seq, mac
        try:
            await self._check_head(db, seq, mac)
        except Tampered as error:
            # People go on, but the end of the chain is not mended: a number is left out for ever.
            _log.error("audit.tampered", error=error.message)
            return seq + 1, mac
        return seq, mac

    async def _check_head(self, db: AsyncConnection, seq: int, mac: str) -> None:
        found = await db.execute(select(audit_head.c.seq, audit_head.c.mac))
        heads = [tuple(row) for row in found]
        if not seq:
            raise Tampered("The audit log is empty; its first record was made with its key.")
        seal = self._seal(seq, mac)
        if len(heads) != 1 or heads[0][0] != seq or not _equal(heads[0][1], seal):
            raise Tampered(
                f"The audit log ends with record {seq}, which is not what its seal says: records "
                "are missing at its end, or were added."
            )

    def _mac(self, record: Record, previous: str) -> str:
        fields = msgspec.structs.asdict(record)
        del fields["mac"]
        content = json.dumps([previous, *fields.values()], ensure_ascii=True).encode()
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()

    def _seal(self, seq: int, mac: str) -> str:
        return hmac.new(self._key, f"head {seq} {mac}".encode(), hashlib.sha256).hexdigest()


def _equal(one: object, other: str) -> bool:
    return isinstance(one, str) and hmac.compare_digest(one.encode(), other.encode())


def _record(row: Mapping[Any, Any]) -> Record:
    return Record(**{name: row[name] for name in Record.__struct_fields__})
