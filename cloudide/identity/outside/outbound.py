"""Requests to identity providers: bounded in time and size, and never led elsewhere.

Addresses come from the settings and from what the provider they name publishes, never from a token
or from somebody who signs in.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import structlog

from cloudide.errors import Unavailable
from cloudide.settings import is_loopback

_log = structlog.get_logger(__name__)

TIMEOUT = 10.0  # seconds, for all of an answer
LIMIT = 256 * 1024  # bytes of an answer
URL_LIMIT = 2048


class ProviderUnavailable(Unavailable):
    title = "The identity provider does not answer as it should"


class _Bounded(httpx2.AsyncBaseTransport):
    """Answers have a limit; compressed ones, which might have none, are refused."""

    def __init__(self) -> None:
        # One context for all requests: to read the certificates takes longer than an answer.
        self._inner = httpx2.AsyncHTTPTransport(verify=ssl.create_default_context())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.DecodingError("The answer is compressed.", request=request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Counted(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in self._inner:
            seen += len(chunk)
            if seen > LIMIT:
                raise httpx2.DecodingError(f"The answer has more than {LIMIT:,} bytes.")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


class Outbound:
    """The connections to all providers; `close` them at the end."""

    def __init__(self) -> None:
        self._transport = _Bounded()

    @property
    def options(self) -> dict[str, Any]:
        """What a client of httpx2 is to be made with."""
        return {
            "transport": self._transport,
            "timeout": TIMEOUT,
            "follow_redirects": False,
            "trust_env": False,
        }

    async def get_json(self, label: str, url: str, token: str = "") -> Any:
        """Decoded JSON. `token`: a bearer token to send.

        Raises:
            ProviderUnavailable: no answer in time, or another than 200 with JSON.
        """
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with asyncio.timeout(TIMEOUT):
                client = httpx2.AsyncClient(**self.options)
                response = await client.get(url, headers=headers)
            if response.status_code != 200:
                raise ValueError(f"status {response.status_code}")
            return json.loads(response.content)
        except (httpx2.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            raise unavailable(label, url, error) from error

    async def close(self) -> None:
        await self._transport.aclose()


def note(label: str, what: str, error: BaseException) -> None:
    """Tell the log what was wrong, which people are not told."""
    _log.warning("provider.failed", provider=label, what=what, error=repr(error))


def unavailable(label: str, url: str, error: BaseException) -> ProviderUnavailable:
    """The error for people; what it was stands in the log."""
    note(label, url, error)
    return ProviderUnavailable(
        f"{label} did not answer as it should. Try again; if that does not help, tell whoever runs "
        "this server, whose log says more."
    )


def is_endpoint(url: object, issuer: str) -> bool:
    """Whether this may be asked, of a provider with this issuer: by TLS, or on this machine."""
    if not isinstance(url, str) or len(url) > URL_LIMIT:
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.fragment or parts.username is not None:
        return False
    plain = urlsplit(issuer).scheme == "http" and is_loopback(host)
    return parts.scheme == "https" or (plain and parts.scheme == "http")
