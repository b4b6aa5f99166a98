"""Connections that the server makes to Git hosts, and to nowhere else.

A name is looked up once and the connection goes to the address that was checked, so that a name
that means something else a moment later (DNS rebinding) leads nowhere new. Addresses that are not
of the public internet are refused unless a setting names the host as internal.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence

import httpcore

from cloudide import egress
from cloudide.errors import Denied
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


def check_of(name: str, *, internal: bool) -> egress.Check:
    """Connections lead to this host alone, and unless it is `internal` to no private network."""

    def check(host: str, addresses: Sequence[str]) -> None:
        if host != name:
            raise Denied(f"A connection to {host} was not asked for.")
        if not internal and not all(egress.is_public(egress.parse(each)) for each in addresses):
            raise Denied(
                f"{host} has an address that is not of the public internet. If it is a Git "
                "host of yours, an administrator names it in the setting git_internal_hosts."
            )

    return check


def pool_for(remote: Remote, hosts: Hosts, context: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    """Connections for one action with one repository; close it afterwards."""
    name = httpcore.URL(remote.url).host.decode().strip("[]")
    return httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=CONNECTIONS,
        network_backend=egress.CheckedBackend(
            check_of(name, internal=remote.host in hosts.internal)
        ),
    )


def trust(ca_bundle: str) -> ssl.SSLContext:
    """Certificates are always verified: against the bundle, or what this machine trusts."""
    context = ssl.create_default_context(cafile=ca_bundle or os.environ.get("SSL_CERT_FILE"))
    context.set_alpn_protocols(["http/1.1"])
    return context
