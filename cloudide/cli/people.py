"""`cloudide user …`, `invite …`, `audit list`: who is here, and what they did."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from cloudide.cli.output import Output
from cloudide.cli.remotely import WorkspaceName, remotely
from cloudide.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

user = typer.Typer(no_args_is_help=True, help="People who use a server.")
invite = typer.Typer(no_args_is_help=True, help="Invitations to a workspace.")
audit = typer.Typer(no_args_is_help=True, help="What people did on a server.")


class InvitedAs(StrEnum):
    VIEWER = "viewer"
    EDITOR = "editor"
    TERMINAL = "terminal"


@user.command("list")
@remotely
def list_users(remote: Remote, out: Output) -> None:
    """List everybody who has an account; for administrators."""
    found = remote.list("/api/v1/users", "users")
    out.rows(found, "name", "id", "email", "admin", "active")


@user.command("change")
@remotely
def change_user(
    remote: Remote,
    out: Output,
    user: Annotated[str, typer.Argument(help="Id, email address or name of somebody.")],
    admin: Annotated[
        bool | None, typer.Option("--admin/--no-admin", help="An administrator, or not.")
    ] = None,
    active: Annotated[
        bool | None,
        typer.Option("--active/--inactive", help="Whoever is inactive is signed out everywhere."),
    ] = None,
) -> None:
    """Make somebody an administrator, or deactivate them; for administrators."""
    asked = {"admin": admin, "active": active}
    change = {name: value for name, value in asked.items() if value is not None}
    if not change:
        raise InvalidInput("Say what to change: --admin, --no-admin, --active or --inactive.")
    out.one(remote.patch(f"/api/v1/users/{user_id(remote, user)}", change))


def user_id(remote: Remote, named: str) -> str:
    """The id of somebody. Raises: NotFound. InvalidInput: several have that name."""
    found: list[dict[str, Any]] = remote.list("/api/v1/users", "users")
    for field in ("id", "email", "name"):
        ids = [each["id"] for each in found if each[field] == named]
        if len(ids) > 1:
            raise InvalidInput(f"Several people are called {named!r}; use one of {ids}.")
        if ids:
            return ids[0]
    raise NotFound(f"Nobody here is {named!r}; see `cloudide user list`.")


@invite.command("create")
@remotely
def create_invite(
    remote: Remote,
    out: Output,
    workspace: WorkspaceName,
    role: Annotated[InvitedAs, typer.Option(help="What they may do there.")] = InvitedAs.EDITOR,
    approval: Annotated[bool, typer.Option(help="Somebody has to let them in.")] = False,
) -> None:
    """Make a link by which others join a workspace; it is shown this once."""
    body = {"workspace": remote.workspace(workspace), "role": role, "approval": approval}
    out.one(remote.post("/api/v1/invites", body))


@invite.command("list")
@remotely
def list_invites(remote: Remote, out: Output, workspace: WorkspaceName) -> None:
    """List the invitations that can still be used."""
    query = urlencode({"workspace": remote.workspace(workspace)})
    found = remote.list(f"/api/v1/invites?{query}", "invites")
    out.rows(found, "id", "role", "invited_by", "expires_at")


@invite.command("revoke")
@remotely
def revoke_invite(
    remote: Remote, out: Output, id: Annotated[str, typer.Argument(help="Id of an invitation.")]
) -> None:
    """End an invitation; who joined by it stays."""
    remote.delete(f"/api/v1/invites/{id}")
    out.said(f"The invitation {id} has ended.", id=id)


@audit.command("list")
@remotely
def list_records(
    remote: Remote,
    out: Output,
    workspace: Annotated[str, typer.Option(help="Id or name: what was done there alone.")] = "",
    limit: Annotated[int, typer.Option(help="How many records.", min=1, max=1000)] = 50,
    before: Annotated[int | None, typer.Option(help="Those before this number.")] = None,
) -> None:
    """List what people did, the newest first; for administrators."""
    query: dict[str, Any] = {"limit": limit}
    if workspace:
        query["workspace"] = remote.workspace(workspace)
    if before is not None:
        query["before"] = before
    found = remote.get(f"/api/v1/audit?{urlencode(query)}")["records"]
    out.rows(found, "seq", "at", "name", "action", "workspace", "outcome", "address", "detail")
