"""`/api/v1/pools`: how many workspaces are kept ready, of which images."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import NotFound
from cloudide.web.bodies import json_body, json_response
from cloudide.web.openapi import describe
from cloudide.web.scopes import may_arrange
from cloudide.web.services import services
from cloudide.workspaces.pools import PoolState


class PoolSize(msgspec.Struct, forbid_unknown_fields=True):
    """`size` 0: none. `team`: for its workspaces alone; "": for everybody's."""

    image: str
    size: int
    team: str = ""


class PoolView(msgspec.Struct):
    """`ready` of `size` can be claimed now; `error`: why not more are made. `prebuild`: which one
    fills them; its size is said there."""

    image: str
    team: str
    size: int
    ready: int
    error: str
    prebuild: str = ""


class PoolList(msgspec.Struct):
    """`limit`: how many workspaces all pools of one team hold; 0: the site's, which have none."""

    pools: list[PoolView]
    limit: int


@describe(tag="pools", query={"team": "those of a team"}, HTTP_200=PoolList)
async def show_all(request: Request) -> Response:
    """The pools of a team, or of the site."""
    team = request.query_params.get("team", "")
    await may_arrange(request, team=team)
    pools = services(request).supervisor.pools
    found = [_view(each) for each in await pools.list(team)]
    return json_response(PoolList(found, pools.per_team if team else 0))


@describe(tag="pools", body=PoolSize, HTTP_200=PoolView)
async def resize(request: Request) -> Response:
    """Keep so many workspaces of an image ready; whoever creates one of it gets one of these."""
    body = await json_body(request, PoolSize)
    request.state.audit |= {"team": body.team[:64], "image": body.image[:64], "size": body.size}
    await may_arrange(request, team=body.team)
    provided = services(request)
    pools = provided.supervisor.pools
    image = body.image
    try:
        image = provided.images.resolve(image, {body.team} if body.team else set())
    except NotFound:
        if body.size:
            raise  # the pool of an image that is gone can be ended
    return json_response(_view(await pools.resize(body.team, image, body.size)))


def _view(state: PoolState) -> PoolView:
    pool = state.pool
    return PoolView(pool.image, pool.team, pool.size, state.ready, state.error, pool.prebuild)
