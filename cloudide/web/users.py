"""`/api/v1/users`: who has an account here; for administrators."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.identity.users import Account
from cloudide.web.access import require_administrator
from cloudide.web.bodies import json_body, json_response
from cloudide.web.openapi import describe
from cloudide.web.pagination import MOST, slice_of
from cloudide.web.services import services


class AccountList(msgspec.Struct):
    """`next` is the `cursor` of the page that follows, null at the end."""

    users: list[Account]
    next: str | None


class AccountChange(msgspec.Struct):
    """What is absent stays as it is."""

    admin: bool | None = None
    active: bool | None = None
    guest: bool | None = None


@describe(tag="users", paged=MOST, HTTP_200=AccountList)
async def show_all(request: Request) -> Response:
    """Everybody who has an account."""
    require_administrator(request)
    found = await services(request).accounts.all()
    page, following = slice_of(request, found, lambda each: each.id)
    return json_response(AccountList([*page], following))


@describe(tag="users", body=AccountChange, HTTP_200=Account)
async def change(request: Request) -> Response:
    """Make somebody an administrator or a guest, or not, or (de)activate their account.

    Whoever is deactivated is signed out everywhere at once; what they made stays.
    """
    require_administrator(request)
    body = await json_body(request, AccountChange)
    provided, id = services(request), request.path_params["user"]
    request.state.audit |= msgspec.to_builtins(body)
    account = await provided.accounts.change(
        id, admin=body.admin, active=body.active, guest=body.guest
    )
    provided.live.revoke(user=id)
    return json_response(account)
