"""A server that commands speak to: over its public interface, as any other client does."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cloudide.errors import CloudIDEError, InvalidInput, NotFound, Unavailable

TIMEOUT = 30.0  # seconds
FRAME_LIMIT = 2 * 1024 * 1024  # bytes; the server's frames are smaller
CHUNK = 256 * 1024


class Remote:
    """`url` and `token` come from options, or from CLOUDIDE_URL and CLOUDIDE_TOKEN."""

    def __init__(self, url: str | None, token: str | None) -> None:
        self.url = (url or os.environ.get("CLOUDIDE_URL") or "http://localhost:8080").rstrip("/")
        given = token or os.environ.get("CLOUDIDE_TOKEN")
        if not given:
            raise InvalidInput("Give an API token: set CLOUDIDE_TOKEN, or use --token.")
        self._headers = {"Authorization": f"Bearer {given}"}

    def workspace(self, name: str) -> str:
        """The id of a workspace, by its id or its name.

        Raises:
            NotFound: there is none that this token may see. InvalidInput: there are several.
        """
        found = self.get("/api/v1/workspaces")["workspaces"]
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
        return self._request("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """As `get`, of what the server answers to a JSON body."""
        return self._request("POST", path, msgspec.json.encode(body))

    def delete(self, path: str) -> Any:
        """As `get`, of what the server says of the thing that ends."""
        return self._request("DELETE", path)

    def _request(self, method: str, path: str, content: bytes | None = None) -> Any:
        try:
            response = httpx2.request(
                method, self.url + path, headers=self._headers, content=content, timeout=TIMEOUT
            )
            body = msgspec.json.decode(response.content)
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, msgspec.DecodeError) as error:
            raise InvalidInput(f"{self.url} is not the address of a CloudIDE server.") from error
        except httpx2.HTTPError as error:
            raise Unavailable(f"{self.url} cannot be reached: {error or 'no answer'}.") from error
        if response.status_code >= 400:
            raise CloudIDEError(body.get("detail") if isinstance(body, dict) else None)
        return body

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


def unreachable(remote: Remote, error: OSError | InvalidStatus | TimeoutError) -> Unavailable:
    return Unavailable(f"{remote.url} cannot be reached: {error}.")
