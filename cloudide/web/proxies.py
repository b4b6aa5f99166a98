"""From which address a request came, where reverse proxies stand in front of the server.

A proxy adds the address that it was connected from to X-Forwarded-For, at the end. Whatever is
before the entries of proxies that are trusted was written by somebody who is not.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address


class Proxies:
    def __init__(self, trusted: str) -> None:
        """`trusted`: addresses and networks, separated by commas. Raises: ValueError."""
        self._networks = [ip_network(each.strip()) for each in trusted.split(",") if each.strip()]

    def client(self, peer: str, forwarded: list[bytes]) -> str:
        """The address behind the proxies: `peer` is who connected, `forwarded` the header's values
        in order. Always an address, or `peer`."""
        if not self._networks or not self._trusts(_address(peer)):
            return peer
        client = peer
        for each in reversed(b",".join(forwarded).split(b",")):
            address = _address(each.strip().decode("latin-1"))
            if address is None:
                break  # no proxy writes this
            client = str(address)
            if not self._trusts(address):
                break
        return client

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
