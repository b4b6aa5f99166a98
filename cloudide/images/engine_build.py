"""One run of the engine's classic builder (`POST /build`), as a stream that can be cancelled.

The classic builder is what every engine has. Asked over a connection of its own, because the engine
ends a build, and removes its container, when that connection closes: a build that is cancelled, or
whose server dies, is over. https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import structlog

from cloudide.errors import EngineUnavailable

API = "/v1.41"  # of engine 20.10
SILENCE = 1800.0  # seconds a step may take without a word
MESSAGE_LIMIT = 1024 * 1024  # bytes of one message
DEFAULT_HOST = "unix:///var/run/docker.sock"

log = structlog.get_logger()


async def build(
    host: str, context: AsyncIterator[bytes], parameters: Mapping[str, str]
) -> AsyncIterator[dict[str, Any]]:
    """The messages of a build: `stream`, `aux` with the image's ID, `error`.

    Raises:
        EngineUnavailable: the engine does not answer, or went away.
    """
    address = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
    timeout = httpx2.Timeout(60.0, read=SILENCE, write=SILENCE)
    try:
        async with (
            _client(address, timeout) as client,
            client.stream(
                "POST",
                f"{API}/build",
                params=dict(parameters),
                content=context,
                headers={"Content-Type": "application/x-tar"},
            ) as response,
        ):
            if response.is_error:
                answer = (await response.aread())[:2000]
                log.warning("builds.refused", status=response.status_code, answer=answer.decode())
                yield {"error": _message_of(answer)}
                return
            async for message in _messages(response):
                yield message
    except (httpx2.HTTPError, OSError) as error:
        raise EngineUnavailable(
            "The container engine went away during the build; start the build again."
        ) from error


async def _messages(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    held = b""
    async for chunk in response.aiter_raw():
        *lines, held = (held + chunk).split(b"\n")
        if len(held) > MESSAGE_LIMIT:
            raise EngineUnavailable("The container engine said more at once than can be read.")
        for line in lines:
            if line.strip():
                yield msgspec.json.decode(line, type=dict[str, Any])
    if held.strip():
        yield msgspec.json.decode(held, type=dict[str, Any])


def _message_of(answer: bytes) -> str:
    try:
        return str(msgspec.json.decode(answer, type=dict[str, Any]).get("message", ""))
    except msgspec.DecodeError:
        return "The engine refused the build."


def _client(address: str, timeout: httpx2.Timeout) -> httpx2.AsyncClient:
    if address.startswith("unix://"):
        transport = httpx2.AsyncHTTPTransport(uds=address.removeprefix("unix://"))
        return httpx2.AsyncClient(transport=transport, base_url="http://engine", timeout=timeout)
    rest = address.partition("://")[2]
    if not os.environ.get("DOCKER_TLS_VERIFY"):
        return httpx2.AsyncClient(base_url=f"http://{rest}", timeout=timeout, trust_env=False)
    folder = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return httpx2.AsyncClient(
        base_url=f"https://{rest}", timeout=timeout, trust_env=False, verify=context
    )
