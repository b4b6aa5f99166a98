"""Host and Origin: whatever another site makes a browser send, nothing comes of it."""

from __future__ import annotations

import asyncio

import pytest
from site_of_people import People


def hostile(origin: str, host: str) -> list[tuple[str, str]]:
    """Pairs of Origin and Host, each of them wrong in one way; "" leaves a header out."""
    name, _, port = host.partition(":")
    origins = [
        "",
        "null",
        "file://",
        "*",
        f"{origin}/",
        f"{origin}.evil.example",
        f"{origin}, {origin}",
        f"{origin},http://evil.example",
        origin.upper(),
        origin.replace("http", "https", 1),
        origin.replace("http", "ws", 1),
        origin.replace("http:", "http", 1),
        f"http://{name}",
        f"http://{name}:80",
        f"http://{name}:{port}0",
        f"http://{name}:0{port}",
        f"http://{name}.:{port}",
        f"http://evil.{name}:{port}",
        f"http://{name}.example:{port}",
        f"http://evil-{name}:{port}",
        f"http://user@{host}",
        f"http://{host}@evil.example",
        f"http://evil.example#{host}",
        f"http://evil.example/{origin}",
        f"http://127.0.0.1:{port}",
        f"http://[::1]:{port}",
        f"http://0.0.0.0:{port}",
        f"http://2130706433:{port}",
        "http://evil.example",
        f"http://evil.example:{port}",
        f"chrome-extension://{host}",
        f"//{host}",
        host,
        "about:blank",
        f"{origin}\\\\@evil.example",
        f"http://{name}%00:{port}",
        f"http://l\u043ecalhost:{port}",  # a Cyrillic letter
        f"http://xn--calhost-mgi:{port}",
        f"http://8080--w1.preview.{host}",
    ]
    hosts = [
        "",
        "evil.example",
        f"evil.example:{port}",
        name,
        f"{name}:80",
        f"{name}:{port}0",
        f"{name}.:{port}",
        f".{host}",
        f"evil.{host}",
        f"{host}.evil.example",
        f"{host}, evil.example",
        f"{host}@evil.example",
        f"user@{host}",
        f"127.0.0.1:{port}",
        f"[::1]:{port}",
        f"2130706433:{port}",
        f"http://{host}",
        f"{host}/",
        f"8080--w1.preview.{host}",
        "localhost",
        "*",
    ]
    return [*((each, host) for each in origins), *((origin, each) for each in hosts)]


async def answer(port: int, head: list[str]) -> str:
    """Send a request head as it stands; returns the first line of the answer ("" is none)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join([*head, "", ""]).encode())
        await writer.drain()
        async with asyncio.timeout(10):
            return (await reader.readline()).decode().strip()
    finally:
        writer.close()
        await writer.wait_closed()


def head(start: str, origin: str, host: str, *more: str) -> list[str]:
    return [
        start,
        *([f"Host: {host}"] if host else []),
        *([f"Origin: {origin}"] if origin else []),
        *more,
    ]


UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def cookie(people: People) -> str:
    cookies = people["owner"].http.cookies
    return "Cookie: " + "; ".join(f"{name}={value}" for name, value in cookies.items())


async def test_no_hostile_upgrade(people: People) -> None:
    server = people.server
    origin, host = server.url, server.url.removeprefix("http://")
    start = "GET /api/v1/events HTTP/1.1"
    right = await answer(server.port, head(start, origin, host, *UPGRADE, cookie(people)))
    assert right.startswith("HTTP/1.1 101")
    pairs = hostile(origin, host)
    assert len(pairs) >= 60
    upgraded = []
    for each in pairs:
        line = await answer(server.port, head(start, *each, *UPGRADE, cookie(people)))
        if " 101" in line or " 200" in line:
            upgraded.append((each, line))
    assert not upgraded


@pytest.mark.parametrize("header", ["Origin", "Host"])
async def test_two_headers_of_a_kind_are_one_too_many(people: People, header: str) -> None:
    server = people.server
    origin, host = server.url, server.url.removeprefix("http://")
    value = {"Origin": "http://evil.example", "Host": "evil.example"}[header]
    for extra in ([f"{header}: {value}"], [f"{header.lower()}:{value}"]):
        for more in ([*UPGRADE, cookie(people), *extra], [*extra, *UPGRADE, cookie(people)]):
            line = await answer(
                server.port, head("GET /api/v1/events HTTP/1.1", origin, host, *more)
            )
            assert " 101" not in line


async def test_no_hostile_change_by_cookie(people: People) -> None:
    server = people.server
    origin, host = server.url, server.url.removeprefix("http://")
    start = f"POST {people.root}/start HTTP/1.1"
    empty = "Content-Length: 0"
    right = await answer(server.port, head(start, origin, host, empty, cookie(people)))
    assert right.startswith("HTTP/1.1 202")
    taken = []
    for each in hostile(origin, host):
        line = await answer(server.port, head(start, *each, empty, cookie(people)))
        if " 20" in line:
            taken.append((each, line))
    assert not taken


async def test_a_token_needs_no_origin_but_not_a_wrong_one(people: People) -> None:
    api = people.server.api
    assert (await api.request("POST", f"{people.root}/start")).status_code == 202
    wrong = {"Origin": "http://evil.example"}
    response = await api.request("POST", f"{people.root}/start", headers=wrong)
    assert response.status_code == 403
    response = await api.request("GET", people.root, headers=wrong)
    assert response.status_code == 403


async def test_a_git_host_sends_neither_origin_nor_token(people: People) -> None:
    """Where a webhook leads it need not; and its body is not awaited where there is none."""
    server = people.server
    origin, host = server.url, server.url.removeprefix("http://")
    hook, body = "/api/v1/prebuilds/none/hook", "Content-Length: 1000"
    line = await answer(server.port, head(f"POST {hook} HTTP/1.1", "", host, body))
    assert " 404 " in line
    for path, sent, more in (
        (hook, "", [cookie(people)]),
        (hook, "http://evil.example", []),
        ("/api/v1/prebuilds/none/hook-secret", "", []),
        ("/api/v1/prebuilds/none/x/hook", "", []),
        (f"{hook}/", "", []),
        (f"/x{hook}", "", []),
    ):
        start = f"POST {path} HTTP/1.1"
        line = await answer(server.port, head(start, sent, host, "Content-Length: 0", *more))
        assert " 403 " in line, (path, sent)
    line = await answer(server.port, head(f"POST {hook} HTTP/1.1", origin, host, body))
    assert " 404 " in line


async def test_a_reader_with_another_name_for_the_server_is_sent_to_the_right_one(
    people: People,
) -> None:
    nobody = people.nobody()
    headers = {"Host": "127.0.0.1", "Accept": "text/html", "Origin": ""}
    del nobody.http.headers["Origin"]
    del headers["Origin"]
    response = await nobody.request("GET", "/w/%2f%0d%0aX", headers=headers)
    assert response.status_code == 307
    assert response.headers["location"].startswith(people.server.url + "/w/")
    response = await nobody.request("GET", "/healthz", headers={"Host": "10.0.0.1"})
    assert response.status_code == 200
    await nobody.close()


async def test_every_answer_has_the_headers_that_protect_it(people: People) -> None:
    for path in ("/", people.root, "/api/v1/nothing", "/healthz"):
        headers = (await people["owner"].request("GET", path)).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
