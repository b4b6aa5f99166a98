"""Signing in by a provider, with replies good and hostile; every one from end to end."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from identity_provider import (
    CLIENT,
    SECRET,
    IdentityProvider,
    configured,
    endless,
    identity_provider,
)
from joserfc.jwk import OctKey, RSAKey
from promises.uncontained import Uncontained, uncontained
from server import ADMIN_TOKEN, Api
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.responses import StreamingResponse as Streamed

Edit = Callable[[IdentityProvider], object]

BROKEN = (
    *("huge", "endless", "compressed", "renamed", "redirecting", "page", "list", "deep"),
    *("failing", "unencrypted", "file", "incomplete"),
)


@pytest.fixture(scope="module")
async def idp() -> AsyncIterator[IdentityProvider]:
    async with identity_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
async def site(
    idp: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Uncontained]:
    oidc = json.loads(configured(idp, "good", "other", "weak", "closed", "domain", *BROKEN))
    oidc["closed"]["create_accounts"] = False
    oidc["domain"]["allowed_domains"] = ["Company.example"]
    github = {"client_id": CLIENT, "client_secret": SECRET, "create_accounts": True}
    github |= {"host": idp.root.removeprefix("http://"), "allowed_domains": ["example.org"]}
    folder = tmp_path_factory.mktemp("providers") / "site"
    folder.mkdir()
    async with uncontained(folder, oidc=json.dumps(oidc), github=json.dumps(github)) as server:
        yield server


@pytest.fixture
async def api(site: Uncontained, idp: IdentityProvider) -> AsyncIterator[Api]:
    """A browser that has never been here, and a provider that behaves."""
    idp.reset()
    api = Api(site.url, headers={"Origin": site.url})
    yield api
    await api.close()


async def authorize(api: Api, provider: str = "good", **begin: Any) -> str:
    """Go to the provider; returns the path and query by which it sends back."""
    way = await api.post(f"/api/v1/providers/{provider}/begin", json=begin)
    async with httpx.AsyncClient() as outside:
        location = (await outside.get(way["url"])).headers["location"]
    parts = urlsplit(location)
    assert parts.path == f"/api/v1/providers/{provider}/callback"
    return f"{parts.path}?{parts.query}"


async def sign_in(api: Api, provider: str = "good", **begin: Any) -> httpx.Response:
    return await api.request("GET", await authorize(api, provider, **begin))


async def signed_in(api: Api) -> bool:
    return (await api.request("GET", "/api/v1/session")).status_code == 200


async def people(site: Uncontained) -> set[str]:
    return {each["id"] for each in (await site.api.get("/api/v1/users"))["users"]}


# ── replies that are as they should be ──────────────────────────────────────────────────────────


def rotate(idp: IdentityProvider) -> None:
    key = RSAKey.generate_key(2048, {"kid": f"key {time.monotonic_ns()}"})
    idp.published = [key, idp.rsa, idp.ec]
    idp.sign = lambda claims: idp.signed(claims, key)


def by_userinfo(idp: IdentityProvider) -> None:
    idp.userinfo = idp.person
    idp.person = {"sub": idp.person["sub"]}


def at_hash(token: str) -> str:
    half = hashlib.sha256(token.encode()).digest()[:16]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode()


def claims(**changes: Any) -> Edit:
    """Claims as given; None: left out."""

    def edit(claims: dict[str, Any]) -> None:
        claims.update(changes)
        for name in [name for name, value in changes.items() if value is None]:
            del claims[name]

    return lambda idp: setattr(idp, "edit", edit)


def times(**seconds: float) -> Edit:
    """Times in seconds from now."""
    return lambda idp: claims(**{name: int(time.time() + s) for name, s in seconds.items()})(idp)


GOOD: dict[str, Edit] = {
    "as it is": lambda idp: None,
    "an audience in a list": claims(aud=[CLIENT]),
    "two audiences and who asked": claims(aud=[CLIENT, "other"], azp=CLIENT),
    "an access token's hash": claims(at_hash=at_hash("an access token")),
    "a clock that is ahead": times(iat=90),
    "a clock that is behind": times(iat=-90, exp=-90),
    "another algorithm": lambda idp: setattr(
        idp, "sign", lambda claims: idp.signed(claims, alg="PS256")
    ),
    "a curve": lambda idp: setattr(
        idp, "sign", lambda claims: idp.signed(claims, idp.ec, alg="ES256")
    ),
    "a key of a kind that nobody knows": lambda idp: idp.published.append({"kty": "PQ", "x": "1"}),
    "claims from the userinfo endpoint": by_userinfo,
    "no email, no name": lambda idp: (
        idp.person.update(name="", email=""),
        idp.userinfo.update(sub=idp.person["sub"]),
    ),
    "a name that nobody may have": lambda idp: idp.person.update(name="\u202eada"),
    "a key that has just been rotated": rotate,  # the last: keys are looked for once a minute
}


@pytest.mark.parametrize("reply", GOOD)
async def test_a_good_reply_signs_in(api: Api, idp: IdentityProvider, reply: str) -> None:
    GOOD[reply](idp)
    response = await sign_in(api, path="/w/w0")
    assert (response.status_code, response.headers.get("location")) == (303, "/w/w0"), response.text
    user = (await api.get("/api/v1/session"))["user"]
    assert user["name"] == "Ada Lovelace"  # the same account each time, as it was first called
    listed = (await api.get("/api/v1/identities"))["identities"]
    assert [each["label"] for each in listed] == ["The Company"]
    assert "cloudide-flow" not in api.http.cookies


# ── replies that are not ────────────────────────────────────────────────────────────────────────


def signing(make: Callable[[IdentityProvider, dict[str, Any]], str]) -> Edit:
    return lambda idp: setattr(idp, "sign", lambda claims: make(idp, claims))


def part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def with_public_key(idp: IdentityProvider, claims: dict[str, Any]) -> str:
    content = f"{part({'alg': 'HS256', 'kid': 'first'})}.{part(claims)}"
    made = hmac.digest(idp.rsa.as_pem(private=False), content.encode(), "sha256")
    return f"{content}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


def tampered(idp: IdentityProvider, claims: dict[str, Any]) -> str:
    head, _, signature = idp.signed(claims).split(".")
    return f"{head}.{part({**claims, 'sub': 'somebody else'})}.{signature}"


def with_own_key(idp: IdentityProvider, claims: dict[str, Any]) -> str:
    """A key in the header, of whoever wrote it, and an address to fetch it from."""
    key = RSAKey.generate_key(2048, {"kid": "own"})
    header = {"jwk": key.as_dict(private=False), "jku": f"{idp.root}/own/keys"}
    return idp.signed(claims, key, **header)


def symmetric(idp: IdentityProvider) -> None:
    key = OctKey.import_key("a key that everybody may read, which is long", {"kid": "shared"})
    idp.published.append(key.as_dict(private=True))
    idp.sign = lambda claims: idp.signed(claims, key, alg="HS256")


def answering(make: Callable[[], Response]) -> Edit:
    return lambda idp: setattr(idp, "token_response", make)


def sending(**changes: str | None) -> Edit:
    """Parameters of the answer that the browser brings, as given; None: left out."""

    def edit(query: dict[str, str]) -> None:
        for name, value in changes.items():
            if value is None:
                del query[name]
            else:
                query[name] = value

    return lambda idp: setattr(idp, "edit_query", edit)


def without(name: str) -> Edit:
    return lambda idp: setattr(idp, "edit_answer", lambda answer: answer.pop(name))


def of_somebody_else(idp: IdentityProvider) -> None:
    by_userinfo(idp)
    idp.userinfo = {**idp.userinfo, "sub": "somebody else"}


NOT_NUMBER = float("nan")
# What is wrong; the status, and what the page or the log says of it.
HOSTILE: dict[str, tuple[Edit, int, str]] = {
    "another nonce": (claims(nonce="another"), 403, "'nonce'"),
    "no nonce": (claims(nonce=None), 403, "'nonce'"),
    "another audience": (claims(aud="another"), 403, "'aud'"),
    "no audience": (claims(aud=None), 403, "'aud'"),
    "two audiences, and not who asked": (claims(aud=[CLIENT, "another"]), 403, "'azp'"),
    "another who asked": (claims(azp="another"), 403, "'azp'"),
    "another issuer": (claims(iss="https://provider.example"), 403, "'iss'"),
    "no issuer": (claims(iss=None), 403, "'iss'"),
    "no subject": (claims(sub=None), 403, "'sub'"),
    "an empty subject": (claims(sub=""), 403, "sub:"),
    "a number as subject": (claims(sub=1815), 403, "'sub'"),
    "a subject without end": (claims(sub="x" * 256), 403, "sub:"),
    "expired": (times(exp=-3600), 403, "is expired"),
    "no expiry": (claims(exp=None), 403, "'exp'"),
    "an expiry that is no number": (claims(exp=NOT_NUMBER), 403, "'exp'"),
    "from the future": (times(iat=3600, exp=7200), 403, "in the future"),
    "from long ago": (times(iat=-3600), 403, "long ago"),
    "no time": (claims(iat=None), 403, "'iat'"),
    "not yet valid": (times(nbf=3600), 403, "not yet valid"),
    "a hash of another access token": (claims(at_hash=at_hash("another")), 403, "'at_hash'"),
    "alg none": (
        signing(lambda idp, claims: f"{part({'alg': 'none'})}.{part(claims)}."),
        403,
        "'none' is not",
    ),
    "HMAC with the public key": (signing(with_public_key), 403, "'HS256' is not allowed"),
    "HMAC with the client's secret": (
        signing(
            lambda idp, claims: idp.signed(claims, OctKey.import_key(SECRET), alg="HS256", kid="x")
        ),
        403,
        "'HS256' is not allowed",
    ),
    "HMAC with a key that is published": (symmetric, 403, "'HS256' is not allowed"),
    "another key of that name": (
        signing(lambda idp, claims: idp.signed(claims, RSAKey.generate_key(2048), kid="first")),
        403,
        "BadSignature",
    ),
    "a key that is not published": (
        signing(lambda idp, claims: idp.signed(claims, kid="unknown")),
        403,
        "'unknown'",
    ),
    "a key of its own": (signing(with_own_key), 403, "'own'"),
    "claims that were changed": (signing(tampered), 403, "BadSignature"),
    "an extension that has to be understood": (
        signing(
            lambda idp, claims: (
                f"{part({'alg': 'RS256', 'kid': 'first', 'crit': ['x'], 'x': 1})}."
                f"{idp.signed(claims).split('.', 1)[1]}"
            )
        ),
        403,
        "UnsupportedHeader",
    ),
    "no token at all": (signing(lambda idp, claims: "not a token"), 403, "DecodeError"),
    "claims that are a list": (
        signing(lambda idp, claims: ".".join([idp.signed(claims).split(".")[0], part([]), "x"])),
        403,
        "BadSignature",
    ),
    "no id token": (without("id_token"), 403, "no id token"),
    "no access token": (without("access_token"), 403, "no id token"),
    "userinfo of somebody else": (of_somebody_else, 403, "about somebody else"),
    "invalid_grant": (
        answering(lambda: JSONResponse({"error": "invalid_grant"}, 400)),
        403,
        "(invalid_grant)",
    ),
    "an error of the token endpoint": (answering(lambda: JSONResponse({}, 500)), 503, "Status/500"),
    "a page of the token endpoint": (
        answering(lambda: HTMLResponse("<h1>Hello</h1>")),
        503,
        "not a JSON object",
    ),
    "a list of the token endpoint": (answering(lambda: JSONResponse([])), 503, "not a JSON object"),
    "a redirect of the token endpoint": (
        answering(lambda: RedirectResponse("http://localhost:1/elsewhere", 307)),
        503,
        "Status/307",
    ),
    "a huge answer of the token endpoint": (
        answering(lambda: JSONResponse({"x": "x" * 2**20})),
        503,
        "262,144",
    ),
    "an endless answer of the token endpoint": (
        answering(lambda: Streamed(endless())),
        503,
        "262,144",
    ),
    "the issuer of another provider": (
        sending(iss="https://provider.example"),
        403,
        "another provider",
    ),
    "no issuer, which was promised": (sending(iss=None), 403, "another provider"),
    "access_denied": (sending(error="access_denied"), 403, "you did not agree"),
    "an error that is a text": (sending(error="<b>Call 555-0100</b>"), 403, "(?)"),
    "no code": (sending(code=None), 403, "without a code"),
    "a code that was never given": (sending(code="another"), 403, "(invalid_grant)"),
    "another state": (sending(state="another"), 400, "not begun in this"),
    "no state": (sending(state=None), 400, "not begun in this"),
    "a code without end": (sending(code="x" * 5000), 400, "not an answer"),
}


@pytest.mark.parametrize("reply", HOSTILE)
async def test_a_hostile_reply_signs_nobody_in(
    api: Api, site: Uncontained, idp: IdentityProvider, reply: str
) -> None:
    edit, status, says = HOSTILE[reply]
    seen = site.log.stat().st_size
    idp.person["sub"] = f"{reply}'s"  # nobody who is known, so that no account would be made
    edit(idp)
    before = await people(site)
    response = await sign_in(api)
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("text/html")
    assert says in site.log.read_text()[seen:].replace("\\'", "'") + html.unescape(response.text)
    assert "Call 555" not in response.text
    assert "cloudide" not in api.http.cookies
    assert not await signed_in(api)
    assert await people(site) == before
    assert not any("own" in path for path in idp.asked)


@pytest.mark.parametrize("tenant", BROKEN)
async def test_a_provider_that_publishes_something_else_is_not_used(
    api: Api, idp: IdentityProvider, tenant: str
) -> None:
    path = f"/api/v1/providers/{tenant}/begin"
    response = await api.request("POST", path, json={})
    assert response.status_code == 503
    assert "The Company did not answer as it should" in response.json()["detail"]
    assert len(idp.asked) == 1  # and nothing that it named


@pytest.mark.parametrize(
    "make",
    [
        lambda: JSONResponse({"keys": "none"}),
        lambda: JSONResponse({"keys": [{"kty": "RSA"}, 1, {"kty": "EC", "crv": "x"}]}),
        lambda: RedirectResponse("http://localhost:1/elsewhere"),
        lambda: JSONResponse({"keys": [], "x": "x" * 2**20}),
    ],
    ids=["none", "broken", "elsewhere", "huge"],
)
async def test_keys_that_are_none(
    api: Api, idp: IdentityProvider, make: Callable[[], Response]
) -> None:
    # Of this provider no keys are known yet; that it has none is not remembered.
    idp.keys_response = make
    response = await sign_in(api, "other")
    assert response.status_code == 503
    assert not await signed_in(api)


async def test_a_provider_that_signs_with_secrets_alone_is_not_believed(
    api: Api, idp: IdentityProvider
) -> None:
    response = await sign_in(api, "weak")
    assert (response.status_code, "accepts" in response.text) == (403, True)


# ── browsers and flows ──────────────────────────────────────────────────────────────────────────


async def test_an_answer_is_for_the_browser_that_asked_and_used_once(
    api: Api, site: Uncontained
) -> None:
    answer = await authorize(api)
    other = Api(site.url)
    for cookies in ({}, {"cloudide-flow": "x" * 43}):
        other.http.cookies = httpx.Cookies(cookies)
        stolen = await other.request("GET", answer)
        assert (stolen.status_code, "not begun in this browser" in stolen.text) == (400, True)
        assert not await signed_in(other)
    flow = dict(api.http.cookies)
    assert (await api.request("GET", answer)).status_code == 303
    other.http.cookies = httpx.Cookies(flow)
    assert (await other.request("GET", answer)).status_code == 400
    await other.close()


async def test_an_answer_is_for_the_provider_that_was_asked(api: Api) -> None:
    answer = await authorize(api)
    mixed = await api.request("GET", answer.replace("/good/", "/other/"))
    assert mixed.status_code == 400
    assert (await api.request("GET", answer)).status_code == 303  # it was not used up by that


async def test_a_code_works_once(api: Api, idp: IdentityProvider) -> None:
    first = parse_qs(urlsplit(await authorize(api)).query)
    grant = dict(idp.grants[first["code"][0]])
    second = await authorize(api)
    query = {name: values[0] for name, values in parse_qs(urlsplit(second).query).items()}
    query["code"] = first["code"][0]  # another sign-in's, for which there is another verifier
    response = await api.request("GET", f"/api/v1/providers/good/callback?{urlencode(query)}")
    assert (response.status_code, "invalid_grant" in response.text) == (403, True)
    assert grant["code_challenge_method"] == "S256"


async def test_a_parameter_that_comes_twice(api: Api) -> None:
    answer = await authorize(api)
    assert (await api.request("GET", f"{answer}&code=another")).status_code == 400


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", ""]
)
async def test_nobody_is_sent_elsewhere_afterwards(api: Api, path: str) -> None:
    assert (await sign_in(api, path=path)).headers["location"] == "/"


async def test_the_session_before_ends(api: Api, site: Uncontained) -> None:
    await sign_in(api)
    before = api.http.cookies["cloudide"]
    await sign_in(api)
    assert api.http.cookies["cloudide"] != before
    other = Api(site.url, cookies={"cloudide": before})
    assert not await signed_in(other)
    await other.close()
    assert len((await api.get("/api/v1/sessions"))["sessions"]) >= 1


async def test_who_is_deactivated_is_refused(
    api: Api, site: Uncontained, idp: IdentityProvider
) -> None:
    idp.person["sub"] = "to be deactivated"
    await sign_in(api)
    user = (await api.get("/api/v1/session"))["user"]["id"]
    token = site.sign_in_url.partition("token=")[2]
    owner = Api(site.url, headers={"Origin": site.url})
    await owner.request("POST", "/api/v1/session", json={"token": token, "name": "Owner"})
    change = {"active": False}
    assert (await owner.request("PATCH", f"/api/v1/users/{user}", json=change)).status_code == 200
    response = await sign_in(api)
    assert (response.status_code, "deactivated" in response.text) == (403, True)
    await owner.close()


async def test_who_may_have_an_account(api: Api, site: Uncontained, idp: IdentityProvider) -> None:
    before = await people(site)
    idp.person["sub"] = "somebody new"
    refused = await sign_in(api, "closed")
    assert (refused.status_code, "No account here is linked" in refused.text) == (403, True)
    for email, verified in (
        ("ada@example.org", True),
        ("ada@company.example", False),
        ("ada@company.example.evil", True),
        ("ada@evil-company.example", True),
    ):
        idp.person |= {"email": email, "email_verified": verified}
        idp.userinfo = idp.person
        refused = await sign_in(api, "domain")
        assert (refused.status_code, "@Company.example" in refused.text) == (403, True)
    assert await people(site) == before
    idp.person |= {"email": "ada@company.example", "email_verified": True}
    assert (await sign_in(api, "domain")).status_code == 303
    assert len(await people(site)) == len(before) + 1


# ── linked accounts ─────────────────────────────────────────────────────────────────────────────


async def test_an_account_is_linked_and_unlinked_but_for_the_last(
    api: Api, site: Uncontained, idp: IdentityProvider
) -> None:
    idp.person["sub"] = "grace"
    await sign_in(api)
    user = (await api.get("/api/v1/session"))["user"]["id"]
    idp.person |= {"sub": "grace elsewhere", "email": "grace@navy.example"}
    linked = await sign_in(api, "other", link=True, path="/account")
    assert (linked.status_code, linked.headers["location"]) == (303, "/account")
    await sign_in(api, "other", link=True)  # once more changes nothing
    first, second = (await api.get("/api/v1/identities"))["identities"]
    assert second["name"] == "grace@navy.example"
    browser = Api(site.url, headers={"Origin": site.url})
    await sign_in(browser, "other")
    assert (await browser.get("/api/v1/session"))["user"]["id"] == user
    # By issuer and subject: the same subject at another issuer, or the same email, is another.
    await sign_in(browser, "good")
    assert (await browser.get("/api/v1/session"))["user"]["id"] != user
    taken = await sign_in(browser, "other", link=True)
    assert (taken.status_code, "somebody else here" in taken.text) == (409, True)

    await api.delete(f"/api/v1/identities/{first['id']}")
    last = await api.request("DELETE", f"/api/v1/identities/{second['id']}")
    assert (last.status_code, "last way to sign in" in last.json()["detail"]) == (409, True)
    foreign = await browser.request("DELETE", f"/api/v1/identities/{second['id']}")
    assert foreign.status_code == 404
    body = {"email": "grace@example.org", "password": "correct horse battery staple"}
    await api.put("/api/v1/account/password", json=body)
    await api.delete(f"/api/v1/identities/{second['id']}")
    assert (await api.get("/api/v1/identities"))["identities"] == []
    await browser.close()


async def test_linking_needs_the_same_person_at_its_end(
    api: Api, site: Uncontained, idp: IdentityProvider
) -> None:
    refused = await api.request("POST", "/api/v1/providers/good/begin", json={"link": True})
    assert refused.status_code == 403
    program = Api(site.url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    refused = await program.request("POST", "/api/v1/providers/good/begin", json={"link": True})
    assert refused.status_code == 403
    await program.close()
    await sign_in(api)
    idp.person["sub"] = "meanwhile"
    answer = await authorize(api, "other", link=True)
    del api.http.cookies["cloudide"]
    refused = await api.request("GET", answer)
    assert (refused.status_code, "meanwhile" in refused.text) == (403, True)


async def test_what_happens_is_recorded(api: Api, site: Uncontained, idp: IdentityProvider) -> None:
    idp.person["sub"] = "on record"
    await sign_in(api)
    idp.person["sub"] = "on record elsewhere"
    await sign_in(api, "other", link=True)
    user = (await api.get("/api/v1/session"))["user"]["id"]
    [_, second] = (await api.get("/api/v1/identities"))["identities"]
    await api.delete(f"/api/v1/identities/{second['id']}")
    idp.edit = lambda claims: claims.update(nonce="another")
    await sign_in(api)
    await api.request("GET", "/api/v1/providers/good/callback?state=guessed")
    records = (await site.api.get("/api/v1/audit?limit=4"))["records"]
    assert [(each["action"], each["outcome"]) for each in records] == [
        ("session.begin", "403 Signing in did not work"),
        ("identity.unlink", "done"),
        ("identity.link", "done"),
        ("session.begin", "done"),
    ]
    assert {each["user"] for each in records[1:]} == {user}
    assert records[2]["detail"]["subject"] == "on record elsewhere"
    log = site.log.read_text()
    assert SECRET not in log
    assert "an access token" not in log


# ── GitHub ──────────────────────────────────────────────────────────────────────────────────────


async def test_github_signs_in_by_its_number(
    api: Api, site: Uncontained, idp: IdentityProvider
) -> None:
    idp.userinfo = {"id": 583231, "login": "octocat", "name": None}
    assert (await sign_in(api, "github")).status_code == 303
    user = (await api.get("/api/v1/session"))["user"]
    assert user["name"] == "octocat"
    [identity] = (await api.get("/api/v1/identities"))["identities"]
    assert (identity["label"], identity["issuer"]) == ("GitHub", idp.root)
    assert identity["name"] == "ada@example.org"  # verified, and of the domain that is allowed
    idp.userinfo["login"] = "renamed"
    await sign_in(api, "github")
    assert (await api.get("/api/v1/session"))["user"]["id"] == user["id"]


@pytest.mark.parametrize(
    "answer",
    [{}, {"id": "583231"}, {"id": True}, {"id": -1}, []],
    ids=["no", "text", "true", "-1", "list"],
)
async def test_a_github_that_does_not_say_who(api: Api, idp: IdentityProvider, answer: Any) -> None:
    idp.userinfo = answer
    assert (await sign_in(api, "github")).status_code == 403
    assert not await signed_in(api)


async def test_a_github_code_that_is_none(api: Api, idp: IdentityProvider) -> None:
    sending(code="another")(idp)
    response = await sign_in(api, "github")
    assert (response.status_code, "bad_verification_code" in response.text) == (403, True)
