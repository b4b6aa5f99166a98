"""`/api/v1/providers` and `/api/v1/identities`: signing in by somebody who vouches for people."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cloudide.errors import Denied
from cloudide.identity.credentials import digest
from cloudide.identity.outside.flows import SECONDS, Flow, NoFlow
from cloudide.identity.outside.identities import Identity
from cloudide.identity.outside.providers import Provider
from cloudide.identity.users import User
from cloudide.settings import Settings
from cloudide.web.access import Caller
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.ports import local_path
from cloudide.web.services import services
from cloudide.web.session import end, set_cookie

ANSWER_LIMIT = 4096  # characters of a parameter that a provider sends


class ProviderView(msgspec.Struct):
    """`kind` is `oidc` or `github`."""

    name: str
    label: str
    kind: str


class ProviderList(msgspec.Struct):
    providers: list[ProviderView]


class Begin(msgspec.Struct):
    """`path`: where to go afterwards. `link`: add this way to sign in to your account."""

    path: str = "/"
    link: bool = False


class WayOut(msgspec.Struct):
    """Where to send the browser."""

    url: str


class IdentityView(msgspec.Struct):
    """`label` "": the provider is not in the server's settings any more."""

    id: str
    issuer: str
    label: str
    name: str
    created_at: datetime
    used_at: datetime


class IdentityList(msgspec.Struct):
    identities: list[IdentityView]


def flow_cookie(settings: Settings) -> str:
    """The cookie of the browser that began a sign-in."""
    return "__Host-cloudide-flow" if settings.secure else "cloudide-flow"


@describe(tag="session", HTTP_200=ProviderList)
async def show_all(request: Request) -> Response:
    """By whom people can sign in here, besides a password."""
    found = services(request).providers.all()
    return json_response(
        ProviderList([ProviderView(each.name, each.label, each.kind) for each in found])
    )


@describe(tag="session", body=Begin, HTTP_200=WayOut)
async def begin(request: Request) -> Response:
    """Begin to sign in, or to link an account: the browser goes to `url` and comes back."""
    body = await json_body(request, Begin)
    provided = services(request)
    provider = provided.providers.get(request.path_params["provider"])
    caller: Caller | None = request.state.caller
    linking: Caller | None = None
    if body.link:
        if caller is None or not caller.session:
            raise Denied("Sign in to the IDE first; then link an account.")
        linking = caller
    flow, secret = provided.providers.flows.begin(
        provider.name,
        address=request.client.host if request.client else "",
        path=local_path(body.path),
        user=linking.user.id if linking else "",
        session=digest(linking.session) if linking else "",
    )
    response = json_response(WayOut(await provider.authorization_url(flow)))
    settings = provided.settings
    response.set_cookie(
        flow_cookie(settings),
        secret,
        max_age=int(SECONDS),
        path="/",
        secure=settings.secure,
        httponly=True,
        samesite="lax",  # it comes back with the browser, which another site sends
    )
    return response


@describe(tag="session", gives="text/html", refuses="text/html", HTTP_303=None)
async def come_back(request: Request) -> Response:
    """Take a browser back from a provider, and sign it in or link the account."""
    request.state.wants_page = True
    provided = services(request)
    provider = provided.providers.get(request.path_params["provider"])
    flow, answer = _answer(request, provider)
    if flow.user:
        await _link(request, provider, flow, answer)
        response = RedirectResponse(flow.path, 303)
    else:
        response = await _sign_in(request, provider, flow, answer)
    settings = provided.settings
    response.delete_cookie(flow_cookie(settings), secure=settings.secure, httponly=True)
    response.headers["Cache-Control"] = "no-store"
    return response


def _answer(request: Request, provider: Provider) -> tuple[Flow, dict[str, str]]:
    """The flow that this ends, and what the provider says.

    Raises:
        NoFlow: it was not begun in this browser, or is no answer.
    """
    answer: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        # RFC 6749 section 3.1: no parameter comes twice.
        if name in answer or len(value) > ANSWER_LIMIT:
            raise NoFlow(f"This is not an answer of {provider.label}. Begin again.")
        answer[name] = value
    provided = services(request)
    secret = request.cookies.get(flow_cookie(provided.settings), "")
    flow = provided.providers.flows.end(provider.name, answer.get("state", ""), secret)
    return flow, answer


async def _sign_in(
    request: Request, provider: Provider, flow: Flow, answer: dict[str, str]
) -> Response:
    provided = services(request)
    claims = await provider.identify(flow, answer)
    request.state.audit |= {"subject": claims.subject}
    user: User = await provided.identities.sign_in(
        claims, provider.label, create=provider.create_accounts
    )
    request.state.audit |= {"by": user.id, "name": user.name}
    await end(request)
    agent = request.headers.get("user-agent", "")
    secret = await provided.accounts.sessions.create(user.id, agent)
    response = RedirectResponse(flow.path, 303)
    set_cookie(request, response, secret)
    return response


async def _link(request: Request, provider: Provider, flow: Flow, answer: dict[str, str]) -> None:
    request.state.audit["action"] = "identity.link"
    caller: Caller | None = request.state.caller
    if caller is None or not caller.session or digest(caller.session) != flow.session:
        raise Denied("You were signed out, or signed in as somebody else, meanwhile. Begin again.")
    claims = await provider.identify(flow, answer)
    request.state.audit |= {"subject": claims.subject}
    await services(request).identities.link(caller.user.id, claims, provider.label)


# ── what somebody has linked ────────────────────────────────────────────────────────────────────


@describe(tag="account", HTTP_200=IdentityList)
async def identities(request: Request) -> Response:
    """The accounts elsewhere that sign you in here."""
    caller: Caller = request.state.caller
    found = await services(request).identities.list(caller.user.id)
    return json_response(IdentityList([_view(request, each) for each in found]))


@describe(tag="account", HTTP_204=None)
async def unlink(request: Request) -> Response:
    """Let one of them sign you in no more; your last way in stays."""
    provided, caller = services(request), request.state.caller
    gone = await provided.identities.unlink(
        caller.user.id,
        request.path_params["identity"],
        {each.issuer for each in provided.providers.all()},
    )
    request.state.audit["issuer"] = gone.issuer
    return no_content()


def _view(request: Request, identity: Identity) -> IdentityView:
    return IdentityView(
        identity.id,
        identity.issuer,
        services(request).providers.named(identity.issuer),
        identity.name,
        datetime.fromtimestamp(identity.created_at, UTC),
        datetime.fromtimestamp(identity.used_at, UTC),
    )
