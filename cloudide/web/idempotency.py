"""`Idempotency-Key`: a request that is sent again does what it did once, and no more.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/

A key is somebody's own and kept for a day with a digest of its request and, sealed (it may hold a
secret that is shown once), the answer. Only what was done is kept: a request that was refused or
failed changed nothing, and may be sent again with the same key.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cloudide.errors import CloudIDEError, Conflict, InvalidInput
from cloudide.identity.sealing import Sealing
from cloudide.storage.database import Database
from cloudide.storage.tables import idempotency_keys
from cloudide.web.bodies import JSON_LIMIT, bytes_body

KEPT = 24 * 3600.0  # seconds
KEY_LIMIT = 255  # characters
ANSWER_LIMIT = 64 * 1024  # bytes; a longer answer is not kept, and its request is done anew
HEADER = "idempotency-key"
_KEPT_HEADERS = ("content-type", "location", "etag")


class KeyReused(CloudIDEError):
    status, close_code, title = 422, 4422, "The Idempotency-Key was used for another request"


class UnderWay(Conflict):
    title = "This request is under way already"
    retry_after = 1


class _Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes


class Idempotency:
    def __init__(self, database: Database, sealing: Sealing) -> None:
        self._database = database
        self._sealing = sealing

    async def start(self) -> None:
        """What was under way when the server ended is under way no more."""
        async with self._database.begin() as db:
            await db.execute(delete(idempotency_keys).where(idempotency_keys.c.answer.is_(None)))

    async def once(
        self, request: Request, user: str, work: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Do the work of a request, or answer as when it was done.

        Raises:
            InvalidInput: the key is none. KeyReused: it came with another request before.
            UnderWay: that one is not done yet.
        """
        key = request.headers[HEADER].strip()
        if not key or len(key) > KEY_LIMIT or not (key.isascii() and key.isprintable()):
            raise InvalidInput(f"Idempotency-Key has 1 to {KEY_LIMIT} printable characters.")
        fingerprint = await _fingerprint(request)
        about = f"idempotency {user} {key}"
        if (answer := await self._claim(user, key, fingerprint, about)) is not None:
            # Who sees it in the audit log sees that nothing was done.
            if hasattr(request.state, "audit"):
                request.state.audit["repeated"] = True
            return Response(
                answer.body, answer.status, {**answer.headers, "Idempotent-Replayed": "true"}
            )
        here = (idempotency_keys.c.user == user, idempotency_keys.c.key == key)
        try:
            response = await work()
            # What is streamed only tells something; it is not kept, and done anew.
            streamed = isinstance(response, StreamingResponse)
            body = b"" if streamed else bytes(response.body)
        except BaseException:
            async with self._database.begin() as db:
                await db.execute(delete(idempotency_keys).where(*here))
            raise
        kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        packed = msgspec.json.encode(_Answer(response.status_code, kept, body))
        async with self._database.begin() as db:
            if streamed or response.status_code >= 400 or len(packed) > ANSWER_LIMIT:
                await db.execute(delete(idempotency_keys).where(*here))
            else:
                sealed = self._sealing.seal(packed, about)
                await db.execute(update(idempotency_keys).where(*here).values(answer=sealed))
        return response

    async def _claim(self, user: str, key: str, fingerprint: str, about: str) -> _Answer | None:
        """Take a key for a request; or the answer that it has already."""
        now = time.time()
        values: dict[str, Any] = {"user": user, "key": key, "fingerprint": fingerprint}
        async with self._database.begin() as db:
            await db.execute(
                delete(idempotency_keys).where(idempotency_keys.c.created_at < now - KEPT)
            )
        try:
            async with self._database.begin() as db:
                await db.execute(insert(idempotency_keys).values(**values, created_at=now))
            return None
        except IntegrityError:
            pass
        query = select(idempotency_keys).where(
            idempotency_keys.c.user == user, idempotency_keys.c.key == key
        )
        async with self._database.begin() as db:
            row = (await db.execute(query)).first()
        if row is None:
            raise UnderWay("The request with this key has just ended; send it again.")
        if row.fingerprint != fingerprint:
            raise KeyReused("Use a new key for another request; this one is kept for a day.")
        if row.answer is None:
            raise UnderWay("The request with this key is not done yet; ask again shortly.")
        return msgspec.json.decode(self._sealing.open(row.answer, about), type=_Answer)


async def _fingerprint(request: Request) -> str:
    body = await bytes_body(request, JSON_LIMIT)
    # What was read is read again by the handler.
    request._body = body
    parts = [request.method, request.url.path, request.url.query, body.hex()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
