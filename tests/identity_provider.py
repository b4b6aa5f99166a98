"""A small OpenID Connect provider, and a GitHub, that may be told to misbehave.

Each path below its root is an issuer of its own: `/good` answers as the standards say, and as a
test edits; the others have something the matter with what they publish.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

CLIENT, SECRET = "cloudide", "the client's secret"
CODES = JWSRegistry(algorithms=["RS256", "PS256", "ES256", "HS256"])


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b" " * 65536
        await asyncio.sleep(0)


class IdentityProvider:
    def __init__(self, port: int) -> None:
        self.root = f"http://localhost:{port}"
        self.rsa = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
        self.ec = ECKey.generate_key("P-256", {"kid": "curve"})
        self.asked: list[str] = []  # paths, in order
        self.interactive = False  # whether somebody has to press a button
        self.reset()

    def reset(self) -> None:
        self.person: dict[str, Any] = {
            "sub": "ada-1815",
            "name": "Ada Lovelace",
            "email": "ada@example.org",
            "email_verified": True,
        }
        self.published: list[Any] = [self.rsa, self.ec]
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.edit: Callable[[dict[str, Any]], object] = lambda claims: None
        self.edit_answer: Callable[[dict[str, Any]], object] = lambda answer: None
        self.edit_query: Callable[[dict[str, str]], object] = lambda query: None
        self.token_response: Callable[[], Response] | None = None
        self.keys_response: Callable[[], Response] | None = None
        self.userinfo: dict[str, Any] = {}
        self.grants: dict[str, dict[str, str]] = {}
        self.asked.clear()

    def signed(self, claims: dict[str, Any], key: Any = None, **header: Any) -> str:
        key = key or self.rsa
        header = {"alg": "RS256", "kid": key.kid, **header}
        return jwt.encode(header, claims, key, registry=CODES)

    # ── what it serves ──────────────────────────────────────────────────────────────────────────

    def metadata(self, tenant: str) -> dict[str, Any]:
        issuer = f"{self.root}/{tenant}"
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/keys",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "authorization_response_iss_parameter_supported": tenant == "good",
        }

    async def discovery(self, request: Request) -> Response:
        tenant = request.path_params["tenant"]
        self.asked.append(request.url.path)
        found = self.metadata(tenant)
        match tenant:
            case "huge":
                found["padding"] = "x" * 1024 * 1024
            case "endless":
                return StreamingResponse(endless(), media_type="application/json")
            case "compressed":
                return Response(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
            case "renamed":
                found["issuer"] = f"{self.root}/good"
            case "redirecting":
                return RedirectResponse(f"{self.root}/good/.well-known/openid-configuration", 302)
            case "page":
                return HTMLResponse("<h1>Under maintenance</h1>")
            case "list":
                return JSONResponse([found])
            case "deep":
                return Response(b"[" * 100_000)
            case "failing":
                return JSONResponse({}, 500)
            case "unencrypted":
                found["token_endpoint"] = "http://provider.example/token"
            case "file":
                found["jwks_uri"] = "file:///etc/passwd"
            case "incomplete":
                del found["token_endpoint"]
            case "weak":
                found["id_token_signing_alg_values_supported"] = ["HS256", "none"]
        return JSONResponse(found)

    async def keys(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        if self.keys_response is not None:
            return self.keys_response()
        published = [
            each if isinstance(each, dict) else {**each.as_dict(private=False)}
            for each in self.published
        ]
        return JSONResponse({"keys": published})

    async def authorize(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        asked = dict(request.query_params)
        code = secrets.token_urlsafe(8)
        self.grants[code] = asked
        query = {"code": code, "state": asked["state"]}
        if request.path_params.get("tenant") == "good":
            query["iss"] = f"{self.root}/good"
        self.edit_query(query)
        back = f"{asked['redirect_uri']}?{urlencode(query)}"
        if self.interactive:
            refused = urlencode({**query, "code": "", "error": "access_denied"})
            links = (
                f'<a href="{html.escape(back)}">Allow</a> '
                f'<a href="{html.escape(asked["redirect_uri"])}?{html.escape(refused)}">Refuse</a>'
            )
            return HTMLResponse(f"<h1>Sign in to the company</h1>{links}")
        return RedirectResponse(back, 302)

    def redeem(self, form: dict[str, str]) -> dict[str, str] | None:
        """What was asked for with this code, once, if the secrets fit (RFC 7636 section 4.6)."""
        asked = self.grants.pop(form.get("code", ""), None)
        if asked is None or asked["redirect_uri"] != form.get("redirect_uri"):
            return None
        challenge = base64.urlsafe_b64encode(
            hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        )
        assert asked["code_challenge_method"] == "S256"
        return asked if challenge.rstrip(b"=").decode() == asked["code_challenge"] else None

    async def token(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        form = dict(parse_qsl((await request.body()).decode()))
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        assert request.headers["authorization"] == f"Basic {expected}"
        asked = self.redeem(form)
        if asked is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if self.token_response is not None:
            return self.token_response()
        now = int(time.time())
        claims = {
            "iss": f"{self.root}/{request.path_params['tenant']}",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.person,
        }
        self.edit(claims)
        answer = {"access_token": "an access token", "token_type": "Bearer"}
        answer["id_token"] = self.sign(claims)
        self.edit_answer(answer)
        return Response(json.dumps(answer), media_type="application/json")

    async def about(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        assert request.headers["authorization"] == "Bearer an access token"
        return JSONResponse(self.userinfo)

    # ── GitHub ──────────────────────────────────────────────────────────────────────────────────

    async def github_token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        assert form["client_secret"] == SECRET
        if self.redeem(form) is None:
            return JSONResponse(
                {"error": "bad_verification_code"}
            )  # with status 200, as GitHub does
        return JSONResponse({"access_token": "gho_token", "token_type": "bearer"})

    async def github_user(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer gho_token"
        return JSONResponse(self.userinfo)

    async def github_emails(self, request: Request) -> Response:
        verified = [
            {"email": "ada@users.example", "verified": True, "primary": True},
            {"email": "ada@example.org", "verified": True, "primary": False},
            {"email": "ada@company.example", "verified": False, "primary": False},
        ]
        return JSONResponse(verified)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/login/oauth/authorize", self.authorize),
                Route("/login/oauth/access_token", self.github_token, methods=["POST"]),
                Route("/api/v3/user", self.github_user),
                Route("/api/v3/user/emails", self.github_emails),
                Route("/{tenant}/.well-known/openid-configuration", self.discovery),
                Route("/{tenant}/authorize", self.authorize),
                Route("/{tenant}/token", self.token, methods=["POST"]),
                Route("/{tenant}/keys", self.keys),
                Route("/{tenant}/userinfo", self.about),
            ]
        )


class _Quiet(uvicorn.Server):
    """In the tests' own process, whose signals are theirs."""

    @asynccontextmanager
    async def running(self, listening: socket.socket) -> AsyncIterator[None]:
        task = asyncio.create_task(self._serve([listening]))
        try:
            yield
        finally:
            self.should_exit = True
            await task


@asynccontextmanager
async def identity_provider() -> AsyncIterator[IdentityProvider]:
    listening = socket.create_server(("127.0.0.1", 0))
    provider = IdentityProvider(listening.getsockname()[1])
    config = uvicorn.Config(
        provider.app(), log_level="error", lifespan="off", timeout_graceful_shutdown=1
    )
    async with _Quiet(config).running(listening):
        yield provider


def configured(provider: IdentityProvider, *tenants: str, **options: Any) -> str:
    """CLOUDIDE_OIDC for these issuers."""
    return json.dumps(
        {
            each: {
                "issuer": f"{provider.root}/{each}",
                "client_id": CLIENT,
                "client_secret": SECRET,
                "label": "The Company",
                "create_accounts": True,
                **options,
            }
            for each in tenants
        }
    )
