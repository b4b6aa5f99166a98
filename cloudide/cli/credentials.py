"""`cloudide token …`, `session …`: what signs you in. They need a token with the scope admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudide.cli.output import Output
from cloudide.cli.remotely import remotely
from cloudide.errors import InvalidInput
from cloudide.identity.permissions import Scope

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

token = typer.Typer(no_args_is_help=True, help="Your API tokens.")
session = typer.Typer(no_args_is_help=True, help="The browsers that are signed in as you.")


@token.command("list")
@remotely
def list_tokens(remote: Remote, out: Output) -> None:
    """List your tokens, without their secrets."""
    found = remote.list("/api/v1/tokens", "tokens")
    out.rows(found, "id", "name", "scopes", "workspace", "expires_at", "used_at")


@token.command("create")
@remotely
def create_token(
    remote: Remote,
    out: Output,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="May be repeated.")] = None,
    workspace: Annotated[str, typer.Option(help="Id or name: for this one alone.")] = "",
    days: Annotated[int, typer.Option(help="Valid for so long; 0: until revoked.", min=0)] = 90,
) -> None:
    """Make a token; it is shown this once."""
    body: dict[str, Any] = {
        "name": name,
        "scopes": scope or [Scope.READ],
        "workspace": remote.workspace(workspace) if workspace else "",
        "days": days or None,
    }
    out.one(remote.post("/api/v1/tokens", body))


@token.command("revoke")
@remotely
def revoke_token(
    remote: Remote, out: Output, id: Annotated[str, typer.Argument(help="Id of a token.")]
) -> None:
    """End a token; programs that use it are cut off at once."""
    remote.delete(f"/api/v1/tokens/{id}")
    out.said(f"The token {id} has ended.", id=id)


@session.command("list")
@remotely
def list_sessions(remote: Remote, out: Output) -> None:
    """List the browsers that are signed in as you."""
    found = remote.list("/api/v1/sessions", "sessions")
    out.rows(found, "id", "used_at", "created_at", "agent")


@session.command("end")
@remotely
def end_session(
    remote: Remote,
    out: Output,
    id: Annotated[str, typer.Argument(help="Id of a session.")] = "",
    all: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """Sign a browser out."""
    if bool(id) == all:
        raise InvalidInput("Name a session, or --all.")
    remote.delete("/api/v1/sessions" if all else f"/api/v1/sessions/{id}")
    out.said("All browsers are signed out." if all else f"The session {id} has ended.", id=id)
