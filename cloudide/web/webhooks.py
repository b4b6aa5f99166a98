"""`/api/v1/webhooks`: who is told of events, how that went, and sending them once more."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import CloudIDEError, InvalidInput, NotFound
from cloudide.events.deliveries import Delivery
from cloudide.events.webhooks import Webhook
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.pagination import DEFAULT, Cursor, limit_of, page_of
from cloudide.web.preconditions import etag, wanted_revision
from cloudide.web.scopes import may_arrange
from cloudide.web.services import services

IF_MATCH = {"If-Match": "the ETag that it has to have still"}


class NewWebhook(msgspec.Struct, forbid_unknown_fields=True):
    """Of a workspace, of a team, or, without both, of the site. `types` []: all; `prefix.*` is for
    all that begin so."""

    url: str
    types: list[str] = []
    description: str = ""
    workspace: str = ""
    team: str = ""


class WebhookChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is absent stays as it is. `active` true also for one that was switched off."""

    url: str | None = None
    types: list[str] | None = None
    description: str | None = None
    active: bool | None = None


class WebhookView(msgspec.Struct, omit_defaults=True):
    """`secret` is there only in the answer that makes it. While `previous_until` lies ahead, what
    is sent is signed with the secret before, too."""

    id: str
    url: str
    types: list[str]
    description: str
    workspace: str
    team: str
    active: bool
    disabled_reason: str
    created_at: datetime
    created_by: str
    previous_until: datetime | None = None
    secret: str = ""


class WebhookList(msgspec.Struct):
    webhooks: list[WebhookView]


class DeliveryView(msgspec.Struct):
    """`seconds`, `status` and `response` are those of the last attempt."""

    id: str
    event: str
    type: str
    state: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    attempted_at: datetime | None
    status: int | None
    seconds: float | None
    response: str
    error: str


class DeliveryList(msgspec.Struct):
    """The newest first; `next` is the `cursor` of the page that follows, null at the end."""

    deliveries: list[DeliveryView]
    next: str | None


class Since(msgspec.Struct, forbid_unknown_fields=True):
    since: datetime


class Replayed(msgspec.Struct):
    events: int


class Tested(msgspec.Struct):
    event: str


@describe(
    tag="webhooks",
    query={"workspace": "those of a workspace", "team": "those of a team"},
    HTTP_200=WebhookList,
)
async def show_all(request: Request) -> Response:
    """The webhooks of a workspace, of a team, or of the site."""
    query = request.query_params
    workspace, team = query.get("workspace", ""), query.get("team", "")
    await may_arrange(request, workspace=workspace, team=team)
    found = await services(request).webhooks.list(workspace=workspace, team=team)
    return json_response(WebhookList([_view(each) for each in found]))


@describe(tag="webhooks", body=NewWebhook, HTTP_201=WebhookView)
async def create(request: Request) -> Response:
    """Let a program be told of events; the secret that signs them is shown this once."""
    body = await json_body(request, NewWebhook)
    request.state.audit |= {"workspace": body.workspace[:64], "team": body.team[:64]}
    user = await may_arrange(request, workspace=body.workspace, team=body.team)
    webhook, secret = await services(request).webhooks.create(
        body.url,
        body.types,
        description=body.description,
        workspace=body.workspace,
        team=body.team,
        by=user.id,
    )
    request.state.audit |= {"webhook": webhook.id, "url": _host(webhook)}
    headers = {"Location": f"/api/v1/webhooks/{webhook.id}", "ETag": etag(webhook.revision)}
    return json_response(_view(webhook, secret), 201, headers)


@describe(tag="webhooks", HTTP_200=WebhookView)
async def show(request: Request) -> Response:
    return _answer(await _arranged(request))


@describe(tag="webhooks", body=WebhookChange, headers=IF_MATCH, HTTP_200=WebhookView)
async def change(request: Request) -> Response:
    """Change it, or switch it off and on; with `If-Match`, only if nobody else has meanwhile."""
    webhook = await _arranged(request)
    body = await json_body(request, WebhookChange)
    changed = await services(request).webhooks.change(
        webhook.id,
        url=body.url,
        types=body.types,
        description=body.description,
        active=body.active,
        revision=wanted_revision(request),
    )
    services(request).dispatcher.poke()
    return _answer(changed)


