"""Where webhooks may lead: an address of the server's own network is not theirs to call (SSRF).

A name is resolved when a connection is made, and the address that was checked is the one that is
connected to; a name that resolves to another address a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from urllib.parse import urlsplit

from cloudide import egress
from cloudide.errors import InvalidInput

Network = IPv4Network | IPv6Network
URL_LIMIT = 2000  # characters


class Forbidden(InvalidInput):
    """The address is not one that webhooks may call."""


class Addresses:
    """`networks`: private ones that may be called all the same. `loopback`: so may this machine,
    without TLS, which is for trying things out."""

    def __init__(self, networks: Iterable[Network] = (), *, loopback: bool = False) -> None:
        self._networks = list(networks)
        self._loopback = loopback

    def check_url(self, url: str) -> str:
        """Raises: InvalidInput: this is no address for a webhook, whatever it resolves to."""
        if len(url) > URL_LIMIT or not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
            raise InvalidInput(
                f"url has up to {URL_LIMIT} characters of ASCII, without spaces.", pointer="/url"
            )
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port, parts = "", None, urlsplit("")
        if parts.scheme not in ("https", "http") or not host or port == 0:
            raise InvalidInput(
                "url is the address of a receiver, such as https://ci.example.org/hooks.",
                pointer="/url",
            )
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise InvalidInput(
                "url has no name, password or #fragment; messages are signed instead.",
                pointer="/url",
            )
        if parts.scheme == "http" and not (self._loopback and _means_loopback(host)):
            raise InvalidInput(
                "url begins with https://: what is sent must not be read on the way.",
                pointer="/url",
            )
        try:
            allowed = self.allows(host)
        except ValueError:
            return url  # a name; what it means is looked at when it is called
        if not allowed:
            raise InvalidInput(_refusal(host), pointer="/url")
        return url

    def allows(self, text: str) -> bool:
        """Whether webhooks may call this address. Raises: ValueError: it is none."""
        address = egress.parse(text)
        if address.is_loopback:
            return self._loopback
        if any(address.version == each.version and address in each for each in self._networks):
            return True
        return egress.is_public(address)

    def check(self, host: str, addresses: Sequence[str]) -> None:
        """Raises: Forbidden: not all of a host's addresses may be called."""
        # One that may not be may be the one that is tried.
        if not all(self.allows(each) for each in addresses):
            raise Forbidden(_refusal(host))


def networks(text: str) -> list[Network]:
    """Networks between commas. Raises: ValueError: one of them is none."""
    return [ip_network(each.strip()) for each in text.split(",") if each.strip()]


def _means_loopback(host: str) -> bool:
    try:
        return egress.parse(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _refusal(host: str) -> str:
    return (
        f"{host} is an address of a private network, which webhooks may not call; an administrator "
        "allows one with the setting webhook_networks."
    )
