"""Where webhooks may lead, and where not."""

from __future__ import annotations

import asyncio

import httpcore
import pytest

from cloudide.egress import CheckedBackend
from cloudide.errors import InvalidInput
from cloudide.events.addresses import Addresses, Forbidden, networks

PRIVATE = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",  # noqa: S104 - looked at, not listened on
    "10.0.0.1",
    "10.213.0.2",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",  # where clouds give out credentials
    "100.64.0.1",  # RFC 6598
    "192.0.0.8",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",  # Teredo, to 10.0.0.1
]
PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str) -> None:
    assert not Addresses().allows(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_taken(address: str) -> None:
    assert Addresses().allows(address)


def test_an_administrator_allows_a_network() -> None:
    addresses = Addresses(networks("10.1.0.0/16, fd00::/8"))
    assert addresses.allows("10.1.2.3")
    assert addresses.allows("::ffff:10.1.2.3")
    assert addresses.allows("fd00::1")
    assert not addresses.allows("10.2.0.1")
    assert not Addresses(networks("127.0.0.0/8")).allows("127.0.0.1")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "https://",
        "https:///path",
        "//example.org",
        "https://user@example.org/",
        "https://user:word@example.org/",
        "https://example.org/#part",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://exa mple.org/",
        "https://example.org/\r\nX: y",
        "https://ex\u00e4mple.org/",
        "https://[::1]/",
        "https://[::1",
        "https://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/",
        "https://example.org/" + "a" * 2000,
        "http://localhost/",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Addresses().check_url(url)
    assert refused.value.details["pointer"] == "/url"


def test_this_machine_without_tls_is_for_trying_things_out() -> None:
    addresses = Addresses(loopback=True)
    assert addresses.check_url("http://127.0.0.1:9/x") == "http://127.0.0.1:9/x"
    assert addresses.check_url("http://localhost:9/x") == "http://localhost:9/x"
    with pytest.raises(InvalidInput):
        addresses.check_url("http://example.org/")


@pytest.mark.parametrize("host", ["localhost", "0x7f.1", "2130706433", "127.1"])
async def test_names_are_looked_at_when_they_are_resolved(host: str) -> None:
    """Ways of writing 127.0.0.1 that are no addresses yet when the URL is read."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Forbidden):
            await CheckedBackend(Addresses().check).connect_tcp(host, port)
        allowed = CheckedBackend(Addresses(loopback=True).check)
        stream = await allowed.connect_tcp(host, port)
        assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
        await stream.aclose()


def test_one_address_that_may_not_be_called_is_enough() -> None:
    with pytest.raises(Forbidden):
        Addresses().check("both.example.org", ["93.184.216.34", "10.0.0.1"])
    Addresses().check("both.example.org", ["93.184.216.34", "1.1.1.1"])


async def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(httpcore.ConnectError, match="not known here"):
        await CheckedBackend(Addresses().check).connect_tcp("nowhere.invalid", 443)
