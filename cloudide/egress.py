"""Which addresses are of the public internet.

What the server calls for somebody's sake (webhooks, Git hosts) must not be a thing of the server's
own network (server-side request forgery); each of them says what it allows besides.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address
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
