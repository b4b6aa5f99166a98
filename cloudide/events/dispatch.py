"""Sending events to webhooks: at least once, in no promised order, until one answers or a day has
passed.

A delivery is a row that was committed with its event, and stays pending until its receiver said
yes: a server that is killed in between sends it when it is back, perhaps a second time, with the
same id. What fails is tried again after a time that doubles, with some of it left to chance, so
that receivers that come back are not run over. Each webhook has a few deliveries under way at a
time; one that is slow keeps no other waiting.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

import httpcore
import msgspec
import structlog

import cloudide
from cloudide import egress
from cloudide.errors import CloudIDEError, NotFound
from cloudide.events.addresses import Addresses, Forbidden
from cloudide.events.cloudevents import MEDIA_TYPE, cloud_event
from cloudide.events.deliveries import DELIVERED, FAILED, PENDING, Deliveries, Result
from cloudide.events.signing import headers
from cloudide.events.webhooks import Webhooks

_log = structlog.get_logger(__name__)

TIMEOUT = 10.0  # seconds for a whole attempt
RESPONSE_LIMIT = 1024  # bytes of an answer that are read and kept
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0  # seconds
GIVE_UP = 24 * 3600.0  # seconds after which a delivery is given up, and its webhook switched off
AT_ONCE, AT_ONCE_EACH = 32, 4  # deliveries under way, in all and to one webhook
IDLE = 60.0  # seconds after which the table is looked at although nobody said so
GONE = 410


class Dispatcher:
    """Use as an async context manager; it owns the task that sends.

    `source`: this server's address. `poke` is called when there may be something to send.
    """

    def __init__(
        self, webhooks: Webhooks, deliveries: Deliveries, addresses: Addresses, source: str
    ) -> None:
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._source = source
        self._http = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_keepalive_connections=0,  # each connection is to an address that was just checked
            network_backend=egress.CheckedBackend(addresses.check),
        )
        self._wake = asyncio.Event()
        self._busy: Counter[str] = Counter()  # by webhook
        self._sending: dict[str, asyncio.Task[None]] = {}  # by delivery
        self._ended: set[str] = set()  # deliveries whose attempt ended since the table was read
        self._tasks = asyncio.TaskGroup()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Dispatcher:
        await self._tasks.__aenter__()
        self._running = self._tasks.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of what is under way; it stays pending."""
        for task in (self._running, *self._sending.values()):
            if task is not None:
                task.cancel()
        await self._tasks.__aexit__(kind, error, trace)
        await self._http.aclose()

    def poke(self) -> None:
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            pause = IDLE
            try:
                pause = await self._look()
            except CloudIDEError as error:
                _log.warning("webhooks.not_sent", error=error.message)
            except Exception:
                _log.exception("webhooks.failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _look(self) -> float:
        """Begin what is due; returns how long to sleep unless woken."""
        now = time.time()
        self._ended.clear()
        busy = [webhook for webhook, count in self._busy.items() if count >= AT_ONCE_EACH]
        found, later = await self._deliveries.due(now, busy, AT_ONCE + len(self._sending))
        for row in found:
            id, webhook = row["delivery"], row["webhook"]
            if id in self._sending or id in self._ended or self._busy[webhook] >= AT_ONCE_EACH:
                continue
            if len(self._sending) >= AT_ONCE:
                break
            self._busy[webhook] += 1
            self._sending[id] = self._tasks.create_task(self._send(row))
        # One that ends wakes this again; what is due later has its time.
        return IDLE if later is None else min(IDLE, max(later - now, 0.01))

    async def _send(self, row: Mapping[Any, Any]) -> None:
        id, webhook = row["delivery"], row["webhook"]
        try:
            result, retry_after = await self._attempt(row)
            await self._settle(row, result, retry_after)
        except NotFound:
            pass  # it was deleted meanwhile, and its deliveries with it
        except Exception:
            # Nothing is known of it, so that it stays as it is and is tried at the next look.
            _log.exception("webhooks.delivery_failed", delivery=id)
        finally:
            del self._sending[id]
            self._ended.add(id)
            self._busy[webhook] -= 1
            if not self._busy[webhook]:
                del self._busy[webhook]
            self._wake.set()

    async def _attempt(self, row: Mapping[Any, Any]) -> tuple[Result, float]:
        """Returns how it went, and for how many seconds the receiver asks not to be called."""
        url, keys = await self._webhooks.keys(row["webhook"])
        body = msgspec.json.encode(cloud_event(row, self._source))
        fields = {
            "content-type": MEDIA_TYPE,
            "content-length": str(len(body)),
            "user-agent": f"CloudIDE/{cloudide.__version__}",
            **headers(row["id"], int(time.time()), body, keys),
        }
        began = time.monotonic()
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._http.stream("POST", url, headers=[*fields.items()], content=body) as response,
            ):
                content = bytearray()
                async for chunk in response.aiter_stream():
                    content += chunk
                    if len(content) >= RESPONSE_LIMIT:
                        break
            seconds = time.monotonic() - began
        except TimeoutError:
            return _failure(began, f"There was no answer within {TIMEOUT:.0f} s."), 0.0
        except Forbidden as error:
            return _failure(began, error.message), 0.0
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            return _failure(began, f"It cannot be reached: {error or type(error).__name__}."), 0.0
        except (OSError, ssl.SSLError, UnicodeError) as error:
            return _failure(began, f"It cannot be reached: {error}."), 0.0
        status = response.status
        wrong = ""
        if not 200 <= status < 300:
            wrong = f"It answered {status}."
            if 300 <= status < 400:
                wrong += " Redirections are not followed; use the address that it leads to."
        return Result(status, seconds, _printable(content), wrong), _retry_after(response)

    async def _settle(self, row: Mapping[Any, Any], result: Result, retry_after: float) -> None:
        id, now = row["delivery"], time.time()
        if result.good:
            await self._deliveries.settle(id, result, DELIVERED, due_at=now)
        elif result.status == GONE:
            reason = "Its receiver answered 410 Gone: it wants no more."
            await self._deliveries.settle(id, result, FAILED, due_at=now, disable=reason)
        elif now - row["created_at"] >= GIVE_UP:
            hours = f"{GIVE_UP / 3600:.0f}"
            reason = f"It failed for {hours} hours; at last: {result.error}"
            await self._deliveries.settle(id, result, FAILED, due_at=now, disable=reason)
        else:
            due_at = now + max(pause_after(row["attempts"]), retry_after)
            await self._deliveries.settle(id, result, PENDING, due_at=due_at)


def pause_after(attempts: int) -> float:
    """Seconds before the next attempt: twice as long each time, from half of it to all."""
    longest = min(FIRST_PAUSE * 2 ** min(attempts, 20), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _failure(began: float, error: str) -> Result:
    return Result(None, time.monotonic() - began, error=error)


def _retry_after(response: httpcore.Response) -> float:
    """Seconds of `Retry-After` (RFC 9110, section 10.2.3), no more than we would wait ourselves."""
    for name, value in response.headers:
        if name.lower() == b"retry-after" and value.isdigit():
            return min(float(value), LONGEST_PAUSE)
    return 0.0


def _printable(content: bytearray) -> str:
    text = bytes(content[:RESPONSE_LIMIT]).decode(errors="replace")
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
