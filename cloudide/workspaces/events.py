"""Follows the engine's event stream from a thread of its own."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncGenerator
from typing import Any, get_args

import structlog

from cloudide.workspaces.engine import Engine
from cloudide.workspaces.runtime import Action, RuntimeEvent

log = structlog.get_logger()

ACTIONS = frozenset(get_args(Action)) - {"resync"}
FIRST_PAUSE = 0.1  # seconds before connecting again; doubled up to the limit
LONGEST_PAUSE = 5.0


async def follow(engine: Engine, labels: list[str]) -> AsyncGenerator[RuntimeEvent]:
    """Events of the containers that carry all `labels` (`name=value`), for ever.

    A `resync` comes after each connection, once the engine has subscribed us: what happens from
    then on is not missed. Closing the generator ends the thread.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue()

    def deliver(event: RuntimeEvent) -> None:
        # The loop may be closing while the stream brings a last event that nobody waits for.
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, event)

    reader = _Reader(engine, labels, deliver)
    reader.start()
    try:
        while True:
            yield await queue.get()
    finally:
        reader.stop()
        await asyncio.to_thread(reader.join)


class _Reader(threading.Thread):
    def __init__(self, engine: Engine, labels: list[str], deliver: Any) -> None:
        super().__init__(name="engine-events", daemon=True)
        self._engine = engine
        self._filters = {"type": "container", "label": labels, "event": sorted(ACTIONS)}
        self._deliver = deliver
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._stream: Any = None

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            if self._stream is not None:
                self._stream.close()

    def run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                self._follow()
                pause = FIRST_PAUSE  # It had connected.
            except Exception as error:  # whatever it was, connecting again is the answer
                if not self._stopping.is_set():
                    log.warning("engine.events_lost", error=repr(error), retry_in=pause)
            # With jitter, so that servers sharing an engine do not come back all at once.
            self._stopping.wait(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(2 * pause, LONGEST_PAUSE)

    def _follow(self) -> None:
        client = self._engine.connect()
        try:
            stream = client.events(filters=self._filters, decode=True)
            with self._lock:
                self._stream = stream
            if self._stopping.is_set():
                return
            self._deliver(RuntimeEvent(action="resync"))
            for event in stream:
                # What is not a workspace's has other listeners.
                if "cloudide.workspace" in event["Actor"]["Attributes"]:
                    self._deliver(_event(event))
        finally:
            with self._lock:
                if self._stream is not None:
                    self._stream.close()
                self._stream = None
            client.close()


def _event(event: dict[str, Any]) -> RuntimeEvent:
    attributes = event["Actor"]["Attributes"]
    exit_code = attributes.get("exitCode")
    return RuntimeEvent(
        action=event["Action"].partition(":")[0],  # "health_status: healthy"
        workspace_id=attributes["cloudide.workspace"],
        service=attributes.get("cloudide.service", ""),
        generation=int(attributes.get("cloudide.generation", 0)),
        exit_code=int(exit_code) if exit_code else None,
    )
