"""Connections that the server makes to Git hosts, and to nowhere else.

A name is looked up once and the connection goes to the address that was checked, so that a name
that means something else a moment later (DNS rebinding) leads nowhere new. Addresses that are not
of the public internet are refused unless a setting names the host as internal.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterable
from typing import Any, cast

import httpcore

from cloudide import egress
from cloudide.errors import Denied, Unavailable
from cloudide.git.remotes import Hosts, Remote

CONNECT_TIMEOUT = 15.0  # seconds
# A push is silent while the host checks what it got.
READ_TIMEOUT = 300.0
WRITE_TIMEOUT = 60.0
CONNECTIONS = 4  # of one action
TIMEOUTS = {
    "connect": CONNECT_TIMEOUT,
    "read": READ_TIMEOUT,
    "write": WRITE_TIMEOUT,
    "pool": CONNECT_TIMEOUT,
}


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to one host alone, at an address that was looked at."""

    def __init__(self, host: str, *, internal: bool) -> None:
        self._host = host
        self._internal = internal
        self._backend = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if host.strip("[]") != self._host:
            raise Denied(f"A connection to {host} was not asked for.")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unavailable(f"The host {self._host} is not known here.") from error
        addresses = [*dict.fromkeys(str(each[4][0]) for each in found)]
        if not self._internal and not all(
            egress.is_public(egress.parse(each)) for each in addresses
        ):
            raise Denied(
                f"{self._host} has an address that is not of the public internet. If it is a Git "
                "host of yours, an administrator names it in the setting git_internal_hosts."
            )
        error: Exception | None = None
        for address in addresses[:4]:
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                error = failure
        raise Unavailable(f"{self._host} cannot be reached.") from error


def pool_for(remote: Remote, hosts: Hosts, context: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    """Connections for one action with one repository; close it afterwards."""
    name = httpcore.URL(remote.url).host.decode().strip("[]")
    return httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=CONNECTIONS,
        network_backend=GuardedBackend(name, internal=remote.host in hosts.internal),
    )


def trust(ca_bundle: str) -> ssl.SSLContext:
    """Certificates are always verified: against the bundle, or what this machine trusts."""
    context = ssl.create_default_context(cafile=ca_bundle or os.environ.get("SSL_CERT_FILE"))
    context.set_alpn_protocols(["http/1.1"])
    return context
