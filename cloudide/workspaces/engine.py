"""Calls to the container engine: the Docker SDK behind a bounded pool of threads.

The SDK blocks, so each call runs as a function of the client in a thread of a pool made for it.
An error that leaves such a function becomes a domain error: what the engine said goes to the log,
what a person may do about it goes into the public message.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from cloudide.errors import EngineUnavailable, NotFound

if TYPE_CHECKING:
    from docker.api.client import APIClient

Result = TypeVar("Result")

log = structlog.get_logger()

DEFAULT_HOST = "unix:///var/run/docker.sock"
CALL_TIMEOUT = 60  # seconds without an answer; streams and builds set their own


class Engine:
    """The connection to one container engine, shared by all that need it.

    Args:
        host: where it is (`unix://…`, `tcp://…`); empty: `DOCKER_HOST`, else the default socket.
        threads: how many calls run at one time.
    """

    def __init__(self, host: str = "", threads: int = 8) -> None:
        self.host = host
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="engine")
        self._client: APIClient | None = None
        self._lock = threading.Lock()

    async def call(self, function: Callable[[APIClient], Result]) -> Result:
        """Run `function(client)` in a thread of the pool.

        Raises:
            NotFound: the engine has no such image, container, volume or network.
            EngineUnavailable: it does not answer, or answers with another error.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, function)

    def connect(self, timeout: int = CALL_TIMEOUT) -> APIClient:
        """A client of one's own, for a stream that outlives a call; the caller closes it."""
        self._knock()
        # Imported here because it takes a sixth of a second that starting a server need not wait.
        import docker
        from docker.utils import kwargs_from_env

        options: dict[str, Any] = dict(kwargs_from_env())
        if self.host:
            options = {"base_url": self.host}
        return docker.APIClient(version="auto", timeout=timeout, **options)

    def close(self) -> None:
        """Let go of the engine; calls that were begun end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._client:
                self._client.close()
                self._client = None

    def _knock(self) -> None:
        """Fail at once when nobody listens: the SDK would also leak a socket for each attempt."""
        host = self.host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        if host.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(CALL_TIMEOUT)
                probe.connect(host.removeprefix("unix://"))

    def _run(self, function: Callable[[APIClient], Result]) -> Result:
        import docker.errors
        import requests.exceptions

        try:
            with self._lock:
                # Connecting asks the engine for its version, so it can fail like any call.
                self._client = self._client or self.connect()
            self._knock()
            return function(self._client)
        except docker.errors.ImageNotFound as error:
            raise NotFound("The container engine does not have this image.") from error
        except docker.errors.NotFound as error:
            raise NotFound("The container engine has no such thing.") from error
        except docker.errors.APIError as error:
            log.warning("engine.error", status=error.status_code, explanation=error.explanation)
            raise EngineUnavailable(
                "The container engine could not do this; the server's log says why. "
                "It may work when tried again."
            ) from error
        except (
            docker.errors.DockerException,
            requests.exceptions.RequestException,
            OSError,
        ) as error:
            log.warning("engine.unreachable", error=str(error))
            raise EngineUnavailable(
                "The container engine does not answer. Check that it is running."
            ) from error