@describe(tag="webhooks", headers=IF_MATCH, HTTP_204=None)
async def delete(request: Request) -> Response:
    """Delete it with its log."""
    webhook = await _arranged(request)
    await services(request).webhooks.delete(webhook.id, wanted_revision(request))
    return no_content()


@describe(tag="webhooks", headers=IF_MATCH, HTTP_200=WebhookView)
async def rotate(request: Request) -> Response:
    """Give it a new secret, shown this once; for a day both sign."""
    webhook = await _arranged(request)
    changed, secret = await services(request).webhooks.rotate(webhook.id, wanted_revision(request))
    return _answer(changed, secret)


@describe(tag="webhooks", HTTP_202=Tested)
async def test(request: Request) -> Response:
    """Send it an event of type cloudide.webhook.test."""
    webhook = await _arranged(request)
    return json_response(Tested(await services(request).webhooks.test(webhook.id)), 202)


@describe(tag="webhooks", paged=DEFAULT, HTTP_200=DeliveryList)
async def deliveries(request: Request) -> Response:
    """The log: what was sent, and how that went."""
    webhook = await _arranged(request)
    limit = limit_of(request)
    cursor = Cursor.of(request, tuple[float, str])
    found = await services(request).deliveries.page(webhook.id, cursor, limit + 1)
    page, following = page_of(found, limit, lambda last: (last.created_at, last.id))
    return json_response(DeliveryList([_delivery_view(each) for each in page], following))


@describe(tag="webhooks", HTTP_202=DeliveryView)
async def replay(request: Request) -> Response:
    """Send the event of a delivery once more; its receiver knows it by its id."""
    webhook = await _arranged(request)
    provided = services(request)
    fresh = await provided.deliveries.replay(webhook.id, request.path_params["delivery"])
    provided.dispatcher.poke()
    return json_response(_delivery_view(fresh), 202)


@describe(tag="webhooks", body=Since, HTTP_202=Replayed)
async def replay_since(request: Request) -> Response:
    """Send everything once more since a time, at most a thousand events; ask again for the rest."""
    webhook = await _arranged(request)
    body = await json_body(request, Since)
    if body.since.tzinfo is None:
        raise InvalidInput("since is a time with its offset from UTC.", pointer="/since")
    provided = services(request)
    count = await provided.deliveries.replay_since(webhook.id, body.since.timestamp())
    provided.dispatcher.poke()
    return json_response(Replayed(count), 202)


async def _arranged(request: Request) -> Webhook:
    """The webhook in the path, if the caller may arrange it.

    Raises:
        NotFound: there is none, or they may not know. Denied.
    """
    webhook = await services(request).webhooks.get(request.path_params["webhook"])
    try:
        await may_arrange(request, workspace=webhook.workspace, team=webhook.team)
    except CloudIDEError as error:
        # Who cannot arrange it does not learn whether there is one.
        raise NotFound("There is no such webhook.") from error
    if hasattr(request.state, "audit"):
        request.state.audit |= {"webhook": webhook.id, "workspace": webhook.workspace}
    return webhook


def _answer(webhook: Webhook, secret: str = "") -> Response:
    return json_response(_view(webhook, secret), headers={"ETag": etag(webhook.revision)})


def _host(webhook: Webhook) -> str:
    """What of an address is recorded: its path may be a secret."""
    return webhook.url.partition("://")[2].partition("/")[0]


def _view(webhook: Webhook, secret: str = "") -> WebhookView:
    return WebhookView(
        id=webhook.id,
        url=webhook.url,
        types=webhook.types,
        description=webhook.description,
        workspace=webhook.workspace,
        team=webhook.team,
        active=webhook.active,
        disabled_reason=webhook.disabled_reason,
        created_at=_when(webhook.created_at),
        created_by=webhook.created_by,
        previous_until=_when(webhook.previous_until) if webhook.previous_until else None,
        secret=secret,
    )


def _delivery_view(delivery: Delivery) -> DeliveryView:
    pending = delivery.state == "pending"
    return DeliveryView(
        id=delivery.id,
        event=delivery.event,
        type=delivery.type,
        state=delivery.state,
        attempts=delivery.attempts,
        created_at=_when(delivery.created_at),
        next_attempt_at=_when(delivery.due_at) if pending else None,
        attempted_at=None if delivery.attempted_at is None else _when(delivery.attempted_at),
        status=delivery.status,
        seconds=delivery.seconds,
        response=delivery.response,
        error=delivery.error,
    )


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
