"""`/api/v1/secrets`: what programs may have without anybody seeing it. A value only goes in."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import CloudIDEError, Denied, InvalidInput, NotFound
from cloudide.identity.permissions import Action
from cloudide.identity.users import User
from cloudide.secrets.policy import Reader
from cloudide.secrets.store import Owner, Secret
from cloudide.web.access import Caller, grant_for
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.pagination import MOST, slice_of
from cloudide.web.preconditions import etag, tagged, wanted_revision
from cloudide.web.scopes import may_arrange
from cloudide.web.services import services

IF_MATCH = {"If-Match": "the ETag that it has to have still"}


class NewSecret(msgspec.Struct, forbid_unknown_fields=True):
    """Of a workspace, of a team or, without both, your own. `readers`: who may have it; nobody, if
    none is named."""

    name: str
    value: str
    description: str = ""
    workspace: str = ""
    team: str = ""
    readers: list[Reader] = []


class SecretChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is absent stays as it is."""

    description: str | None = None
    readers: list[Reader] | None = None


class NewVersion(msgspec.Struct, forbid_unknown_fields=True):
    value: str


class VersionOfSecret(msgspec.Struct):
    """`deleted`: its value is gone."""

    version: int
    created_at: datetime
    created_by: str
    deleted: bool


class SecretView(msgspec.Struct):
    """`latest` is what is given where no version is asked for."""

    id: str
    name: str
    description: str
    workspace: str
    team: str
    readers: list[Reader]
    latest: int
    versions: list[VersionOfSecret]
    created_at: datetime
    created_by: str
    last_used_at: datetime | None


class SecretList(msgspec.Struct):
    """`next` is the `cursor` of the page that follows, null at the end."""

    secrets: list[SecretView]
    next: str | None


class UseView(msgspec.Struct):
    """The last time that a process had it: `task NAME`, `terminal` or `exec` of a workspace."""

    workspace: str
    process: str
    version: int
    user: str
    at: datetime
    count: int


class UseList(msgspec.Struct):
    uses: list[UseView]


@describe(
    tag="secrets",
    query={"workspace": "those of a workspace", "team": "those of a team"},
    headers={"If-None-Match": "the ETag of what is known already"},
    paged=MOST,
    HTTP_200=SecretList,
    HTTP_304=None,
)
async def show_all(request: Request) -> Response:
    """Your secrets, or those of a workspace or team: all but the values."""
    query = request.query_params
    owner = await _owner(request, query.get("workspace", ""), query.get("team", ""))
    found = await services(request).secrets.list(owner)
    page, following = slice_of(request, found, lambda each: each.id)
    return tagged(request, json_response(SecretList([_view(each) for each in page], following)))


@describe(tag="secrets", body=NewSecret, HTTP_201=SecretView)
async def create(request: Request) -> Response:
    """Keep a value, sealed; who gets it is what `readers` says, and nothing else."""
    body = await json_body(request, NewSecret)
    request.state.audit |= {"workspace": body.workspace[:64], "secret_name": body.name[:100]}
    owner = await _owner(request, body.workspace, body.team)
    await _check_readers(request, owner, body.readers)
    secret = await services(request).secrets.create(
        owner,
        body.name,
        body.value,
        description=body.description,
        readers=body.readers,
        by=request.state.caller.user.id,
    )
    request.state.audit |= {"secret": secret.id, "owner": owner.label}
    headers = {"Location": f"/api/v1/secrets/{secret.id}", "ETag": etag(secret.revision)}
    return json_response(_view(secret), 201, headers)


@describe(tag="secrets", HTTP_200=SecretView)
async def show(request: Request) -> Response:
    return _answer(await _arranged(request))


@describe(tag="secrets", body=SecretChange, headers=IF_MATCH, HTTP_200=SecretView)
async def change(request: Request) -> Response:
    """Change who may have it, or what is said of it."""
    secret = await _arranged(request)
    body = await json_body(request, SecretChange)
    if body.readers is not None:
        await _check_readers(request, secret.owner, body.readers)
        request.state.audit["readers"] = msgspec.to_builtins(body.readers[:20])
    return _answer(
        await services(request).secrets.change(
            secret.id,
            description=body.description,
            readers=body.readers,
            revision=wanted_revision(request),
        )
    )


