"""Hosts of previews and headers on their way: pure."""

from __future__ import annotations

import pytest

from cloudide.ports.headers import incoming, outgoing
from cloudide.ports.sites import Sites, Target
from cloudide.settings import Settings

SITES = Sites("http://preview.localhost:8080")
OWN = frozenset({"cloudide", "cloudide-preview"})


@pytest.mark.parametrize("port", [1, 80, 65535])
def test_a_host_is_what_we_made_it(port: int) -> None:
    target = Target(port, "w0a1")
    host = SITES.origin(target).removeprefix("http://")
    assert host == f"{port}--w0a1.preview.localhost:8080"
    assert SITES.parse([host]) == target


@pytest.mark.parametrize(
    "host",
    [
        "0--w0.preview.localhost:8080",
        "00--w0.preview.localhost:8080",
        "080--w0.preview.localhost:8080",
        "65536--w0.preview.localhost:8080",
        "80@evil--w0.preview.localhost:8080",
        "\u0664\u0662--w0.preview.localhost:8080",
        "\uff18\uff10--w0.preview.localhost:8080",
        "80--W0.preview.localhost:8080",
        "80--w0.PREVIEW.localhost:8080",
        "80--w0.preview.localhost.:8080",
        "80--w0.preview.localhost:8080.",
        "80--w0.preview.localhost",
        "80--w0.preview.localhost:80",
        "80--w0.preview.localhost:8080\n",
        " 80--w0.preview.localhost:8080",
        "80--w0.previewxlocalhost:8080",
        "80--w0.w1.preview.localhost:8080",
        "80---w0.preview.localhost:8080",
        "80-w0.preview.localhost:8080",
        "80--w-0.preview.localhost:8080",
        f"80--{'w' * 51}.preview.localhost:8080",
        "preview.localhost:8080",
        "localhost:8080",
        "",
    ],
)
def test_another_host_is_no_preview(host: str) -> None:
    assert SITES.parse([host]) is None


def test_two_hosts_or_none_are_no_preview() -> None:
    host = "80--w0.preview.localhost:8080"
    assert SITES.parse([]) is None
    assert SITES.parse([host, host]) is None


def test_siblings_are_of_one_workspace_and_scheme() -> None:
    target = Target(80, "w0")
    assert SITES.sibling(target, "http://443--w0.preview.localhost:8080")
    for origin in (
        "http://443--w1.preview.localhost:8080",
        "https://443--w0.preview.localhost:8080",
        "443--w0.preview.localhost:8080",
        "http://443--w0.preview.localhost:8080/",
        "null",
        "",
    ):
        assert not SITES.sibling(target, origin), origin


@pytest.mark.parametrize(
    ("public_url", "preview_url", "site"),
    [
        ("http://localhost:8080", "", "http://preview.localhost:8080"),
        ("http://localhost", "", "http://preview.localhost"),
        ("http://127.0.0.1:8080", "", "http://preview.localhost:8080"),
        ("http://[::1]:8080", "", "http://preview.localhost:8080"),
        ("http://10.0.0.7:8080", "", ""),
        ("https://ide.example.org", "", "https://preview.ide.example.org"),
        ("https://ide.example.org:8443", "", "https://preview.ide.example.org:8443"),
        ("https://ide.example.org", "https://Apps.example.net:443", "https://apps.example.net"),
    ],
)
def test_where_previews_are(public_url: str, preview_url: str, site: str) -> None:
    settings = Settings(public_url=public_url, preview_url=preview_url)
    assert settings.preview_site == site


@pytest.mark.parametrize(
    ("public_url", "preview_url", "hosts"),
    [
        ("http://localhost:8080", "", None),
        ("http://10.0.0.7:8080", "", None),
        ("https://ide.example.org:8443", "", ".preview.ide.example.org"),
        ("https://ide.example.org", "https://apps.example.net", ".apps.example.net"),
    ],
)
def test_vite_is_told_of_hosts_that_it_would_refuse(
    public_url: str, preview_url: str, hosts: str | None
) -> None:
    settings = Settings(public_url=public_url, preview_url=preview_url)
    assert settings.preview_variables.get("__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS") == hosts


def test_without_a_site_no_host_is_a_preview() -> None:
    assert Sites("").parse(["80--w0."]) is None
    assert Sites("").parse([""]) is None


def test_hop_by_hop_headers_and_ours_do_not_reach_the_program() -> None:
    headers = [
        (b"host", b"80--w0.preview.localhost"),
        (b"connection", b"Keep-Alive, X-Hop, Host"),
        (b"x-hop", b"1"),
        (b"te", b"trailers"),
        (b"upgrade", b"h2c"),
        (b"expect", b"100-continue"),
        (b"proxy-authorization", b"secret"),
        (b"cookie", b"a=1; cloudide=secret;cloudide-preview=secret; b=2; cloudidex=3"),
        (b"cookie", b"cloudide=secret"),
        (b"authorization", b"Bearer secret"),
        (b"x-kept", b"1"),
        (b"x-kept", b"2"),
    ]
    sent = outgoing(headers, own_cookies=OWN, own_authorization=True, forwarded=[(b"x", b"y")])
    assert sent == [
        (b"host", b"80--w0.preview.localhost"),
        (b"cookie", b"a=1; b=2; cloudidex=3"),
        (b"x-kept", b"1"),
        (b"x-kept", b"2"),
        (b"x", b"y"),
    ]
    theirs = outgoing(headers[-3:-2], own_cookies=OWN, own_authorization=False, forwarded=[])
    assert theirs == [(b"authorization", b"Bearer secret")]


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        (b"a=b", b"a=b"),
        (b"a=b; Domain=.localhost; Path=/", b"a=b; Path=/"),
        (b"a=b;domain = x;DOMAIN=y; HttpOnly", b"a=b; HttpOnly"),
        (b"domain=b; Secure", b"domain=b; Secure"),
        (b"cloudide=forged", None),
        (b" cloudide-preview =forged; Path=/", None),
    ],
)
def test_a_programs_cookies_stay_on_its_host(cookie: bytes, kept: bytes | None) -> None:
    got = incoming([(b"Set-Cookie", cookie)], OWN)
    assert got == ([(b"set-cookie", kept)] if kept is not None else [])
