"""The providers of the settings, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from cloudide.errors import NotFound
from cloudide.identity.outside.claims import Claims
from cloudide.identity.outside.flows import Flow, Flows
from cloudide.settings import Settings

GITHUB = "github"


class Provider(Protocol):
    """One who vouches for people. `create_accounts`: who has none here yet gets one."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...

    label: str
    issuer: str
    create_accounts: bool

    async def authorization_url(self, flow: Flow) -> str: ...

    async def identify(self, flow: Flow, answer: dict[str, str]) -> Claims: ...


class Providers:
    """All providers, and the sign-ins under way at them."""

    def __init__(self, settings: Settings) -> None:
        """Raises: InvalidInput: a secret's file cannot be read."""
        self.flows = Flows()
        self._providers: dict[str, Provider] = {}
        self._close: Callable[[], Awaitable[None]] | None = None
        if settings.oidc or settings.github:
            self._make(settings)

    def _make(self, settings: Settings) -> None:
        # Imported here: a server without providers starts sooner.
        from cloudide.identity.outside.github import GitHub
        from cloudide.identity.outside.oidc import Oidc
        from cloudide.identity.outside.outbound import Outbound

        outbound = Outbound()
        self._close = outbound.close
        for name, config in (settings.oidc or {}).items():
            self._providers[name] = Oidc(name, config, redirect_uri(settings, name), outbound)
        if settings.github is not None:
            uri = redirect_uri(settings, GITHUB)
            self._providers[GITHUB] = GitHub(settings.github, uri, outbound)

    def get(self, name: str) -> Provider:
        """Raises: NotFound: there is no such provider."""
        if name not in self._providers:
            raise NotFound("This server has no such identity provider.")
        return self._providers[name]

    def all(self) -> list[Provider]:
        return [*self._providers.values()]

    def named(self, issuer: str) -> str:
        """The label of the provider with this issuer; "" when none has it any more."""
        return next((each.label for each in self.all() if each.issuer == issuer), "")

    async def close(self) -> None:
        if self._close is not None:
            await self._close()


def redirect_uri(settings: Settings, name: str) -> str:
    """Where a provider sends browsers back to; it has to be told this address."""
    return f"{settings.origin}/api/v1/providers/{name}/callback"
