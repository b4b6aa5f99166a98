"""`/api/v1/invites`: links that let people into a workspace, a team or this site."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import CloudIDEError, Denied, InvalidInput, NotFound
from cloudide.identity.invitations import Answer, Invite, Place
from cloudide.identity.permissions import Action, Role, TeamAction, TeamRole
from cloudide.identity.users import User
from cloudide.web.access import (
    Caller,
    grant_of,
    require_account,
    require_administrator,
    team_grant_of,
)
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.pagination import MOST, slice_of
from cloudide.web.people import require_given_role, tell_requests
from cloudide.web.services import Services, services
from cloudide.web.session import UserView, session_view, set_cookie

WAIT_SECONDS = 25.0  # how long an answer is waited for in one request


class NewInvite(msgspec.Struct):
    """To `workspace` (`role` viewer, editor or terminal), to `team` (member, maintainer or owner),
    or, with neither, to this site. `approval`: somebody who may share has to let them in."""

    workspace: str = ""
    team: str = ""
    role: str = ""
    approval: bool = False


class InviteView(msgspec.Struct, omit_defaults=True):
    """`url` is there only in the answer that makes the invitation."""

    id: str
    place: Place
    role: str
    invited_by: str
    expires_at: datetime
    approval: bool = False
    url: str = ""


class InviteList(msgspec.Struct):
    """`next` is the `cursor` of the page that follows, null at the end."""

    invites: list[InviteView]
    next: str | None


class InviteToken(msgspec.Struct):
    token: str
    name: str | None = None


class InvitePreview(msgspec.Struct):
    """`name`: of the workspace or team."""

    place: Place
    name: str
    role: str
    invited_by: str
    approval: bool


class Accepted(msgspec.Struct):
    """`request`: the id of what waits for approval; "" for who is in already."""

    place: Place
    to: str
    user: UserView
    request: str = ""


class RequestState(msgspec.Struct):
    answer: Answer
    workspace: str


def _invite_view(invite: Invite, url: str = "") -> InviteView:
    expires = datetime.fromtimestamp(invite.expires_at, UTC)
    return InviteView(
        invite.id, invite.place, invite.role, invite.invited_by, expires, invite.approval, url
    )


@describe(tag="invites", body=NewInvite, HTTP_201=InviteView)
async def create(request: Request) -> Response:
    """Make a link by which others become members."""
    body = await json_body(request, NewInvite)
    if body.workspace and body.team:
        raise InvalidInput("An invitation is to a workspace or to a team, not to both.")
    place, to = _place(body.workspace, body.team)
    role = _role(place, body.role)
    if body.approval and place is not Place.WORKSPACE:
        raise InvalidInput("Only links to a workspace need approval.")
    request.state.audit |= {
        "place": place,
        "to": to[:64],
        "role": role,
        "approval": body.approval,
    }
    if place is Place.WORKSPACE:
        request.state.audit["workspace"] = to[:64]
    await _require_inviting(request, place, to, role)
    provided, caller = services(request), request.state.caller
    invite, token = await provided.invitations.create(
        place, to, role, caller.user.person, approval=body.approval
    )
    # The token stands behind '#', which browsers do not send: it reaches no log.
    url = f"{provided.settings.origin}/invite#{token}"
    return json_response(_invite_view(invite, url), 201)


@describe(tag="invites", paged=MOST, HTTP_200=InviteList)
async def show_all(request: Request) -> Response:
    """The invitations to `?workspace=`, to `?team=` or to this site that can still be used."""
    query = request.query_params
    place, to = _place(query.get("workspace", ""), query.get("team", ""))
    await _require_inviting(request, place, to)
    provided = services(request)
    found = await provided.invitations.list(place, to)
    usable = [_invite_view(each) for each in found if await _is_backed(provided, each)]
    page, following = slice_of(request, usable, lambda each: each.id)
    return json_response(InviteList([*page], following))


@describe(tag="invites", HTTP_204=None)
async def revoke(request: Request) -> Response:
    """End an invitation; who joined by it stays, who waits to be let in does not."""
    provided = services(request)
    invite = await provided.invitations.get(request.path_params["invite"])
    if invite.place is Place.WORKSPACE:
        request.state.audit["workspace"] = invite.to
    await _require_inviting(request, invite.place, invite.to)
    await provided.invitations.revoke(invite)
    if invite.approval:
        await tell_requests(provided, invite.to)
    return no_content()


@describe(tag="invites", body=InviteToken, HTTP_200=InvitePreview)
async def preview(request: Request) -> Response:
    """What an invitation is for; needs no account."""
    body = await json_body(request, InviteToken)
    invite = await _find(services(request), body.token)
    return json_response(
        InvitePreview(invite.place, invite.name, invite.role, invite.invited_by, invite.approval)
    )


@describe(tag="invites", body=InviteToken, HTTP_200=Accepted)
async def accept(request: Request) -> Response:
    """Follow an invitation; who has no account yet gives a name and gets one."""
    body = await json_body(request, InviteToken)
    provided = services(request)
    invite = await _find(provided, body.token)
    request.state.audit |= {"place": invite.place, "to": invite.to, "role": invite.role}
    if invite.place is Place.WORKSPACE:
        request.state.audit["workspace"] = invite.to
    caller: Caller | None = request.state.caller
    secret = ""
    if caller is not None:
        user = caller.user
        if not user.guest:
            require_account(request)  # a token that is for less brings its owner nowhere
    else:
        if body.name is None:
            raise InvalidInput("Say your name to join.")
        user = await provided.accounts.create(body.name, guest=invite.place is Place.WORKSPACE)
        agent = request.headers.get("user-agent", "")
        secret = await provided.accounts.sessions.create(user.id, agent)
    request.state.audit |= {"by": user.id, "name": user.name}
    waiting = await _enter(provided, invite, user)
    user = await provided.accounts.get(user.id) or user
    accepted = Accepted(invite.place, invite.to, session_view(provided, user).user, waiting)
    response = json_response(accepted)
    if secret:
        set_cookie(request, response, secret)
    return response


@describe(tag="invites", HTTP_200=RequestState)
async def request_state(request: Request) -> Response:
    """What became of your request to be let in; `?wait=1` answers when it was decided."""
    provided, caller = services(request), request.state.caller
    id = request.path_params["request"]
    asked = await provided.invitations.request(id)
    if asked.person.id != caller.user.id:
        raise NotFound("There is no such request.")
    if request.query_params.get("wait") == "1" and asked.answer is Answer.WAITING:
        watcher = provided.feed.watch()
        watcher.workspaces.add(asked.workspace)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS):
                    asked = await provided.invitations.request(id)  # since it began to watch
                    following = aiter(watcher)
                    while asked.answer is Answer.WAITING:
                        if (await anext(following)).type in ("requests", "gone", "lagged"):
                            asked = await provided.invitations.request(id)
        finally:
            watcher.close()
    return json_response(RequestState(asked.answer, asked.workspace))


async def _enter(provided: Services, invite: Invite, user: User) -> str:
    """Let somebody in, or have them wait; returns the id of their request then."""
    match invite.place:
        case Place.SITE:
            await provided.accounts.welcome(user.id)
        case Place.TEAM:
            await provided.teams.add(invite.to, user.id, TeamRole(invite.role))
            for workspace in await provided.teams.workspaces(invite.to):
                await provided.supervisor.retell(workspace)
        case Place.WORKSPACE:
            present = await provided.membership.role(invite.to, user.id)
            if invite.approval and present is None and not user.admin:
                asked = await provided.invitations.ask(invite, user.id)
                await tell_requests(provided, invite.to)
                return asked.id
            if present is None:
                await provided.membership.add(invite.to, user.id, Role(invite.role))
            await provided.supervisor.retell(invite.to)
    return ""


def _place(workspace: str, team: str) -> tuple[Place, str]:
    if workspace:
        return Place.WORKSPACE, workspace
    return (Place.TEAM, team) if team else (Place.SITE, "")


def _role(place: Place, role: str) -> str:
    """Raises: InvalidInput: there is no such role there."""
    try:
        if place is Place.WORKSPACE:
            require_given_role(Role(role))
        elif place is Place.TEAM:
            TeamRole(role)
        elif role:
            raise InvalidInput("An invitation to this site has no role.")
    except ValueError as error:
        roles = "viewer, editor, terminal"
        if place is Place.TEAM:
            roles = ", ".join(TeamRole)
        raise InvalidInput(f"role: {role[:40]!r} is none of {roles}.") from error
    return role


async def _require_inviting(request: Request, place: Place, to: str, role: str = "") -> None:
    """Raises: NotFound, Denied: the caller may not invite people there, or not as that."""
    provided, user = services(request), request.state.caller.user
    if place is Place.SITE:
        require_administrator(request)
    else:
        await _check_inviting(provided, user, place, to, role)


async def _check_inviting(
    provided: Services, user: User, place: Place, to: str, role: str = ""
) -> None:
    if place is Place.WORKSPACE:
        if not (await grant_of(provided, user, to)).allows(Action.SHARE):
            raise Denied("Only the owner of a workspace invites people to it.")
        return
    grant = await team_grant_of(provided, user, to)
    if not grant.allows(TeamAction.INVITE):
        raise Denied("Only maintainers and owners of a team invite people to it.")
    if role not in ("", TeamRole.MEMBER) and not grant.allows(TeamAction.APPOINT):
        raise Denied("Only an owner of the team invites maintainers and owners.")


async def _is_backed(provided: Services, invite: Invite) -> bool:
    """Whether who made it may still invite people there."""
    inviter = await provided.accounts.get(invite.inviter)
    if inviter is None:
        return False
    if invite.place is Place.SITE:
        return inviter.admin
    try:
        await _check_inviting(provided, inviter, invite.place, invite.to, invite.role)
    except CloudIDEError:
        return False
    return True


async def _find(provided: Services, token: str) -> Invite:
    """Raises: NotFound: the invitation is good no longer."""
    invite = await provided.invitations.find(token)
    if not await _is_backed(provided, invite):
        raise NotFound("Whoever made this invitation may no longer invite people there.")
    return invite
