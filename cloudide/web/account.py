"""`/api/v1/account`, `/api/v1/sessions`, `/api/v1/tokens`: what is somebody's own."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import Denied, NotFound
from cloudide.identity.credentials import digest
from cloudide.identity.permissions import Scope
from cloudide.identity.sessions import Session
from cloudide.identity.tokens import ApiToken
from cloudide.web.access import Caller, grant_for
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.pagination import MOST, slice_of
from cloudide.web.services import services


class AccountView(msgspec.Struct):
    id: str
    name: str
    email: str
    has_password: bool


class AccountChange(msgspec.Struct):
    name: str


class NewPassword(msgspec.Struct):
    """`current` is asked for once there is one."""

    email: str
    password: str
    current: str = ""


class SessionView(msgspec.Struct):
    id: str
    agent: str
    created_at: datetime
    used_at: datetime
    current: bool


class SessionList(msgspec.Struct):
    """`next` is the `cursor` of the page that follows, null at the end."""

    sessions: list[SessionView]
    next: str | None


class NewToken(msgspec.Struct):
    """`workspace` "": any that you may open. `days` null: until it is revoked."""

    name: str
    scopes: list[Scope]
    workspace: str = ""
    days: int | None = 90


class TokenView(msgspec.Struct, omit_defaults=True):
    """`token` is there only in the answer that makes it."""

    id: str
    name: str
    scopes: list[Scope]
    workspace: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    token: str = ""


class TokenList(msgspec.Struct):
    """`next` is the `cursor` of the page that follows, null at the end."""

    tokens: list[TokenView]
    next: str | None


# ── the account ─────────────────────────────────────────────────────────────────────────────────


@describe(tag="account", HTTP_200=AccountView)
async def show(request: Request) -> Response:
    return await _account(request)


@describe(tag="account", body=AccountChange, HTTP_200=AccountView)
async def change(request: Request) -> Response:
    """Change the name that others see."""
    body = await json_body(request, AccountChange)
    caller: Caller = request.state.caller
    await services(request).accounts.rename(caller.user.id, body.name)
    return await _account(request)


@describe(tag="account", body=NewPassword, HTTP_200=AccountView)
async def set_password(request: Request) -> Response:
    """Set the email address and password to sign in with; your other sessions end."""
    body = await json_body(request, NewPassword)
    accounts, caller = services(request).accounts, request.state.caller
    await accounts.set_password(caller.user.id, body.email, body.password, body.current)
    await _end_others(request)
    return await _account(request)


async def _account(request: Request) -> Response:
    caller: Caller = request.state.caller
    profile = await services(request).accounts.profile(caller.user.id)
    return json_response(
        AccountView(caller.user.id, profile.name, profile.email, profile.has_password)
    )


# ── sessions ────────────────────────────────────────────────────────────────────────────────────


@describe(tag="account", paged=MOST, HTTP_200=SessionList)
async def sessions(request: Request) -> Response:
    """The browsers that are signed in as you."""
    caller: Caller = request.state.caller
    found = await services(request).accounts.sessions.list(caller.user.id)
    page, following = slice_of(request, found, lambda each: each.id)
    return json_response(SessionList([_session_view(each, caller) for each in page], following))


@describe(tag="account", HTTP_204=None)
async def end_session(request: Request) -> Response:
    """Sign one of them out; its sockets close at once."""
    caller: Caller = request.state.caller
    id = request.path_params["session"]
    found = await services(request).accounts.sessions.list(caller.user.id)
    ended = [each.hash for each in found if each.id == id]
    if not ended:
        raise NotFound("There is no such session; it may have ended.")
    await _end(request, ended)
    return no_content()


@describe(tag="account", HTTP_204=None)
async def end_other_sessions(request: Request) -> Response:
    """Sign all others out."""
    await _end_others(request)
    return no_content()


async def _end_others(request: Request) -> None:
    caller: Caller = request.state.caller
    found = await services(request).accounts.sessions.list(caller.user.id)
    own = digest(caller.session) if caller.session else ""
    await _end(request, [each.hash for each in found if each.hash != own])


async def _end(request: Request, hashes: list[str]) -> None:
    provided, caller = services(request), request.state.caller
    await provided.accounts.sessions.end_all(caller.user.id, hashes)
    for hash in hashes:
        provided.live.revoke(session=hash)


def _session_view(session: Session, caller: Caller) -> SessionView:
    return SessionView(
        session.id,
        session.agent,
        _when(session.created_at),
        _when(session.used_at),
        bool(caller.session) and session.hash == digest(caller.session),
    )


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


@describe(tag="account", paged=MOST, HTTP_200=TokenList)
async def tokens(request: Request) -> Response:
    """Your API tokens, without their secrets."""
    caller: Caller = request.state.caller
    found = await services(request).accounts.tokens.list(caller.user.id)
    page, following = slice_of(request, found, lambda each: each.id)
    return json_response(TokenList([_token_view(each) for each in page], following))


@describe(tag="account", body=NewToken, HTTP_201=TokenView)
async def create_token(request: Request) -> Response:
    """Make a token for a program of yours; it is shown this once."""
    body = await json_body(request, NewToken)
    caller: Caller = request.state.caller
    if body.workspace:
        await grant_for(request, caller.user, body.workspace)
    limit = caller.user.limit
    if limit is not None and limit.expires_at is not None:
        # A token makes no other that outlives it: whoever has it would never lose it.
        left = int((limit.expires_at - time.time()) // 86400)
        if body.days is None or body.days > left:
            raise Denied(
                f"A token that is made with this one ends before it does, within {left} days."
            )
    request.state.audit |= {"scopes": body.scopes, "for": body.workspace, "days": body.days}
    token, secret = await services(request).accounts.tokens.create(
        caller.user.id, body.name, body.scopes, body.workspace, body.days
    )
    return json_response(_token_view(token, secret), 201)


@describe(tag="account", HTTP_204=None)
async def revoke_token(request: Request) -> Response:
    """End a token; the connections that were made with it close at once."""
    provided, caller = services(request), request.state.caller
    id = request.path_params["token"]
    await provided.accounts.tokens.revoke(caller.user.id, id)
    provided.live.revoke(token=id)
    return no_content()


def _token_view(token: ApiToken, secret: str = "") -> TokenView:
    return TokenView(
        token.id,
        token.name,
        token.scopes,
        token.workspace,
        _when(token.created_at),
        None if token.expires_at is None else _when(token.expires_at),
        None if token.used_at is None else _when(token.used_at),
        secret,
    )


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
