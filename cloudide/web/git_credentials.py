"""`/api/v1/git-credentials`, `git-profile`: how somebody signs in to Git hosts, and commits."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.git.credentials import Credential
from cloudide.git.profiles import Profile
from cloudide.web.access import Caller
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.services import services


class NewCredential(msgspec.Struct):
    """`address`: a host such as `github.com`, or with a path below which alone it is used.

    `secret` is a token or password; it is never shown again, to anybody.
    """

    address: str
    username: str
    secret: str


class CredentialView(msgspec.Struct):
    id: str
    host: str
    path: str
    username: str
    created_at: datetime
    used_at: datetime | None


class CredentialList(msgspec.Struct):
    credentials: list[CredentialView]


@describe(tag="account", HTTP_200=CredentialList)
async def show_all(request: Request) -> Response:
    """Your Git credentials, without their secrets."""
    caller: Caller = request.state.caller
    found = await services(request).git.credentials.list(caller.user.id)
    return json_response(CredentialList([_view(each) for each in found]))


@describe(tag="account", body=NewCredential, HTTP_201=CredentialView)
async def add(request: Request) -> Response:
    """Keep what you sign in to a Git host with.

    It never enters a workspace: the server fetches and pushes in your name, when you ask for it.
    """
    body = await json_body(request, NewCredential)
    caller: Caller = request.state.caller
    made = await services(request).git.credentials.add(
        caller.user.id, body.address, body.username, body.secret
    )
    request.state.audit |= {"credential": made.id, "host": made.host, "path": made.path}
    return json_response(_view(made), 201)


@describe(tag="account", HTTP_204=None)
async def delete(request: Request) -> Response:
    """Forget one."""
    caller: Caller = request.state.caller
    gone = await services(request).git.credentials.delete(
        caller.user.id, request.path_params["credential"]
    )
    request.state.audit |= {"credential": gone.id, "host": gone.host, "path": gone.path}
    return no_content()


class ProfileView(msgspec.Struct):
    """`email` is what your commits carry; "": an address that reaches nobody, as `signed` shows.

    `dotfiles`: the address of a repository that your new workspaces are set up with, or "".
    """

    email: str
    dotfiles: str
    signed: str


class NewProfile(msgspec.Struct):
    email: str
    dotfiles: str = ""


@describe(tag="account", HTTP_200=ProfileView)
async def show_profile(request: Request) -> Response:
    """How you sign your commits."""
    caller: Caller = request.state.caller
    return await _profile(request, await services(request).git.profiles.get(caller.user.id))


@describe(tag="account", body=NewProfile, HTTP_200=ProfileView)
async def set_profile(request: Request) -> Response:
    body = await json_body(request, NewProfile)
    caller: Caller = request.state.caller
    profiles = services(request).git.profiles
    return await _profile(request, await profiles.set(caller.user.id, body.email, body.dotfiles))


async def _profile(request: Request, profile: Profile) -> Response:
    caller: Caller = request.state.caller
    signed = await services(request).git.profiles.signature(caller.user.person)
    return json_response(ProfileView(profile.email, profile.dotfiles, str(signed)))


def _view(credential: Credential) -> CredentialView:
    return CredentialView(
        credential.id,
        credential.host,
        credential.path,
        credential.username,
        _when(credential.created_at),
        None if credential.used_at is None else _when(credential.used_at),
    )


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
