"""`/api/v1/device`: programs ask to be signed in, and people answer (RFC 8628)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import TooMany
from cloudide.identity.attempts import Attempts
from cloudide.identity.devices import INTERVAL, SECONDS, Asked, Choice, DeviceError
from cloudide.identity.permissions import Scope
from cloudide.web.access import Caller, grant_for
from cloudide.web.bodies import bytes_body, json_body, json_response, no_content
from cloudide.web.openapi import describe
from cloudide.web.services import services

FORM_LIMIT = 4096  # bytes
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
FORM = "application/x-www-form-urlencoded"
_NO_FORM = f"The body is a form ({FORM}), in which no field comes twice."
NO_STORE = {"Cache-Control": "no-store"}


class Codes(msgspec.Struct):
    """RFC 8628 section 3.2; times in seconds."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class AccessToken(msgspec.Struct, omit_defaults=True):
    """RFC 6749 section 5.1. `scope`: between spaces; `expires_in` is absent when it never does."""

    access_token: str
    token_type: str
    scope: str
    expires_in: int | None = None


class OAuthProblem(msgspec.Struct):
    """RFC 6749 section 5.2."""

    error: str
    error_description: str


class DeviceRequest(msgspec.Struct):
    """`here`: it comes from the address that you come from."""

    code: str
    client: str
    address: str
    here: bool
    scopes: list[Scope]
    asked_at: datetime


class DeviceAnswer(msgspec.Struct):
    """`allow` false: the program is refused. The rest is as of a new API token."""

    allow: bool
    name: str = ""
    scopes: list[Scope] = []
    workspace: str = ""
    days: int | None = 90


@describe(tag="device", takes=FORM, HTTP_200=Codes, HTTP_400=OAuthProblem)
async def authorize(request: Request) -> Response:
    """Ask to be signed in; a form with `client_id`, what the program calls itself, and `scope`."""
    form = await _form(request)
    if form is None:
        return _problem("invalid_request", _NO_FORM)
    try:
        scopes = [Scope(each) for each in form.get("scope", "read").split()]
    except ValueError:
        return _problem("invalid_scope", "Scopes are read, write, exec and admin.")
    provided = services(request)
    secret, code = provided.devices.begin(form.get("client_id", ""), _address(request), scopes)
    page = f"{provided.settings.origin}/device"
    return json_response(
        Codes(secret, code, page, f"{page}#{code}", int(SECONDS), int(INTERVAL)), headers=NO_STORE
    )


_SAID = {
    DeviceError.PENDING: "Nobody has answered yet.",
    DeviceError.SLOW_DOWN: "Wait five seconds longer between two questions.",
    DeviceError.DENIED: "Somebody said no.",
    DeviceError.EXPIRED: "The code is not good any more, or never was. Ask for a new one.",
}


@describe(tag="device", takes=FORM, HTTP_200=AccessToken, HTTP_400=OAuthProblem)
async def token(request: Request) -> Response:
    """The API token, once somebody has allowed it; a form with `device_code`, `grant_type`."""
    form = await _form(request)
    if form is None:
        return _problem("invalid_request", _NO_FORM)
    if form.get("grant_type") != GRANT_TYPE:
        return _problem("unsupported_grant_type", f"grant_type is {GRANT_TYPE}.")
    provided = services(request)
    answer = provided.devices.ask(form.get("device_code", ""))
    if isinstance(answer, DeviceError):
        return _problem(answer.value, _SAID[answer])
    user = await provided.accounts.get(answer.user)
    if user is None:  # deactivated meanwhile
        return _problem(DeviceError.DENIED.value, _SAID[DeviceError.DENIED])
    request.state.audit |= {"by": user.id, "name": user.name}
    request.state.audit |= {"scopes": list(answer.scopes), "for": answer.workspace}
    try:
        made, secret = await provided.accounts.tokens.create(
            user.id, answer.name, answer.scopes, answer.workspace, answer.days
        )
    except TooMany as error:
        return _problem(DeviceError.DENIED.value, error.message)
    request.state.audit |= {"token": made.id, "days": answer.days}
    expires = None if answer.days is None else answer.days * 86400
    return json_response(
        AccessToken(secret, "Bearer", " ".join(made.scopes), expires), headers=NO_STORE
    )


@describe(tag="device", HTTP_200=DeviceRequest)
async def show(request: Request) -> Response:
    """What asks with this code."""
    return json_response(_view(request, _guarded(request)))


@describe(tag="device", body=DeviceAnswer, HTTP_204=None)
async def answer(request: Request) -> Response:
    """Allow it, or not."""
    body = await json_body(request, DeviceAnswer)
    asked = _guarded(request)
    provided, caller = services(request), request.state.caller
    request.state.audit |= {"client": asked.client, "address": asked.address}
    request.state.audit |= {"allowed": body.allow}
    if not body.allow:
        provided.devices.deny(asked.code)
        return no_content()
    if body.workspace:
        await grant_for(request, caller.user, body.workspace)
    name = body.name.strip() or asked.client
    provided.accounts.tokens.check(name, body.scopes, body.days)
    choice = Choice(caller.user.id, name, body.scopes, body.workspace, body.days)
    provided.devices.allow(asked.code, choice)
    return no_content()


def _guarded(request: Request) -> Asked:
    """The request with the code in the path; who guesses codes is stopped (section 5.1)."""
    caller: Caller = request.state.caller
    attempts: Attempts = services(request).device_attempts
    attempts.check(caller.user.id, _address(request))
    try:
        return services(request).devices.find(request.path_params["code"])
    except Exception:
        attempts.failed(caller.user.id, _address(request))
        raise


def _view(request: Request, asked: Asked) -> DeviceRequest:
    return DeviceRequest(
        asked.code,
        asked.client,
        asked.address,
        asked.address == _address(request),
        list(asked.scopes),
        datetime.now(UTC) - timedelta(seconds=asked.age),
    )


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of the body; None: it is no form. Raises: TooLarge."""
    body = await bytes_body(request, FORM_LIMIT)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20)
    except (UnicodeDecodeError, ValueError):
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None


def _problem(error: str, description: str) -> Response:
    return json_response(OAuthProblem(error, description), 400, NO_STORE)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
