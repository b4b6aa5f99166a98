"""The address that a request came from, which only a trusted proxy may say: pure."""

from __future__ import annotations

import pytest

from cloudide.errors import InvalidInput
from cloudide.settings import load
from cloudide.web.proxies import Proxies


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ("", "127.0.0.1", [b"6.6.6.6"], "127.0.0.1"),
        ("10.0.0.0/8", "127.0.0.1", [b"6.6.6.6"], "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", [b"6.6.6.6"], "6.6.6.6"),
        ("127.0.0.1", "127.0.0.1", [], "127.0.0.1"),
        # What the client itself has written is before what the proxy adds.
        ("127.0.0.1", "127.0.0.1", [b"1.1.1.1, 6.6.6.6"], "6.6.6.6"),
        ("127.0.0.1", "127.0.0.1", [b"1.1.1.1", b"6.6.6.6"], "6.6.6.6"),
        ("127.0.0.1, 10.0.0.0/8", "127.0.0.1", [b"6.6.6.6, 10.1.2.3"], "6.6.6.6"),
        ("::1,10.0.0.0/8", "::1", [b"2001:db8::7"], "2001:db8::7"),
        ("10.0.0.0/8", "10.0.0.1", [b"10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.0/8", "10.0.0.1", [b"6.6.6.6, unknown"], "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", [b"<script>"], "10.0.0.1"),
        ("10.0.0.0/8", "", [b"6.6.6.6"], ""),
    ],
)
def test_only_trusted_proxies_are_believed(
    trusted: str, peer: str, forwarded: list[bytes], client: str
) -> None:
    assert Proxies(trusted).client(peer, forwarded) == client


@pytest.mark.parametrize("trusted", ["proxy.example", "10.0.0.1/8", "*"])
def test_what_is_no_address_is_no_proxy(trusted: str) -> None:
    with pytest.raises(InvalidInput, match="trusted_proxies"):
        load({}, trusted_proxies=trusted)
