"""What the edge refuses besides: other sites, sockets of nobody, handshakes that do not come."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from promises.uncontained import WORKSPACE, Uncontained, uncontained
from server import ADMIN_TOKEN, Api
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

FORWARDED = "203.0.113.7"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Uncontained]:
    folder = tmp_path_factory.mktemp("defences") / "site"
    folder.mkdir()
    async with uncontained(
        folder, anonymous_sockets=3, trusted_proxies="127.0.0.1", tls_timeout=0.2
    ) as server:
        yield server


@pytest.fixture
async def nobody(site: Uncontained) -> AsyncIterator[Api]:
    api = Api(site.url)
    yield api
    await api.close()


@pytest.mark.parametrize("where", ["cross-site", "same-site"])
@pytest.mark.parametrize(
    ("method", "path", "more", "refused"),
    [
        ("GET", "/", NAVIGATION, False),
        ("GET", f"/w/{WORKSPACE}", NAVIGATION, False),
        ("GET", "/api/v1/providers/company/callback", NAVIGATION, False),
        ("GET", f"/api/v1/workspaces/{WORKSPACE}/ports/3000/open", NAVIGATION, False),
        ("GET", "/api/v1/session", NAVIGATION, True),
        ("GET", f"/api/v1/workspaces/{WORKSPACE}/files/page.html", NAVIGATION, True),
        ("GET", "/api/v1/providers/company/callback/more", NAVIGATION, True),
        ("GET", "/api/v1/session", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, True),
        ("GET", "/", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, True),
        ("GET", "/", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, True),
        ("GET", "/", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "embed"}, True),
        ("POST", "/", {**NAVIGATION, "Origin": "own"}, True),
        ("DELETE", "/api/v1/session", {**NAVIGATION, "Origin": "own"}, True),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_other_sites_lead_here_and_no_further(
    site: Uncontained,
    nobody: Api,
    where: str,
    method: str,
    path: str,
    more: dict[str, str],
    refused: bool,
) -> None:
    headers = {"Sec-Fetch-Site": where, **more}
    if "Origin" in headers:
        headers["Origin"] = site.url
    response = await nobody.request(method, path, headers=headers)
    asked = response.status_code == 403 and "Another site asked" in response.text
    assert asked is refused, response.text
    for own in ("same-origin", "none"):
        response = await nobody.request(method, path, headers={**headers, "Sec-Fetch-Site": own})
        assert "Another site asked" not in response.text


async def test_sockets_of_nobody_have_a_number(site: Uncontained) -> None:
    url = f"{site.url.replace('http', 'ws')}/api/v1/events"
    headers = {"Origin": site.url, "X-Forwarded-For": FORWARDED}
    # Accepted, to be told why they are closed; who does not answer that keeps the connection.
    held = [await _raw_upgrade(site, headers) for _ in range(3)]
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, additional_headers=headers)
    assert refused.value.response.status_code == 429
    assert b"not signed in" in (refused.value.response.body or b"")
    # Somebody else, and who says who they are, come in all the same.
    async with connect(
        url, additional_headers={**headers, "X-Forwarded-For": "203.0.113.8"}
    ) as other:
        await other.wait_closed()
        assert other.close_code == 4401
    token = {"Authorization": f"Bearer {ADMIN_TOKEN}", "X-Forwarded-For": FORWARDED}
    async with connect(url, additional_headers=token) as known:
        await known.send('{"type":"ping"}')
        await known.recv()
    for reader, writer in held:
        writer.close()
        await reader.read()
    async with asyncio.timeout(10):
        while True:
            try:
                async with connect(url, additional_headers=headers) as socket:
                    await socket.wait_closed()
                    assert socket.close_code == 4401
                    return
            except InvalidStatus:  # the server has yet to see that they are gone
                await asyncio.sleep(0)


async def _raw_upgrade(
    site: Uncontained, headers: dict[str, str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A websocket that does not answer when it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    lines = [
        "GET /api/v1/events HTTP/1.1",
        f"Host: localhost:{site.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 101")
    return reader, writer


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Host": "127.0.0.1:9090"}, True),
        ({"Host": "[::1]"}, True),
        ({"Host": "evil.example"}, False),  # a name that somebody lets lead here
        ({"X-Forwarded-For": FORWARDED}, False),
        ({"X-Forwarded-For": "127.0.0.1"}, False),  # a proxy writes this, or somebody far away
        ({"Forwarded": "for=127.0.0.1"}, False),
        ({"X-Forwarded-For": FORWARDED, "Authorization": f"Bearer {ADMIN_TOKEN}"}, True),
        ({"X-Forwarded-For": FORWARDED, "Authorization": "Bearer wrong"}, False),
    ],
    ids=["local", "address", "v6", "name", "proxied", "claimed", "forwarded", "admin", "wrong"],
)
async def test_metrics_are_for_administrators_and_this_machine(
    site: Uncontained, nobody: Api, headers: dict[str, str], allowed: bool
) -> None:
    response = await nobody.request("GET", "/metrics", headers=headers)
    assert (response.status_code == 200) is allowed, response.text
    assert ("cloudide_rooms" in response.text) is allowed
    ready = await nobody.request("GET", "/readyz", headers=headers)
    assert (ready.status_code, "detail" in ready.json()) == (503, allowed)


async def test_metrics_may_be_for_everybody(tmp_path: Path) -> None:
    async with uncontained(tmp_path, metrics_public=True) as server:
        nobody = Api(server.url, headers={"X-Forwarded-For": FORWARDED})
        assert (await nobody.request("GET", "/metrics")).status_code == 200
        await nobody.close()


async def test_the_address_behind_a_proxy_is_what_is_recorded(
    site: Uncontained, nobody: Api
) -> None:
    wrong = {"token": "wrong"}
    headers = {"Origin": site.url, "X-Forwarded-For": f"198.51.100.1, {FORWARDED}"}
    await nobody.request("POST", "/api/v1/session", json=wrong, headers=headers)
    [record] = (await site.api.get("/api/v1/audit?limit=1"))["records"]
    assert (record["action"], record["address"]) == ("session.begin", FORWARDED)


async def test_a_handshake_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    async with uncontained(
        tmp_path, tls_certificate=certificate, tls_key=key, tls_timeout=0.2
    ) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await reader.read() == b""  # closed by the server
        writer.close()
        context = ssl.create_default_context(cafile=str(certificate))
        reader, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
        writer.write(f"GET /healthz HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode())
        assert b"200" in await reader.readline()
        writer.close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