@describe(tag="secrets", headers=IF_MATCH, HTTP_204=None)
async def delete(request: Request) -> Response:
    """Delete it with all versions; what has it already keeps it until it ends."""
    secret = await _arranged(request)
    await services(request).secrets.delete(secret.id, wanted_revision(request))
    return no_content()


@describe(tag="secrets", body=NewVersion, headers=IF_MATCH, HTTP_201=SecretView)
async def add_version(request: Request) -> Response:
    """Give it a new value; who asks for no version gets that from now on."""
    secret = await _arranged(request)
    body = await json_body(request, NewVersion)
    changed = await services(request).secrets.add_version(
        secret.id, body.value, request.state.caller.user.id, wanted_revision(request)
    )
    request.state.audit["version"] = changed.latest
    return json_response(_view(changed), 201, {"ETag": etag(changed.revision)})


@describe(tag="secrets", HTTP_200=SecretView)
async def delete_version(request: Request) -> Response:
    """Forget the value of an older version."""
    secret = await _arranged(request)
    text = request.path_params["version"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise NotFound("There is no such version.")
    request.state.audit["version"] = int(text)
    return _answer(await services(request).secrets.delete_version(secret.id, int(text)))


@describe(tag="secrets", HTTP_200=UseList)
async def uses(request: Request) -> Response:
    """Where it is used: each process that had it, the last first."""
    secret = await _arranged(request)
    found = await services(request).secrets.uses(secret.id)
    return json_response(
        UseList(
            [
                UseView(
                    each.workspace,
                    each.process,
                    each.version,
                    each.user,
                    _when(each.at),
                    each.count,
                )
                for each in found
            ]
        )
    )


async def _owner(request: Request, workspace: str, team: str) -> Owner:
    """Whose secrets the caller may arrange.

    Raises:
        Denied, NotFound, InvalidInput.
    """
    if workspace or team:
        await may_arrange(request, workspace=workspace, team=team)
        return Owner(workspace=workspace, team=team)
    user = _themself(request)
    return Owner(user=user.id)


def _themself(request: Request) -> User:
    """Raises: Denied: they are known by an API token that is for less than all of theirs."""
    caller: Caller = request.state.caller
    limit = caller.user.limit
    if limit is not None and (limit.workspace or limit.actions != frozenset(Action)):
        raise Denied("Your own secrets need an API token of scope admin for all workspaces.")
    return caller.user


async def _arranged(request: Request) -> Secret:
    """The secret in the path, if the caller may arrange it.

    Raises:
        NotFound: there is none, or they may not know.
    """
    secret = await services(request).secrets.get(request.path_params["secret"])
    try:
        owner = await _owner(request, secret.owner.workspace, secret.owner.team)
        mine = owner == secret.owner
    except CloudIDEError:
        mine = False
    if not mine:
        raise NotFound("There is no such secret.")
    if hasattr(request.state, "audit"):
        workspace = secret.owner.workspace
        request.state.audit |= {"secret_name": secret.name, "workspace": workspace}
    return secret


async def _check_readers(request: Request, owner: Owner, readers: list[Reader]) -> None:
    """Raises: InvalidInput: one is a workspace that the caller may not even see."""
    caller: Caller = request.state.caller
    if owner.workspace:
        return  # it is for that workspace alone, which `policy.checked` makes sure of
    for index, reader in enumerate(readers[:200]):
        try:
            await grant_for(request, caller.user, reader.workspace)
        except CloudIDEError as error:
            raise InvalidInput(
                "There is no such workspace, or you are not a member of it.",
                pointer=f"/readers/{index}/workspace",
            ) from error


def _answer(secret: Secret) -> Response:
    return json_response(_view(secret), headers={"ETag": etag(secret.revision)})


def _view(secret: Secret) -> SecretView:
    return SecretView(
        id=secret.id,
        name=secret.name,
        description=secret.description,
        workspace=secret.owner.workspace,
        team=secret.owner.team,
        readers=secret.readers,
        latest=secret.latest,
        versions=[
            VersionOfSecret(each.version, _when(each.created_at), each.created_by, each.deleted)
            for each in secret.versions
        ],
        created_at=_when(secret.created_at),
        created_by=secret.created_by,
        last_used_at=None if secret.last_used_at is None else _when(secret.last_used_at),
    )


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
