"""Who signed a Git host's webhook, and whether a prebuild is concerned."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable

import pytest

from cloudide.workspaces import hooks

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
BODY = b'{"ref": "refs/heads/main"}'
HEX = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
SHA1 = hmac.new(SECRET.encode(), BODY, hashlib.sha1).hexdigest()


def standard(age: float = 0.0) -> dict[str, str]:
    """Signed so many seconds ago."""
    stamp = time.time() - age
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = hmac.new(key, f"id.{stamp:.0f}.".encode() + BODY, hashlib.sha256).digest()
    signature = f"v1,wrong v1,{base64.b64encode(signed).decode()}"
    return {
        "webhook-id": "id",
        "webhook-timestamp": f"{stamp:.0f}",
        "webhook-signature": signature,
    }


@pytest.mark.parametrize(
    ("headers", "body", "right"),
    [
        ({"x-hub-signature-256": f"sha256={HEX}"}, BODY, True),
        ({"x-hub-signature": f"sha256={HEX}"}, BODY, True),
        ({"x-gitea-signature": HEX}, BODY, True),
        ({"x-forgejo-signature": HEX}, BODY, True),
        ({"x-gogs-signature": HEX}, BODY, True),
        ({"x-gitlab-token": SECRET}, BODY, True),
        (standard, BODY, True),
        (lambda: standard(3600), BODY, False),
        (standard, BODY + b" ", False),
        ({"x-hub-signature-256": f"sha256={HEX}"}, BODY + b" ", False),
        ({"x-hub-signature": f"sha1={SHA1}"}, BODY, False),
        ({"x-hub-signature-256": HEX}, BODY, False),
        ({"x-gitea-signature": ""}, BODY, False),
        ({"x-gitlab-token": SECRET[:-1]}, BODY, False),
        ({"x-gitlab-token": "\u00e9"}, BODY, False),
        ({"webhook-timestamp": "9" * 400, "webhook-signature": "v1,"}, BODY, False),
        ({}, BODY, False),
    ],
    ids=range(17),
)
def test_only_who_knows_the_secret_is_believed(
    headers: dict[str, str] | Callable[[], dict[str, str]], body: bytes, right: bool
) -> None:
    if callable(headers):
        headers = headers()
    assert hooks.is_signed(headers, body, SECRET) is right


@pytest.mark.parametrize(
    ("message", "ref", "right"),
    [
        ({"ref": "refs/heads/main"}, "main", True),
        ({"ref": "refs/heads/main"}, "other", False),
        ({"ref": "refs/heads/main", "repository": {"default_branch": "main"}}, "", True),
        ({"ref": "refs/heads/dev", "repository": {"default_branch": "main"}}, "", False),
        ({"ref": "refs/heads/dev", "project": {"default_branch": "main"}}, "", False),
        ({"ref": "refs/heads/dev"}, "", True),
        ({"ref": "refs/heads/main", "deleted": True}, "main", False),
        ({"ref": "refs/heads/main", "after": "0" * 40}, "main", False),
        ({"ref": "refs/tags/v1"}, "", False),
        ({"push": {"changes": [{"new": {"type": "branch", "name": "a/b"}}]}}, "a/b", True),
        ({"push": {"changes": [{"new": None}, 1]}}, "", False),
        ({"zen": "ping"}, "", False),
        ([], "", False),
        ({"ref": 1, "push": 2, "repository": 3}, "", False),
    ],
    ids=range(14),
)
def test_a_push_concerns_prebuilds_of_its_branch(message: object, ref: str, right: bool) -> None:
    found = hooks.pushed(json.dumps(message).encode())
    assert (found is not None and hooks.concerns(found, ref)) is right


def test_what_is_no_message_is_none() -> None:
    assert hooks.pushed(b"\xff{") is None
    assert hooks.pushed(b"[" * 100_000) is None
