"""Who may see a preview, and how long."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import PAGE, TIMEOUT, Browser, answering, head, message, program, until_linked
from promises.record import record
from promises.uncontained import WORKSPACE, Uncontained, uncontained
from site_of_people import People
from test_preview_sockets import closed, echo, port_of
from websockets.asyncio.server import serve
from websockets.exceptions import InvalidStatus

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n\r\nok"
ROOT = f"/api/v1/workspaces/{WORKSPACE}"


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Uncontained]:
    async with uncontained(tmp_path_factory.mktemp("access")) as server:
        await until_linked(server)
        yield server


@pytest.fixture(scope="module")
async def people(site: Uncontained) -> AsyncIterator[People]:
    people = People(site)
    people.workspace = WORKSPACE
    people.by_role["admin"] = site.api
    for role in ("viewer", "terminal"):
        people.by_role[role], people.ids[role] = await people.join(role.title(), role)
    yield people
    for role in ("viewer", "terminal"):
        await people[role].close()


@pytest.fixture
async def browsers(people: People) -> AsyncIterator[dict[str, Browser]]:
    assert isinstance(people.server, Uncontained)
    made = {role: Browser(people.server, api) for role, api in people.by_role.items()}
    made["nobody"] = Browser(people.server, people.nobody())
    yield made
    for browser in made.values():
        await browser.close()
    await made["nobody"].ide.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with program(answering(OK)) as port:
        yield port


async def test_private_is_for_those_who_run_programs(
    browsers: dict[str, Browser], port: int
) -> None:
    await browsers["terminal"].enter(port)
    assert (await browsers["terminal"].get(port)).text == "ok"
    refused = await browsers["viewer"].ide.request("POST", f"{ROOT}/ports/{port}/ticket")
    assert refused.status_code == 403
    assert (await browsers["viewer"].get(port)).status_code == 401
    nobody = await browsers["nobody"].ide.request("POST", f"{ROOT}/ports/{port}/ticket")
    assert nobody.status_code == 401


async def test_a_token_opens_what_its_scopes_allow(
    people: People, browsers: dict[str, Browser], port: int
) -> None:
    editor = browsers["terminal"]
    statuses: list[int] = []
    for scope in ("exec", "read", "exec"):
        body = {"name": scope, "scopes": [scope]}
        token = (await editor.ide.post("/api/v1/tokens", json=body))["token"]
        headers = {"Authorization": f"Bearer {token}"}
        browser = Browser(editor.server, editor.ide)
        answers = [await browser.http.get(browser.url(port), headers=headers) for _ in range(2)]
        statuses += [answer.status_code for answer in answers]
        await browser.close()
    assert statuses == [200, 200, 401, 401, 200, 200]


async def test_members_may_when_somebody_says_so_and_no_longer_when_not(
    browsers: dict[str, Browser], port: int
) -> None:
    editor, viewer = browsers["terminal"], browsers["viewer"]
    denied = await viewer.ide.request(
        "PATCH", f"{ROOT}/ports/{port}", json={"visibility": "members"}
    )
    assert denied.status_code == 403
    await editor.ide._json("PATCH", f"{ROOT}/ports/{port}", json={"visibility": "members"})
    await viewer.enter(port)
    assert (await viewer.get(port)).text == "ok"
    await editor.ide._json("PATCH", f"{ROOT}/ports/{port}", json={"visibility": "private"})
    assert (await viewer.get(port)).status_code == 401


async def test_a_browser_is_led_through_the_ide_and_back(
    browsers: dict[str, Browser], port: int
) -> None:
    editor = browsers["terminal"]
    sent = await editor.get(port, "/deep/page?x=1&y=%20", headers=PAGE)
    assert sent.status_code == 303
    location = sent.headers["location"]
    assert location.startswith(f"{editor.server.url}{ROOT}/ports/{port}/open?path=")
    back = await editor.ide.request("GET", location.removeprefix(editor.server.url))
    assert back.status_code == 303
    assert back.headers["location"].startswith(editor.url(port, "/.cloudide/sign-in?ticket="))
    entered = await editor.http.get(back.headers["location"])
    cookie = entered.headers["set-cookie"]
    assert re.fullmatch(
        r"cloudide-preview=[\w-]{43}; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax", cookie
    )
    assert entered.headers["location"] == "/deep/page?x=1&y=%20"
    again = await browsers["nobody"].http.get(back.headers["location"])
    assert again.status_code == 403
    assert "set-cookie" not in again.headers


async def test_who_is_not_signed_in_or_may_not_is_told_so(
    browsers: dict[str, Browser], port: int
) -> None:
    entrance = f"{ROOT}/ports/{port}/open"
    nobody = await browsers["nobody"].ide.request("GET", entrance)
    assert (nobody.status_code, nobody.headers["location"]) == (303, f"/w/{WORKSPACE}")
    viewer = await browsers["viewer"].ide.request("GET", entrance, headers=PAGE)
    assert viewer.status_code == 403
    assert "text/html" in viewer.headers["content-type"]
    assert f"Port {port} is private" in viewer.text


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil", "http://evil.example", "", "/\r\nX"])
async def test_nobody_is_led_astray(browsers: dict[str, Browser], port: int, path: str) -> None:
    editor = browsers["terminal"]
    back = await editor.ide.request("GET", f"{ROOT}/ports/{port}/open", params={"path": path})
    query = parse_qs(urlsplit(back.headers["location"]).query)
    assert query["path"] == ["/"]
    forged = editor.url(port, "/.cloudide/sign-in")
    ticket = query["ticket"][0]
    entered = await editor.http.get(forged, params={"ticket": ticket, "path": path})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")


async def test_a_ticket_is_for_one_place_and_a_cookie_too(
    browsers: dict[str, Browser], port: int
) -> None:
    editor = browsers["terminal"]
    async with program(answering(OK)) as other:
        way = await editor.ide.post(f"{ROOT}/ports/{port}/ticket")
        moved = way["url"].replace(f"//{port}--", f"//{other}--")
        assert (await editor.http.get(moved)).status_code == 403
        await editor.enter(port)
        headers = {"Cookie": editor.cookies(port)}
        assert (await editor.get(port, headers=headers)).status_code == 200
        assert (await editor.get(other, headers=headers)).status_code == 401


async def test_a_port_is_shown_to_the_team_that_owns_the_workspace(
    people: People, browsers: dict[str, Browser], port: int
) -> None:
    api = people.server.api
    change = {"visibility": "team"}
    refused = await api.request("PATCH", f"{ROOT}/ports/{port}", json=change)
    assert refused.status_code == 400
    assert "No team owns" in refused.json()["detail"]
    team = (await api.post("/api/v1/teams", json={"name": "Crew"}))["id"]
    # Its plain members may not enter the workspace itself.
    await api.request("PATCH", ROOT, json={"team": team, "team_role": ""})
    ide, id = await people.follow("Mate", await people.link(team=team, role="member"))
    mate = Browser(browsers["terminal"].server, ide)
    entrance = f"{ROOT}/ports/{port}/open"
    assert (await ide.request("GET", entrance)).status_code == 404
    shared = await api.request("PATCH", f"{ROOT}/ports/{port}", json=change)
    assert shared.json()["visibility"] == "team"
    way = await ide.request("GET", entrance)
    assert way.status_code == 303
    await mate.http.get(way.headers["location"])
    assert (await mate.get(port)).text == "ok"
    assert (await ide.request("GET", ROOT)).status_code == 404
    viewer = browsers["viewer"]  # a member of the workspace sees it as well
    await viewer.enter(port)
    assert (await viewer.get(port)).text == "ok"
    # A token that is for less than all does not bring its owner in as one of the team.
    made = await ide.post("/api/v1/tokens", json={"name": "ci", "scopes": ["read", "exec"]})
    bearer = {"Authorization": f"Bearer {made['token']}"}
    fresh = Browser(browsers["terminal"].server, ide)
    assert (await fresh.get(port, headers=bearer)).status_code == 401
    await fresh.close()
    await api.delete(f"/api/v1/teams/{team}/members/{id}")
    assert (await mate.get(port)).status_code == 401
    await api.request("PATCH", f"{ROOT}/ports/{port}", json={"visibility": "private"})
    await api.request("PATCH", ROOT, json={"team": ""})
    await api.delete(f"/api/v1/teams/{team}")
    await mate.close()
    await ide.close()


async def test_a_public_link_opens_until_it_is_withdrawn(
    browsers: dict[str, Browser], port: int
) -> None:
    owner, nobody = browsers["admin"], browsers["nobody"]
    change = {"visibility": "public"}
    denied = await browsers["terminal"].ide.request("PATCH", f"{ROOT}/ports/{port}", json=change)
    assert denied.status_code == 403
    shared = await owner.ide._json("PATCH", f"{ROOT}/ports/{port}", json=change)
    address, _, secret = shared["link"].partition("#")
    assert (await nobody.get(port)).status_code == 401
    assert (await nobody.http.get(address)).status_code == 200
    assert (await nobody.http.post(address, content="wrong")).status_code == 403
    assert (await nobody.http.post(address, content=secret)).status_code == 204
    assert (await nobody.get(port)).text == "ok"
    assert shared["link"] not in str(await owner.ide.get(f"{ROOT}/ports"))
    await owner.ide._json("PATCH", f"{ROOT}/ports/{port}", json=change)  # a new link
    assert (await nobody.get(port)).status_code == 401
    assert (await nobody.http.post(address, content=secret)).status_code == 403
    await owner.ide._json("PATCH", f"{ROOT}/ports/{port}", json={"visibility": "private"})


async def test_a_cookie_outlives_a_restart_of_the_server(
    browsers: dict[str, Browser], port: int
) -> None:
    editor = browsers["terminal"]
    await editor.enter(port)
    await editor.server.kill()
    await editor.server.start()
    await until_linked(editor.server)
    assert (await editor.get(port)).text == "ok"


async def test_a_member_who_is_removed_loses_requests_and_sockets_at_once(
    people: People, browsers: dict[str, Browser]
) -> None:
    guest, id = await people.join("Guest", "terminal")
    browser = Browser(browsers["terminal"].server, guest)

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await reader.read()

    async with serve(echo, "127.0.0.1", 0) as server, program(endless) as events:
        port = port_of(server)
        await browser.enter(port)
        await browser.enter(events)
        async with (
            browser.socket(port) as socket,
            browser.http.stream("GET", browser.url(events)) as response,
        ):
            await socket.send("here")
            assert await message(socket) == "here"
            lines = response.aiter_lines()
            assert await anext(lines) == "data: 1"
            began = time.monotonic()
            await people.server.api.delete(f"{ROOT}/members/{id}")
            assert (await closed(socket))[0] == 4401
            with pytest.raises(Exception, match="peer closed connection"):
                async for _ in lines:
                    pass
            assert time.monotonic() - began < TIMEOUT
        assert (await browser.get(events)).status_code == 401
        with pytest.raises(InvalidStatus):
            await browser.socket(port)
    await browser.close()
    await guest.close()


async def test_signing_out_ends_the_previews(people: People, browsers: dict[str, Browser]) -> None:
    guest, _ = await people.join("Leaver", "terminal")
    browser = Browser(browsers["terminal"].server, guest)
    async with serve(echo, "127.0.0.1", 0) as server:
        port = port_of(server)
        await browser.enter(port)
        async with browser.socket(port) as socket:
            await guest.delete("/api/v1/session")
            assert (await closed(socket))[0] == 4401
        with pytest.raises(InvalidStatus):
            await browser.socket(port)
    await browser.close()
    await guest.close()


# ── other sites ─────────────────────────────────────────────────────────────────────────────────


async def test_another_site_cannot_use_the_cookie(browsers: dict[str, Browser], port: int) -> None:
    editor = browsers["terminal"]
    await editor.enter(port)
    sibling = editor.url(5173, "")
    foreign = editor.url(5173, "", "w1")

    async def status(method: str, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await editor.http.request(method, editor.url(port), headers=named)).status_code

    for origin in ("http://evil.example", foreign, editor.server.url, "null", sibling + "0"):
        assert await status("POST", Origin=origin, Sec_Fetch_Site="same-site") == 403, origin
        assert await status("GET", Origin=origin, Sec_Fetch_Site="cross-site") == 403, origin
    assert await status("GET", Sec_Fetch_Site="same-site", Sec_Fetch_Mode="no-cors") == 403
    own = {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "no-cors"}
    assert await status("GET", **own, Referer=f"{foreign}/x") == 403
    assert await status("GET", **own, Referer=f"{sibling}/x") == 200
    assert await status("POST", Origin=sibling, Sec_Fetch_Site="same-site") == 200
    assert await status("POST", Origin="null", Sec_Fetch_Site="same-origin") == 200
    top = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert await status("GET", Sec_Fetch_Site="cross-site", **top) == 200
    frame = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
    assert await status("GET", Sec_Fetch_Site="cross-site", **frame) == 403


async def test_a_preflight_of_a_sibling_is_answered_without_the_program(
    browsers: dict[str, Browser], port: int
) -> None:
    editor, nobody = browsers["terminal"], browsers["nobody"]
    asks = {
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type, x-own",
    }
    sibling = editor.url(5173, "")
    answer = await nobody.http.options(editor.url(port), headers={**asks, "Origin": sibling})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == sibling
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-methods"] == "PUT"
    assert answer.headers["access-control-allow-headers"] == "content-type, x-own"
    for origin in ("http://evil.example", editor.url(5173, "", "w1")):
        answer = await nobody.http.options(editor.url(port), headers={**asks, "Origin": origin})
        assert answer.status_code == 401
        assert "access-control-allow-origin" not in answer.headers


# ── crafted hosts and targets ───────────────────────────────────────────────────────────────────

_MARK = b"reached the program"


def _hosts(chance: random.Random, right: str, port: int) -> str:
    base = right.partition(".")[2]
    number = chance.choice(
        [
            *(
                "0",
                "65536",
                "99999",
                "-1",
                "+80",
                "080",
                "1e3",
                "0x50",
                "80@evil",
                "",
                " 80",
                "80 ",
            ),
            *("\u0664\u0662", "\uff18\uff10", f"{port}\x00", f"{port}%00", f"{port}/", f"{port}#"),
            *(str(port), str(port + 65536), f"{port}.", f"{port}-", f"{port}\t", f"0{port}"),
        ]
    )
    workspace = chance.choice(
        ["w0", "W0", "w0.", "w1", "w0--w1", "..", "*", "w0%2e", "w0/../w1", "w0@evil", "", "w" * 64]
    )
    tail = chance.choice(
        [
            base,
            base.upper(),
            base.replace(":", ".:"),
            base.partition(":")[0],
            f"{base}.evil.example",
            f"evil.example:{base.partition(':')[2]}",
            f"{base}@127.0.0.1:22",
            "preview.localhost:0",
            f"{base}, {right}",
            base.replace("preview", "previews"),
        ]
    )
    return f"{number}--{workspace}.{tail}"


def _targets(chance: random.Random, right: str) -> str:
    return chance.choice(
        [
            *("/", "/x?y", "//evil.example/", "/..%2f..%2fetc", "/%00", "/\\evil", "*"),
            *(f"http://{right}/", "http://127.0.0.1:22/", "http://169.254.169.254/latest"),
            *("https://evil.example:443/", "evil.example:80", "http://user@evil.example/"),
            *("/.cloudide/sign-in?ticket=x", "/.cloudide/wait", "/.cloudide/../x", "ftp://x/"),
        ]
    )


async def test_crafted_addresses_reach_nothing(
    browsers: dict[str, Browser], soak: Callable[[int, int], int]
) -> None:
    """Every request carries a good cookie; what it reaches is the one program, or nothing."""
    editor = browsers["terminal"]
    chance = random.Random(4)  # noqa: S311 - the same every time
    reached = 0
    wrong: list[tuple[str, list[tuple[str, str]]]] = []

    async def mark(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reached
        while True:
            line, headers = await head(reader)
            named = [(name.lower(), value) for name, value in headers]
            hosts = [value for name, value in named if name == "host"]
            if hosts != [right] or any(name in ("cookie", "authorization") for name, _ in named):
                wrong.append((line, headers))
            reached += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(_MARK), _MARK))

    async with program(mark) as port:
        right = editor.host(port)
        await editor.enter(port)
        cookie = editor.cookies(port)
        session = f"cloudide={editor.ide.http.cookies['cloudide']}"

        async def send(hosts: list[str], target: str, method: str) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", editor.server.port)
            try:
                lines = [f"{method} {target} HTTP/1.1", *(f"Host: {host}" for host in hosts)]
                lines += [f"Cookie: {cookie}; {session}", "Connection: close", "", ""]
                writer.write("\r\n".join(lines).encode())
                async with asyncio.timeout(TIMEOUT):
                    return await reader.read()
            finally:
                writer.transport.abort()

        assert _MARK in await send([right], "/", "GET")
        allowed = 1
        cases = soak(10_000, 1_000)
        for _ in range(cases):
            kind = chance.random()
            if kind < 0.6:
                hosts = [_hosts(chance, right, port)]
            elif kind < 0.8:
                hosts = chance.choice([[right, right], [right, "evil"], ["evil", right], []])
            else:
                hosts = [right]
            method = chance.choice(["GET", "POST", "OPTIONS", "CONNECT", "TRACE", "get"])
            target = _targets(chance, right)
            answer = await send(hosts, target, method)
            if _MARK in answer:
                assert hosts == [right], hosts
                allowed += 1
            # Neither the server's own interface nor another port answers a good cookie of this one.
            assert b"SSH-" not in answer
            assert b'"workspaces"' not in answer
        assert not wrong
        assert reached == allowed > 1
    record(
        22,
        f"{cases:,} crafted URLs with a good cookie: {reached:,} reached the caller's own program, "
        "all others nothing; no cookie of ours arrived.",
    )
