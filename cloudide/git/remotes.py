"""Addresses of repositories that are reached with somebody's credentials.

Only HTTPS: the server speaks the protocol in the container's place, and an SSH key would have to be
used by somebody who holds it. Plain HTTP is for hosts that a setting names insecure.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

from cloudide.errors import InvalidInput

MAX_URL = 2000
_HOST = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\.?"
)
_IPV6 = re.compile(r"[0-9a-f:.]{2,45}")
_PATH = re.compile(r"[\w.~+@%!$&'()*,;=:-]+(/[\w.~+@%!$&'()*,;=:-]+)*")
_PORTS = {"https": 443, "http": 80}


class Remote(msgspec.Struct, frozen=True):
    """`host` as it is compared: lower case, with a port if it is not the usual one.

    `path` has no slash at its ends; `user` is the one that the address names, or "".
    """

    scheme: str
    host: str
    path: str
    user: str = ""

    @property
    def url(self) -> str:
        """The address without a user."""
        return f"{self.scheme}://{self.host}/{self.path}"

    @property
    def repository(self) -> str:
        """As people call it."""
        return f"{self.host}/{self.path.removesuffix('.git')}"


class Hosts:
    """What the settings say of hosts.

    Args:
        insecure: reached over plain HTTP where an address says so.
        internal: reached although their address is a private one.
    """

    def __init__(self, insecure: str = "", internal: str = "") -> None:
        self.insecure = _names(insecure)
        self.internal = _names(internal) | self.insecure

    def remote(self, url: str) -> Remote:
        """Raises: InvalidInput: no address that credentials can be used for, and why."""
        remote = parse(url)
        if remote.scheme == "http" and remote.host not in self.insecure:
            raise InvalidInput(
                f"Credentials are not sent to {remote.host} over plain HTTP. Use https:// in the "
                "address of the repository."
            )
        return remote


def _names(text: str) -> frozenset[str]:
    return frozenset(filter(None, (each.strip().lower() for each in text.split(","))))


def parse(url: str) -> Remote:
    """Raises: InvalidInput: not the HTTP address of a repository."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput("This is not the address of a repository.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInput("This is not the address of a repository.") from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise InvalidInput(
            "Your credentials work with https:// addresses; this repository has another kind. "
            "Change it with: git remote set-url origin https://…"
        )
    if parts.password is not None:
        raise InvalidInput(
            "The address holds a password, which everybody here can read; remove it."
        )
    path = parts.path.strip("/")
    if parts.query or parts.fragment or not _PATH.fullmatch(path) or _climbs(path):
        raise InvalidInput("This is not the address of a repository.")
    return Remote(
        scheme, clean_host(parts.hostname or "", port, scheme), path, parts.username or ""
    )


def clean_host(name: str, port: int | None = None, scheme: str = "https") -> str:
    """Raises: InvalidInput: no name of a host."""
    name = name.lower()
    if _HOST.fullmatch(name):
        host = name.rstrip(".")
    elif ":" in name and _IPV6.fullmatch(name):
        host = f"[{name}]"
    else:
        raise InvalidInput("This is not the name of a host, such as github.com.")
    return host if port in (None, _PORTS[scheme]) else f"{host}:{port}"


def _climbs(path: str) -> bool:
    # A server may decode what is written with percent signs before it looks.
    decoded = re.sub(r"%2[eE]", ".", path)
    return "%2f" in path.lower() or any(part in (".", "..") for part in decoded.split("/"))


def within(path: str, prefix: str) -> bool:
    """Whether a path lies below a prefix of whole names; "" holds all."""
    return not prefix or path == prefix or path.startswith(f"{prefix}/")
