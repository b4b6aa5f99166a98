"""`/api/v1/session`: signing in and out."""

from __future__ import annotations

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from cloudide.errors import Denied, InvalidInput, NotSignedIn
from cloudide.identity.accounts import NameNeeded
from cloudide.identity.credentials import digest
from cloudide.identity.users import MAX_EMAIL, User
from cloudide.web.access import Caller, cookie_name
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.services import Services, services


class UserView(msgspec.Struct):
    id: str
    name: str
    color: str
    admin: bool
    guest: bool
    creates: bool  # may make workspaces and teams


class SessionView(msgspec.Struct):
    user: UserView


class SignIn(msgspec.Struct):
    """A one-time token, or an email address and its password. `name` is asked for when the first
    account is made with a token."""

    token: str | None = None
    name: str | None = None
    email: str | None = None
    password: str | None = None


class NameNeededView(msgspec.Struct):
    needs_name: bool


def session_view(provided: Services, user: User) -> SessionView:
    creates = user.admin or (provided.settings.people_create and not user.guest)
    return SessionView(UserView(user.id, user.name, user.color, user.admin, user.guest, creates))


def set_cookie(connection: HTTPConnection, response: Response, secret: str) -> None:
    settings = services(connection).settings
    response.set_cookie(
        cookie_name(settings),
        secret,
        max_age=settings.session_days * 86400,
        path="/",
        secure=settings.secure,
        httponly=True,
        samesite="lax",  # a link from a chat opens the IDE; cross-site requests still carry nothing
    )


@describe(tag="session", HTTP_200=SessionView)
async def show(request: Request) -> Response:
    """Who you are."""
    caller: Caller | None = request.state.caller
    if caller is None:
        raise NotSignedIn()
    return json_response(session_view(services(request), caller.user))


@describe(tag="session", body=SignIn, HTTP_200=SessionView)
async def sign_in(request: Request) -> Response:
    """Sign in with a one-time token, or with a password. The session before, if any, ends."""
    body = await json_body(request, SignIn)
    accounts = services(request).accounts
    agent = request.headers.get("user-agent", "")
    if body.token is not None:
        try:
            user, secret = await accounts.sign_in(body.token, body.name, agent)
        except NameNeeded:
            return json_response(NameNeededView(True))
    elif body.email is not None and body.password is not None:
        address = request.client.host if request.client else ""
        request.state.audit["email"] = body.email[:MAX_EMAIL]
        user, secret = await accounts.sign_in_with_password(
            body.email, body.password, address, agent
        )
    else:
        raise InvalidInput("Sign in with a token, or with email and password.")
    request.state.audit |= {"by": user.id, "name": user.name}
    await end(request)
    response = json_response(session_view(services(request), user))
    set_cookie(request, response, secret)
    return response


@describe(tag="session", HTTP_204=None)
async def sign_out(request: Request) -> Response:
    """End this session, or the API token that this is asked with; its sockets close."""
    caller: Caller | None = request.state.caller
    if caller is not None and not caller.session:
        await _revoke(request, caller)
        return no_content()
    await end(request)
    response = no_content()
    settings = services(request).settings
    response.delete_cookie(cookie_name(settings), secure=settings.secure, httponly=True)
    return response


async def _revoke(request: Request, caller: Caller) -> None:
    limit = caller.user.limit
    if limit is None:
        raise Denied("This token is preset in the server's settings; it ends when they change.")
    request.state.audit |= {"action": "token.revoke", "token": limit.token}
    await services(request).accounts.tokens.revoke(caller.user.id, limit.token)
    services(request).live.revoke(token=limit.token)


async def end(request: Request) -> None:
    """End the session that a request comes with: signing in anew begins another."""
    caller: Caller | None = request.state.caller
    if caller is not None and caller.session:
        await services(request).accounts.sessions.end(caller.session)
        services(request).live.revoke(session=digest(caller.session))
