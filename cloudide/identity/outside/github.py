"""GitHub, and GitHub Enterprise: OAuth 2.0 with PKCE; there are no id tokens, so its API is asked.

An account is known by its number, which stays when somebody changes their name.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from cloudide.identity.outside.claims import Claims, NotVouched, refusal, require_domain
from cloudide.identity.outside.flows import Flow
from cloudide.identity.outside.outbound import TIMEOUT, Outbound, unavailable
from cloudide.settings import GitHubProvider, is_loopback

SCOPE = "read:user user:email"


class GitHub:
    kind = name = "github"

    def __init__(self, config: GitHubProvider, redirect_uri: str, outbound: Outbound) -> None:
        self.label = config.label
        self.create_accounts = config.create_accounts
        plain = is_loopback(urlsplit(f"//{config.host}").hostname or "")
        self.issuer = f"{'http' if plain else 'https'}://{config.host}"
        public = config.host == "github.com"
        self._api = "https://api.github.com" if public else f"{self.issuer}/api/v3"
        self._domains = config.allowed_domains
        self._outbound = outbound
        self._redirect_uri = redirect_uri
        self._options: dict[str, Any] = {
            "client_id": config.client_id,
            "client_secret": config.secret(),
            "token_endpoint_auth_method": "client_secret_post",
            "scope": SCOPE,
            "redirect_uri": redirect_uri,
            "code_challenge_method": "S256",
            **outbound.options,
        }

    async def authorization_url(self, flow: Flow) -> str:
        """Where to send the browser."""
        url, _ = AsyncOAuth2Client(**self._options).create_authorization_url(
            f"{self.issuer}/login/oauth/authorize", state=flow.state, code_verifier=flow.verifier
        )
        return url

    async def identify(self, flow: Flow, answer: dict[str, str]) -> Claims:
        """Who comes back with this answer. Raises: NotVouched. ProviderUnavailable."""
        if answer.get("iss", self.issuer) not in (self.issuer, f"{self.issuer}/login/oauth"):
            raise NotVouched(f"This answer is not {self.label}'s. Begin again.")
        if error := answer.get("error"):
            raise refusal(self.label, error)
        if not answer.get("code"):
            raise NotVouched(f"{self.label} sent you back without a code. Begin again.")
        token = await self._token(flow, answer["code"])
        found = await self._outbound.get_json(self.label, f"{self._api}/user", token)
        number = found.get("id") if isinstance(found, dict) else None
        if not isinstance(number, int) or isinstance(number, bool) or number <= 0:
            raise NotVouched(f"{self.label} does not say who you are. Begin again.")
        email = await self._email(token)
        require_domain(self.label, email, self._domains)
        name = found.get("name") or found.get("login") or ""
        return Claims(self.issuer, str(number), name if isinstance(name, str) else "", email)

    async def _token(self, flow: Flow, code: str) -> str:
        endpoint = f"{self.issuer}/login/oauth/access_token"
        try:
            async with asyncio.timeout(TIMEOUT):
                found = await AsyncOAuth2Client(**self._options).fetch_token(
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
        token = found.get("access_token")
        if not isinstance(token, str) or not token:
            raise NotVouched(f"{self.label} sent no token. Begin again.")
        return token

    async def _email(self, token: str) -> str:
        """The address that is verified, and of those the one of an allowed domain, or the primary
        one; "" without any."""
        listed = await self._outbound.get_json(self.label, f"{self._api}/user/emails", token)
        verified = [
            each
            for each in (listed if isinstance(listed, list) else [])
            if isinstance(each, dict)
            and each.get("verified") is True
            and isinstance(each.get("email"), str)
        ]
        domains = {each.casefold() for each in self._domains}
        verified.sort(
            key=lambda each: (
                each["email"].rpartition("@")[2].casefold() not in domains,
                each.get("primary") is not True,
            )
        )
        return verified[0]["email"] if verified else ""
