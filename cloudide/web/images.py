"""`/api/v1/images`: what a workspace can be made from."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.web.bodies import json_response
from cloudide.web.openapi import describe
from cloudide.web.services import services


class ImageView(msgspec.Struct):
    id: str
    title: str
    description: str
    ready: bool


class ImageList(msgspec.Struct):
    images: list[ImageView]


@describe(tag="images", HTTP_200=ImageList)
async def show_all(request: Request) -> Response:
    """The images, and whether each is built already."""
    found = await services(request).images.list()
    return json_response(
        ImageList([ImageView(each.id, each.title, each.description, each.ready) for each in found])
    )
