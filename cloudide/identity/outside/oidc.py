"""OpenID Connect: the authorization code flow with PKCE, as a relying party.

    browser → authorization endpoint   state, nonce, S256 challenge
    browser ← with a code, the state and, where the provider says so, its issuer (RFC 9207)
    server  → token endpoint           code, verifier, client secret
    server  ← an id token, signed with a key of the provider's key set

The provider is discovered once in a while; its keys are read again when a token names one that is
not among them, but not more often than once a minute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import ECKey, JWKRegistry, KeySet, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from cloudide.identity.outside.claims import (
    SUBJECT_LIMIT,
    Claims,
    NotVouched,
    refusal,
    require_domain,
)
from cloudide.identity.outside.flows import SECONDS, Flow
from cloudide.identity.outside.outbound import TIMEOUT, Outbound, is_endpoint, note, unavailable
from cloudide.settings import OidcProvider

# Signatures with a key that is public; never "none", and never HMAC, whose key would be public too.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
ALGORITHMS_EDDSA = ("EdDSA", "Ed25519")
LEEWAY = 120  # seconds by which clocks may differ
METADATA_SECONDS = 3600.0
KEYS_SECONDS = 60.0  # between two looks for a key that is not known
KEYS_LIMIT = 50


class _Registry(JWSRegistry):
    max_header_length = 8192  # certificates may lie in it
    max_signature_length = 2048


class Oidc:
    """One provider. `redirect_uri` is its own: an answer that comes there is this provider's."""

    kind = "oidc"

    def __init__(
        self,
        name: str,
        config: OidcProvider,
        redirect_uri: str,
        outbound: Outbound,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.label = config.label or name.title()
        self.issuer = config.issuer
        self.create_accounts = config.create_accounts
        self._config = config
        self._secret = config.secret()
        self._redirect_uri = redirect_uri
        self._outbound = outbound
        self._clock = clock
        self._metadata: dict[str, Any] = {}
        self._metadata_at = -METADATA_SECONDS
        self._keys: KeySet | None = None
        self._renewed_at = -KEYS_SECONDS
        self._lock = asyncio.Lock()  # many who sign in at once ask once

    async def authorization_url(self, flow: Flow) -> str:
        """Where to send the browser. Raises: ProviderUnavailable."""
        metadata = await self._discover()
        client = self._client(metadata)
        url, _ = client.create_authorization_url(
            metadata["authorization_endpoint"],
            state=flow.state,
            code_verifier=flow.verifier,
            nonce=flow.nonce,
        )
        return url

    async def identify(self, flow: Flow, answer: dict[str, str]) -> Claims:
        """Who comes back with this answer of the authorization endpoint (its parameters).

        Raises:
            NotVouched: the provider refused, or its answer is not good. ProviderUnavailable.
        """
        metadata = await self._discover()
        named = answer.get("iss")
        required = metadata.get("authorization_response_iss_parameter_supported") is True
        if named != self.issuer and (named is not None or required):
            raise NotVouched(
                f"This answer is not {self.label}'s, but another provider's. Begin again."
            )
        if error := answer.get("error"):
            raise refusal(self.label, error)
        token = await self._token(metadata, flow, answer.get("code", ""))
        claims = await self._verified(metadata, flow, token)
        name, email = claims.get("name"), _email(claims)
        if not (name and email) and is_endpoint(metadata.get("userinfo_endpoint"), self.issuer):
            more = await self._userinfo(metadata["userinfo_endpoint"], token, claims["sub"])
            name, email = name or more.get("name"), email or _email(more)
        require_domain(self.label, email, self._config.allowed_domains)
        shown = name or claims.get("preferred_username") or email.partition("@")[0]
        return Claims(self.issuer, claims["sub"], shown if isinstance(shown, str) else "", email)

    def _client(self, metadata: dict[str, Any]) -> AsyncOAuth2Client:
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        basic = not isinstance(methods, list) or "client_secret_basic" in methods
        return AsyncOAuth2Client(
            client_id=self._config.client_id,
            client_secret=self._secret or None,
            token_endpoint_auth_method=(
                ("client_secret_basic" if basic else "client_secret_post")
                if self._secret
                else "none"
            ),
            scope=" ".join(dict.fromkeys(["openid", *self._config.scopes])),
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            **self._outbound.options,
        )

    async def _token(self, metadata: dict[str, Any], flow: Flow, code: str) -> dict[str, Any]:
        endpoint = metadata["token_endpoint"]
        if not code:
            raise NotVouched(f"{self.label} sent you back without a code. Begin again.")
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._client(metadata).fetch_token(
                    endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=flow.verifier,
                    redirect_uri=self._redirect_uri,
                )
        except OAuthError as error:
            raise refusal(self.label, str(error.error)) from error
        except (httpx2.HTTPError, TimeoutError, ValueError, TypeError, RecursionError) as error:
            raise unavailable(self.label, endpoint, error) from error

    async def _verified(
        self, metadata: dict[str, Any], flow: Flow, token: dict[str, Any]
    ) -> dict[str, Any]:
        """The claims of the id token (OpenID Connect Core section 3.1.3.7)."""
        text, access = token.get("id_token"), token.get("access_token")
        if not isinstance(text, str) or not isinstance(access, str):
            raise NotVouched(f"{self.label} sent no id token; is the scope openid allowed there?")
        offered = metadata.get("id_token_signing_alg_values_supported")
        allowed = [
            each
            for each in (*ALGORITHMS, *ALGORITHMS_EDDSA)
            if not isinstance(offered, list) or each in offered
        ]
        if not allowed:
            raise NotVouched(f"{self.label} signs with nothing that this server accepts.")
        registry = _Registry(algorithms=allowed, strict_check_header=False)
        try:
            try:
                decoded = jwt.decode(text, await self._key_set(metadata), registry=registry)
            except InvalidKeyIdError:
                keys = await self._key_set(metadata, renew=True)
                decoded = jwt.decode(text, keys, registry=registry)
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self._config.client_id},
                },
                {
                    "nonce": flow.nonce,
                    "client_id": self._config.client_id,
                    "access_token": access,
                },
            )
            claims.validate(leeway=LEEWAY)
            if claims["iat"] < time.time() - SECONDS - LEEWAY:
                raise ValueError("iat: the token was made long ago")
            if not 0 < len(claims["sub"]) <= SUBJECT_LIMIT:
                raise ValueError("sub: it is empty or too long")
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError) as error:
            note(self.label, "id token", error)
            raise NotVouched(
                f"What {self.label} sent is not a valid proof of who you are "
                f"({type(error).__name__}). Begin again; if that does not help, tell whoever runs "
                "this server, whose log says more."
            ) from error
        return dict(claims)

    async def _userinfo(self, url: str, token: dict[str, Any], subject: str) -> dict[str, Any]:
        """What the id token does not say (OpenID Connect Core section 5.3)."""
        found = await self._outbound.get_json(self.label, url, token["access_token"])
        if not isinstance(found, dict) or found.get("sub") != subject:
            raise NotVouched(f"{self.label} answered about somebody else. Begin again.")
        return found

    async def _discover(self) -> dict[str, Any]:
        """The provider's metadata (OpenID Connect Discovery section 4)."""
        async with self._lock:
            if self._clock() < self._metadata_at + METADATA_SECONDS:
                return self._metadata
            url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = await self._outbound.get_json(self.label, url)
            if not isinstance(found, dict) or found.get("issuer") != self.issuer:
                raise unavailable(self.label, url, ValueError("it names another issuer"))
            for each in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not is_endpoint(found.get(each), self.issuer):
                    raise unavailable(self.label, url, ValueError(f"its {each} is no address"))
            self._metadata, self._metadata_at = found, self._clock()
            self._keys = None  # a key that was withdrawn is not good for ever
            return found

    async def _key_set(self, metadata: dict[str, Any], *, renew: bool = False) -> KeySet:
        async with self._lock:
            if self._keys is not None:
                if not renew or self._clock() < self._renewed_at + KEYS_SECONDS:
                    return self._keys
                self._renewed_at = self._clock()
            url = metadata["jwks_uri"]
            keys = _keys(await self._outbound.get_json(self.label, url))
            if not keys:
                raise unavailable(self.label, url, ValueError("there is no key for signatures"))
            self._keys = keys
            return keys


def _keys(found: object) -> KeySet:
    """The public keys for signatures; what is not understood is left out (RFC 7517 section 5)."""
    listed = found.get("keys") if isinstance(found, dict) else None
    keys: list[Any] = []
    for each in (listed if isinstance(listed, list) else [])[:KEYS_LIMIT]:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        try:
            key = JWKRegistry.import_key(each)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if isinstance(key, (RSAKey, ECKey, OKPKey)):
            keys.append(key)
    return KeySet(keys)


def _email(claims: dict[str, Any]) -> str:
    email = claims.get("email")
    return email if isinstance(email, str) and claims.get("email_verified") is True else ""
