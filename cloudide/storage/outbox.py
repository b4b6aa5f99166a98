"""The outbox: what happened, written in the same transaction as the change that it tells of.

An event that is not committed never happened, and one that is committed is delivered, whatever
becomes of the server meanwhile: its deliveries to webhooks are rows of the same transaction, and
streams of events read the table. Numbers (`seq`) grow in the order of the commits, because SQLite
lets one write at a time.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.storage.tables import deliveries, events, webhooks

PREFIX = "cloudide."  # of the types, as CloudEvents wants them to be of their maker
DATA_LIMIT = 8000  # characters of an event's data
READ, SHARE, SELF = "read", "share", "self"
MARK = "outbox"  # in a connection's `info`: it has written events
# Every type there is, with what it tells of; the documentation is made from it.
TYPES: dict[str, str] = {
    "workspace.created": "somebody made a workspace",
    "workspace.started": "it runs, its agent is connected",
    "workspace.stopped": "its container has ended; `stopped_by` says if nobody asked for it",
    "workspace.failed": "it cannot be started, or its container ended by itself; `error` says why",
    "workspace.deleted": "it is gone with all its files",
    "member.added": "somebody became a member of a workspace",
    "member.changed": "a member has another role",
    "member.removed": "somebody is no member any more",
    "invite.created": "an invitation was made",
    "invite.revoked": "an invitation was revoked",
    "team.created": "somebody made a team",
    "team.changed": "a team has another name",
    "team.deleted": "a team is gone",
    "team.member_added": "somebody joined a team",
    "team.member_changed": "a member of a team has another role",
    "team.member_removed": "somebody left a team",
    "account.created": "somebody has an account now",
    "account.changed": "an account was renamed, (de)activated, or made administrator or not",
    "account.password_changed": "somebody set their address and password",
    "port.shared": "who may see a port of a workspace has changed",
    "task.finished": "a run of a task has ended; `state` says how",
    "secret.created": "a secret was made",
    "secret.version_added": "a secret has a new value",
    "secret.changed": "who may read a secret has changed",
    "secret.deleted": "a secret is gone",
    "image.created": "somebody defined an image",
    "image.deleted": "an image and its versions are gone",
    "image.built": "a build of an image has ended; `state` says how",
    "image.promoted": "another version of an image is in use, or given to a share of the new",
    "webhook.disabled": "a webhook failed for so long that it was switched off",
    "webhook.test": "somebody tried a webhook",
}


async def emit(
    db: AsyncConnection,
    type: str,
    subject: str,
    data: Mapping[str, Any] | None = None,
    *,
    workspace: str = "",
    team: str = "",
    user: str = "",
    needs: str = READ,
    readers: Sequence[str] | None = None,
    only: str = "",
) -> str:
    """Write an event and its deliveries; returns its id. It is told when `db` commits.

    It is for who may do `needs` in the workspace or team, for `user` alone (and administrators,
    unless `needs` is "self"), or, where none is named, for administrators. `readers` are the users
    who may still know of a workspace that is gone. `only`: the one webhook that is to get it.
    """
    if type not in TYPES:
        raise ValueError(f"{type} is not a type of event; see TYPES.")
    text = json.dumps(data or {}, ensure_ascii=False)
    if len(text) > DATA_LIMIT:
        text = "{}"
    now = time.time()
    id = "evt_" + secrets.token_hex(12)
    made = await db.execute(
        insert(events).values(
            id=id,
            at=now,
            type=PREFIX + type,
            subject=subject,
            workspace=workspace,
            team=team,
            user=user,
            needs=needs,
            readers=None if readers is None else ",".join(readers),
            data=text,
        )
    )
    _info(db)[MARK] = True
    seq = made.inserted_primary_key[0]  # pyright: ignore[reportOptionalSubscript]
    if needs == SELF:
        return id  # a person's own matters are no site's or team's
    scopes = [and_(webhooks.c.workspace == "", webhooks.c.team == "")]
    if workspace:
        scopes.append(webhooks.c.workspace == workspace)
    if team:
        scopes.append(webhooks.c.team == team)
    query = select(webhooks.c.id, webhooks.c.types).where(webhooks.c.active, or_(*scopes))
    if only:
        query = select(webhooks.c.id, webhooks.c.types).where(webhooks.c.id == only)
    for row in (await db.execute(query)).all():
        if only or matches(row.types, PREFIX + type):
            await db.execute(insert(deliveries).values(**new_delivery(row.id, seq, now)))
    return id


def took_mark(db: AsyncConnection) -> bool:
    """Whether events were written with this connection since this was last asked."""
    return bool(_info(db).pop(MARK, False))


def _info(db: AsyncConnection) -> dict[Any, Any]:
    assert db.sync_connection is not None
    return db.sync_connection.info


def matches(patterns: str, type: str) -> bool:
    """Whether a type is one of the patterns between commas ("": all): a type, or `prefix.*`."""
    if not patterns:
        return True
    return any(
        pattern == type or (pattern.endswith(".*") and type.startswith(pattern[:-1]))
        for pattern in patterns.split(",")
    )


def new_delivery(webhook: str, event: int, now: float) -> dict[str, Any]:
    """A row of `deliveries` that is to be tried at once."""
    return {
        "id": "dlv_" + secrets.token_hex(12),
        "webhook": webhook,
        "event": event,
        "state": "pending",
        "attempts": 0,
        "created_at": now,
        "due_at": now,
    }
