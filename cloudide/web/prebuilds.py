"""`/api/v1/prebuilds`: projects that are set up ahead of new workspaces."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import NotFound
from cloudide.web.bodies import chunks, json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.scopes import is_in_team, may_arrange
from cloudide.web.services import services
from cloudide.workspaces import hooks
from cloudide.workspaces.prebuild_store import Prebuild


class Repository(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    ref: str = ""


class NewPrebuild(msgspec.Struct, forbid_unknown_fields=True):
    """`team`: for its workspaces alone; "": for everybody's. `every_hours`: it is made anew so
    often; 0: when it is asked for. `ready`: so many workspaces are kept ready with it."""

    image: str
    git: Repository
    team: str = ""
    every_hours: float = 0.0
    ready: int = 0


class PrebuildView(msgspec.Struct):
    """`state`: queued, building, ready or failed, with `error`. `commit`: what new workspaces begin
    with, "": there is nothing yet. `seconds`: how long the last one took. `hooked`: a Git host can
    tell of pushes."""

    id: str
    team: str
    image: str
    git: Repository
    every_hours: float
    state: str
    error: str
    commit: str
    seconds: float
    built_at: datetime | None
    ready: int
    hooked: bool


class PrebuildList(msgspec.Struct):
    """`limit`: how many a team may have; 0: the site's, which have none."""

    prebuilds: list[PrebuildView]
    limit: int


class PrebuildLog(msgspec.Struct):
    log: str


class Hook(msgspec.Struct):
    """What the Git host is told: where to, and the secret that it signs with, shown this once."""

    url: str
    secret: str


class Heard(msgspec.Struct):
    """`queued`: a new one is made for it."""

    queued: bool


@describe(tag="prebuilds", query={"team": "those of a team"}, HTTP_200=PrebuildList)
async def show_all(request: Request) -> Response:
    """The prebuilds of a team, or of the site."""
    team = request.query_params.get("team", "")
    await may_arrange(request, team=team)
    found = await services(request).prebuilds.list(team)
    limit = services(request).prebuilds.per_team if team else 0
    return json_response(PrebuildList([_view(each) for each in found], limit))


@describe(tag="prebuilds", body=NewPrebuild, HTTP_201=PrebuildView)
async def create(request: Request) -> Response:
    """Clone a repository and set it up ahead, for new workspaces of it to begin with.

    It is done without anybody's secrets, so that the repository has to be readable for all.
    """
    body = await json_body(request, NewPrebuild)
    request.state.audit |= {"team": body.team[:64], "image": body.image[:64]}
    await may_arrange(request, team=body.team)
    provided = services(request)
    # It is for all that team's members, or for everybody: so is its image.
    image = provided.images.resolve(body.image, {body.team} if body.team else set())
    made = await provided.prebuilds.create(
        body.team, image, body.git.url, body.git.ref, body.every_hours, body.ready
    )
    request.state.audit |= {"prebuild": made.id}
    return json_response(_view(made), 201, {"Location": f"/api/v1/prebuilds/{made.id}"})


@describe(tag="prebuilds", HTTP_200=PrebuildView)
async def show(request: Request) -> Response:
    return json_response(_view(await _arranged(request)))


@describe(tag="prebuilds", HTTP_202=PrebuildView)
async def run(request: Request) -> Response:
    """Make it anew, as after a push; the former one is used until then."""
    prebuild = await _arranged(request)
    return json_response(_view(await services(request).prebuilds.run(prebuild.id)), 202)


@describe(tag="prebuilds", HTTP_204=None)
async def delete(request: Request) -> Response:
    """Delete it; workspaces that began with it stay as they are."""
    prebuild = await _arranged(request)
    await services(request).prebuilds.delete(prebuild.id)
    return no_content()


@describe(tag="prebuilds", HTTP_200=PrebuildLog)
async def show_log(request: Request) -> Response:
    """What the last one printed, or the one that is being made: the end of it, up to 256 KiB."""
    prebuild = await _arranged(request)
    return json_response(PrebuildLog(await services(request).prebuilds.log(prebuild.id)))


@describe(tag="prebuilds", HTTP_201=Hook)
async def new_hook(request: Request) -> Response:
    """A webhook for the repository's host, which has it made anew after a push; a former one ends.

    GitHub, GitLab, Bitbucket, Gitea, Forgejo and Gogs sign in their own ways, and whoever follows
    Standard Webhooks.
    """
    prebuild = await _arranged(request)
    provided = services(request)
    secret = await provided.prebuilds.new_hook(prebuild.id)
    url = f"{provided.settings.origin}/api/v1/prebuilds/{prebuild.id}/hook"
    return json_response(Hook(url, secret), 201)


@describe(tag="prebuilds", takes="application/json", HTTP_202=Heard)
async def hear(request: Request) -> Response:
    """What the repository's host tells, signed with the webhook's secret."""

    async def content() -> bytes:
        return b"".join([chunk async for chunk in chunks(request, hooks.BODY_LIMIT)])

    headers = {name.lower(): value for name, value in request.headers.items()}
    id = request.path_params["prebuild"]
    provided = services(request)
    queued = await provided.prebuilds.heard(id, headers, content)
    if queued:  # what nobody signed is not worth a record
        await provided.audit.append("prebuild.run", detail={"prebuild": id, "by": "webhook"})
    return json_response(Heard(queued), 202)


async def _arranged(request: Request) -> Prebuild:
    """The one in the path. Raises: NotFound: there is none that the caller may know of. Denied."""
    found = await services(request).prebuilds.get(request.path_params["prebuild"])
    user = request.state.caller.user
    if found.team and not user.admin and not await is_in_team(request, found.team):
        raise NotFound("There is no such prebuild.")
    await may_arrange(request, team=found.team)
    return found


def _view(prebuild: Prebuild) -> PrebuildView:
    built_at = datetime.fromtimestamp(prebuild.built_at, UTC) if prebuild.built_at else None
    return PrebuildView(
        id=prebuild.id,
        team=prebuild.team,
        image=prebuild.image,
        git=Repository(prebuild.git_url, prebuild.git_ref),
        every_hours=prebuild.every_hours,
        state=prebuild.state,
        error=prebuild.error,
        commit=prebuild.commit,
        seconds=round(prebuild.seconds, 3),
        built_at=built_at,
        ready=prebuild.ready,
        hooked=prebuild.hooked,
    )
