"""Where previews are: each port of each workspace is a site, and so an origin, of its own.

A host either is exactly `{port}--{workspace}.<host>`, as a browser writes it, or it is no preview:
lower case, decimal digits of ASCII, no leading zero, no dot at the end, our own address's port. The
address that is connected to is made of nothing that a client sent but the port's number.
"""

from __future__ import annotations

import re

import msgspec


class Target(msgspec.Struct, frozen=True):
    """One port of one workspace, which may or may not be there."""

    port: int
    workspace: str


class Sites:
    """`site` is `scheme://host`, whose subdomains the previews are; "" where there are none."""

    def __init__(self, site: str) -> None:
        self.scheme, _, self.host = site.partition("://")
        # A label of DNS has at most 63 characters, and a workspace's id no dash.
        self._pattern = re.compile(
            r"([1-9][0-9]{0,4})--([a-z0-9]{1,50})\." + re.escape(self.host), re.ASCII
        )

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    def parse(self, hosts: list[str]) -> Target | None:
        """What the Host headers of a request name; None: no preview."""
        if not self.host or len(hosts) != 1:
            return None
        found = self._pattern.fullmatch(hosts[0])
        if found is None or int(found[1]) > 65535:
            return None
        return Target(int(found[1]), found[2])

    def origin(self, target: Target) -> str:
        """As a browser writes it (RFC 6454 section 6.2)."""
        return f"{self.scheme}://{target.port}--{target.workspace}.{self.host}"

    def sibling(self, target: Target, origin: str) -> bool:
        """Whether `origin` is a preview of the same workspace, be it this very one."""
        scheme, separator, host = origin.partition("://")
        found = self.parse([host])
        return (
            bool(separator)
            and scheme == self.scheme
            and (found is not None and found.workspace == target.workspace)
        )
