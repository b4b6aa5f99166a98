"""A server that commands speak to: over its public interface, as any other client does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cloudide.cli import profiles
from cloudide.errors import CloudIDEError, InvalidInput, NotFound, Unavailable

DEFAULT_URL = "http://localhost:8080"
TIMEOUT = 30.0  # seconds
FRAME_LIMIT = 2 * 1024 * 1024  # bytes; the server's frames are smaller
CHUNK = 256 * 1024
PAGE = 1000  # things of a list that are asked for at a time


class Remote:
    """Where a server is, and who asks: from options, else CLOUDIDE_URL and CLOUDIDE_TOKEN, else the
    profile that `--profile` or CLOUDIDE_PROFILE names, or the current one."""

    def __init__(self, url: str | None, token: str | None, profile: str | None = None) -> None:
        """Raises: InvalidInput: there is no token. NotFound: there is no such profile."""
        self.url, given = resolve(url, token, profile)
        if not given:
            raise InvalidInput(
                f"Nobody is signed in to {self.url}. Run `cloudide login`, or give an API token: "
                "set CLOUDIDE_TOKEN, or use --token."
            )
        self.token = given
        self._headers = {"Authorization": f"Bearer {given}"}

    def workspace(self, name: str) -> str:
        """The id of a workspace, by its id or its name.

        Raises:
            NotFound: there is none that this token may see. InvalidInput: there are several.
        """
        found = self.list("/api/v1/workspaces", "workspaces")
        ids = [each["id"] for each in found if each["id"] == name]
        ids = ids or [each["id"] for each in found if each["name"] == name]
        if not ids:
            known = ", ".join(sorted(each["name"] for each in found)) or "none"
            raise NotFound(f"There is no workspace {name!r} that you may open; there are: {known}.")
        if len(ids) > 1:
            raise InvalidInput(f"Several workspaces are called {name!r}; use one of {ids}.")
        return ids[0]

    def get(self, path: str) -> Any:
        """Decoded JSON. Raises: CloudIDEError: as the server says, or it cannot be reached."""
        return self._json("GET", path)

    def list(self, path: str, field: str) -> list[Any]:
        """All of a list: `field` of its answer, page after page. Raises: as `get`."""
        found: list[Any] = []
        cursor = ""
        while True:
            url = httpx2.URL(self.url + path).copy_merge_params({"limit": PAGE, **_cursor(cursor)})
            page = self.get(url.raw_path.decode())
            found += page[field]
            cursor = page.get("next") or ""
            if not cursor:
                return found

    def post(self, path: str, body: Any = None) -> Any:
        """As `get`, of what the server answers to a JSON body."""
        return self._json("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """As `post`."""
        return self._json("PATCH", path, body)

    def put_json(self, path: str, body: Any) -> Any:
        """As `post`."""
        return self._json("PUT", path, body)

    def delete(self, path: str) -> Any:
        """As `get`, of what the server says of the thing that ends."""
        return self._json("DELETE", path)

    def put(self, path: str, content: Iterable[bytes]) -> Any:
        """As `get`, of what the server answers to raw bytes."""
        with self._response("PUT", path, content) as response:
            return _decoded(self.url, response.read())

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """Raw bytes as they come. Raises: as `get`."""
        with self._response("GET", path) as response:
            yield response.iter_bytes(CHUNK)

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else msgspec.json.encode(body)
        with self._response(method, path, content) as response:
            return _decoded(self.url, response.read())

    @contextmanager
    def _response(
        self, method: str, path: str, content: bytes | Iterable[bytes] | None = None
    ) -> Iterator[httpx2.Response]:
        with (
            reaching(self.url),
            httpx2.stream(
                method, self.url + path, headers=self._headers, content=content, timeout=TIMEOUT
            ) as response,
        ):
            if response.is_error:
                raise refused(self.url, response)
            yield response

    def socket(self, workspace: str, path: str) -> connect:
        """A websocket of a workspace. Entering it raises `OSError` or `InvalidStatus`."""
        return connect(
            f"{self.url.replace('http', 'ws', 1)}/api/v1/workspaces/{quote(workspace)}/{path}",
            additional_headers=self._headers,
            compression=None,
            max_size=FRAME_LIMIT,
            max_queue=8,
            ping_interval=None,  # a side that is held back answers none
            open_timeout=TIMEOUT,
        )


def _cursor(cursor: str) -> dict[str, str]:
    return {"cursor": cursor} if cursor else {}


def resolve(url: str | None, token: str | None, profile: str | None) -> tuple[str, str]:
    """The address of a server and a token for it; "" when there is none.

    A profile's token is only ever for the profile's own server.
    """
    url = url or os.environ.get("CLOUDIDE_URL")
    token = token or os.environ.get("CLOUDIDE_TOKEN")
    if url and token:
        return url.rstrip("/"), token
    known = profiles.load()
    name = profile or os.environ.get("CLOUDIDE_PROFILE") or known.current
    found = known.get(name) if name else profiles.Profile(DEFAULT_URL)
    if url is None:
        return found.url, token or found.token
    url = url.rstrip("/")
    return url, token or (found.token if found.url == url else "")


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Say in a person's words why a server cannot be reached."""
    try:
        yield
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise InvalidInput(f"{url} is not the address of a CloudIDE server.") from error
    except httpx2.HTTPError as error:
        raise Unavailable(f"{url} cannot be reached: {error or 'no answer'}.") from error


def refused(url: str, response: httpx2.Response) -> CloudIDEError:
    """What the server says of a request that it did not do."""
    body = _decoded(url, response.read())
    kind = NotFound if response.status_code == 404 else CloudIDEError
    return kind(body.get("detail") if isinstance(body, dict) else None)


def _decoded(url: str, content: bytes) -> Any:
    try:
        return msgspec.json.decode(content) if content else None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{url} is not the address of a CloudIDE server.") from error


def unreachable(remote: Remote, error: OSError | InvalidStatus | TimeoutError) -> Unavailable:
    return Unavailable(f"{remote.url} cannot be reached: {error}.")
