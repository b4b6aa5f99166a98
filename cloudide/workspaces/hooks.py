"""Webhooks of Git hosts: who signed one, and which branch was pushed to. Pure.

Each host has its own convention; what a message is signed with is the secret that the prebuild was
given, and nothing else of it is believed before that fits.

GitHub, Bitbucket   HMAC-SHA256 of the body, `X-Hub-Signature-256` or `X-Hub-Signature`: sha256=HEX
Gitea, Forgejo      the same in `X-Gitea-Signature` or `X-Forgejo-Signature`: HEX; Gogs likewise
GitLab              the secret itself in `X-Gitlab-Token`
Standard Webhooks   `webhook-signature`: v1,BASE64 over id, timestamp and body
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

import msgspec

BODY_LIMIT = 5 * 1024 * 1024  # bytes
TOLERANCE = 300  # seconds that a Standard Webhook's timestamp may be off
PREFIX = "whsec_"
_HEADS = "refs/heads/"
_PLAIN = ("x-gitea-signature", "x-forgejo-signature", "x-gogs-signature")


def is_signed(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether whoever sent this knows the secret. `headers`: names in small letters."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    for name in ("x-hub-signature-256", "x-hub-signature"):
        if signature := headers.get(name, ""):
            return _same(signature, f"sha256={digest}")
    for name in _PLAIN:
        if signature := headers.get(name, ""):
            return _same(signature, digest)
    if token := headers.get("x-gitlab-token", ""):
        return _same(token, secret)
    return _is_standard(headers, body, secret)


def _is_standard(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    stamp = headers.get("webhook-timestamp", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 12):
        return False
    if abs(time.time() - int(stamp)) > TOLERANCE:
        return False
    content = f"{headers.get('webhook-id', '')}.{stamp}.".encode() + body
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        return False
    expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return any(_same(each, expected) for each in headers.get("webhook-signature", "").split()[:8])


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


class Pushed(msgspec.Struct, frozen=True):
    """`branches` that were pushed to, and the repository's `default`; "": it does not say."""

    branches: list[str]
    default: str


def pushed(body: bytes) -> Pushed | None:
    """What a message says that was pushed; None: it tells of something else."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    repository = found.get("repository") or found.get("project")
    default = repository.get("default_branch") if isinstance(repository, dict) else ""
    branches = [*_branches(found)]
    return Pushed(branches, default if isinstance(default, str) else "") if branches else None


def _branches(found: dict[str, Any]) -> list[str]:
    ref = found.get("ref")
    if isinstance(ref, str) and ref.startswith(_HEADS):
        # A branch that was deleted has nothing to be built from.
        after = found.get("after")
        gone = found.get("deleted") is True or (isinstance(after, str) and not after.strip("0"))
        return [] if gone else [ref.removeprefix(_HEADS)]
    push = found.get("push")  # Bitbucket
    changes = push.get("changes") if isinstance(push, dict) else None
    names: list[str] = []
    for change in changes[:100] if isinstance(changes, list) else []:
        new = change.get("new") if isinstance(change, dict) else None
        if isinstance(new, dict) and new.get("type") == "branch":
            names.append(str(new.get("name", "")))
    return names


def concerns(what: Pushed, ref: str) -> bool:
    """Whether a prebuild of a branch ("": the default one) is to be made anew."""
    if ref:
        return ref in what.branches
    return not what.default or what.default in what.branches
