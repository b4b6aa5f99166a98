"""`/api/v1/workspaces/{id}/members` and `/requests`: who may enter a workspace, and who asks to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import Denied, InvalidInput, NotFound
from cloudide.identity.invitations import Answer, JoinRequest
from cloudide.identity.permissions import Action, Grant, Person, Role
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.pagination import MOST, slice_of
from cloudide.web.services import Services, services


class MemberView(msgspec.Struct):
    """`team`: by being in the team that owns the workspace. `online`: here now."""

    id: str
    name: str
    color: str
    role: Role
    guest: bool
    team: bool
    online: bool


class MemberList(msgspec.Struct):
    """`next` is the `cursor` of the page that follows, null at the end."""

    members: list[MemberView]
    next: str | None


class MemberChange(msgspec.Struct):
    role: Role


class RequestView(msgspec.Struct):
    id: str
    person: Person
    role: Role
    created_at: datetime


class RequestList(msgspec.Struct):
    requests: list[RequestView]


class RequestAnswer(msgspec.Struct):
    answer: Answer


@describe(tag="members", paged=MOST, HTTP_200=MemberList)
async def members(request: Request) -> Response:
    """Who may enter, by being a member or by the team that owns the workspace."""
    grant: Grant = request.state.grant
    provided = services(request)
    online = provided.live.present(grant.workspace)
    found = await provided.membership.list(grant.workspace)
    page, following = slice_of(request, found, lambda each: each.id)
    return json_response(
        MemberList(
            [
                MemberView(
                    each.id,
                    each.name,
                    each.color,
                    each.role,
                    each.guest,
                    each.team,
                    each.id in online,
                )
                for each in page
            ],
            following,
        )
    )


IF_ROLE = {"If-Match": "the role that they have to have still, in quotes"}


@describe(tag="members", body=MemberChange, headers=IF_ROLE, HTTP_204=None)
async def change_member(request: Request) -> Response:
    """Give a member another role; it holds at once. Their role is the ETag."""
    body = await json_body(request, MemberChange)
    require_given_role(body.role)
    grant: Grant = request.state.grant
    user = request.path_params["user"]
    request.state.audit["role"] = body.role
    provided = services(request)
    await provided.membership.change(grant.workspace, user, body.role, _wanted_role(request))
    provided.live.renew(workspace=grant.workspace, user=user)
    return Response(status_code=204, headers={"ETag": f'"{body.role}"'})


@describe(tag="members", HTTP_204=None)
async def remove_member(request: Request) -> Response:
    """Take somebody's access away, or leave; their sockets close at once."""
    grant: Grant = request.state.grant
    user = request.path_params["user"]
    if user != grant.person.id and not grant.allows(Action.SHARE):
        raise Denied("Only the owner of a workspace removes others from it.")
    provided = services(request)
    await provided.membership.remove(grant.workspace, user)
    provided.live.revoke(user=user, workspace=grant.workspace)
    return no_content()


def _wanted_role(request: Request) -> Role | None:
    """The role that `If-Match` asks for; None: any. Raises: InvalidInput: it is none."""
    value = request.headers.get("if-match", "*").strip()
    if value == "*":
        return None
    try:
        return Role(value.removeprefix('"').removesuffix('"'))
    except ValueError as error:
        raise InvalidInput("If-Match takes a role in quotes, or *.") from error


def require_given_role(role: Role) -> None:
    """Raises: InvalidInput: it is no role that somebody is given."""
    if role is Role.OWNER:
        raise InvalidInput("People are made viewer, editor or terminal; a workspace is given away.")


# ── who asks to be let in ───────────────────────────────────────────────────────────────────────


@describe(tag="members", HTTP_200=RequestList)
async def requests(request: Request) -> Response:
    """Who followed a link that needs approval, and waits."""
    grant: Grant = request.state.grant
    return json_response(RequestList(await _waiting(services(request), grant.workspace)))


@describe(tag="members", body=RequestAnswer, HTTP_204=None)
async def answer_request(request: Request) -> Response:
    """Let somebody in, or do not."""
    body = await json_body(request, RequestAnswer)
    if body.answer is Answer.WAITING:
        raise InvalidInput("Answer accepted or denied.")
    grant: Grant = request.state.grant
    provided = services(request)
    asked = await provided.invitations.request(request.path_params["request"])
    if asked.workspace != grant.workspace:
        raise NotFound("There is no such request here.")
    request.state.audit |= {"answer": body.answer, "who": asked.person.id, "role": asked.role}
    await provided.invitations.answer(asked.id, body.answer)
    await tell_requests(provided, grant.workspace)
    return no_content()


async def tell_requests(provided: Services, workspace: str) -> None:
    """Tell those who may share the workspace who waits to be let in."""
    provided.feed.publish("requests", workspace, await requests_message(provided, workspace))


async def requests_message(provided: Services, workspace: str) -> dict[str, Any]:
    return msgspec.to_builtins(RequestList(await _waiting(provided, workspace)))


async def _waiting(provided: Services, workspace: str) -> list[RequestView]:
    return [_request_view(each) for each in await provided.invitations.waiting(workspace)]


def _request_view(each: JoinRequest) -> RequestView:
    at = datetime.fromtimestamp(each.created_at, UTC)
    return RequestView(each.id, each.person, Role(each.role), at)
