"""`/api/v1/invites` and `/api/v1/workspaces/{id}/members`: sharing a workspace."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import Denied, InvalidInput
from cloudide.identity.membership import Invite
from cloudide.identity.permissions import Action, Grant, Role
from cloudide.web.access import Caller, grant_for
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.services import services
from cloudide.web.session import UserView, session_view, set_cookie


class MemberView(msgspec.Struct):
    id: str
    name: str
    color: str
    role: str
    online: bool


class MemberList(msgspec.Struct):
    members: list[MemberView]


class NewInvite(msgspec.Struct):
    workspace: str
    role: Role


class InviteView(msgspec.Struct, omit_defaults=True):
    """`url` is there only in the answer that makes the invitation."""

    id: str
    role: Role
    invited_by: str
    expires_at: datetime
    url: str = ""


class InviteList(msgspec.Struct):
    invites: list[InviteView]


class InviteToken(msgspec.Struct):
    token: str
    name: str | None = None


class InvitePreview(msgspec.Struct):
    workspace_name: str
    role: Role
    invited_by: str


class Accepted(msgspec.Struct):
    workspace: str
    user: UserView


def _invite_view(invite: Invite, url: str = "") -> InviteView:
    expires = datetime.fromtimestamp(invite.expires_at, UTC)
    return InviteView(invite.id, invite.role, invite.invited_by, expires, url)


@describe(tag="members", HTTP_200=MemberList)
async def members(request: Request) -> Response:
    grant: Grant = request.state.grant
    provided = services(request)
    online = provided.live.present(grant.workspace)
    found = await provided.membership.list(grant.workspace)
    return json_response(
        MemberList(
            [
                MemberView(each.id, each.name, each.color, each.role, each.id in online)
                for each in found
            ]
        )
    )


@describe(tag="members", HTTP_204=None)
async def remove_member(request: Request) -> Response:
    """Take somebody's access away; their sockets close at once."""
    grant: Grant = request.state.grant
    user = request.path_params["user"]
    provided = services(request)
    await provided.membership.remove(grant.workspace, user)
    provided.live.revoke(user=user, workspace=grant.workspace)
    return no_content()


@describe(tag="invites", body=NewInvite, HTTP_201=InviteView)
async def create_invite(request: Request) -> Response:
    """Make a link by which others become members."""
    body = await json_body(request, NewInvite)
    if body.role is Role.OWNER:
        raise InvalidInput("People are invited as editor or viewer.")
    request.state.audit |= {"workspace": body.workspace[:64], "role": body.role}
    grant = await _sharing(request, body.workspace)
    provided = services(request)
    invite, token = await provided.membership.invite(body.workspace, body.role, grant.person)
    # The token stands behind '#', which browsers do not send: it reaches no log.
    url = f"{provided.settings.origin}/invite#{token}"
    return json_response(_invite_view(invite, url), 201)


@describe(tag="invites", HTTP_200=InviteList)
async def list_invites(request: Request) -> Response:
    """The invitations of `?workspace=` that can still be used."""
    workspace = request.query_params.get("workspace", "")
    await _sharing(request, workspace)
    found = await services(request).membership.list_invites(workspace)
    return json_response(InviteList([_invite_view(invite) for invite in found]))


@describe(tag="invites", HTTP_204=None)
async def revoke_invite(request: Request) -> Response:
    """End an invitation; who joined by it stays."""
    membership = services(request).membership
    invite = await membership.get_invite(request.path_params["invite"])
    request.state.audit["workspace"] = invite.workspace
    await _sharing(request, invite.workspace)
    await membership.revoke_invite(invite.id)
    return no_content()


@describe(tag="invites", body=InviteToken, HTTP_200=InvitePreview)
async def preview_invite(request: Request) -> Response:
    """What an invitation is for; needs no account."""
    body = await json_body(request, InviteToken)
    invite = await services(request).membership.find_invite(body.token)
    return json_response(InvitePreview(invite.workspace_name, invite.role, invite.invited_by))


@describe(tag="invites", body=InviteToken, HTTP_200=Accepted)
async def accept_invite(request: Request) -> Response:
    """Join a workspace; who has no account yet gives a name and gets one."""
    body = await json_body(request, InviteToken)
    provided = services(request)
    invite = await provided.membership.find_invite(body.token)
    request.state.audit |= {"workspace": invite.workspace, "role": invite.role}
    caller: Caller | None = request.state.caller
    secret = ""
    if caller is not None:
        user = caller.user
    else:
        if body.name is None:
            raise InvalidInput("Say your name to join.")
        user = await provided.accounts.create_guest(body.name)
        agent = request.headers.get("user-agent", "")
        secret = await provided.accounts.sessions.create(user.id, agent)
    request.state.audit |= {"by": user.id, "name": user.name}
    await provided.membership.accept(invite, user.id)
    response = json_response(Accepted(invite.workspace, session_view(user).user))
    if secret:
        set_cookie(request, response, secret)
    return response


async def _sharing(request: Request, workspace: str) -> Grant:
    """The caller's grant to share a workspace that is named in the body or by an invitation."""
    grant = await grant_for(request, request.state.caller.user, workspace)
    if not grant.allows(Action.SHARE):
        raise Denied("Only the owner of a workspace invites people to it.")
    return grant
