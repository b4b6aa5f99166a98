"""Connections to elsewhere: which addresses are of the public internet, and who looks at them.

What the server calls for somebody's sake (webhooks, Git hosts) must not be a thing of the server's
own network (server-side request forgery); each of them says what it allows besides.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, cast

import httpcore

TRIED = 4  # addresses of one name

Address = IPv4Address | IPv6Address
Check = Callable[[str, Sequence[str]], None]
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
# Of a network's own, although `is_global` does not say so in every version of Python: translation
# (RFC 8215), site-local addresses (RFC 3879), protocol assignments (RFC 6890).
_LOCAL = tuple(map(ip_network, ("64:ff9b:1::/48", "fec0::/10", "192.0.0.0/24")))


def parse(text: str) -> Address:
    """The address that a connection to this one ends at: within some of IPv6 stands one of IPv4.

    A scope (`%eth0`) is passed over. Raises: ValueError: it is no address.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address


def is_public(address: Address) -> bool:
    """Whether an address, as `parse` gives it, is of the public internet."""
    if any(address.version == each.version and address in each for each in _LOCAL):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at, and to no others.

    What a name means is asked here, once: to look at it before and leave the connection to a
    library would be another question, which may have another answer (DNS rebinding).
    """

    def __init__(self, check: Check) -> None:
        """`check(host, addresses)` raises where one of them may not be called."""
        self._check = check
        self._backend = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """TLS, if any, is begun by the caller, for the name in the URL.

        Raises:
            httpcore.ConnectError, httpcore.ConnectTimeout: of the last address that was tried, or
                there is none.
        """
        host = host.strip("[]")
        try:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} is not known here") from error
        addresses = [*dict.fromkeys(str(each[4][0]) for each in found)]
        self._check(host, addresses)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses[:TRIED]:
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
