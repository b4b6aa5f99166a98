"""`cloudide pool …`: workspaces that are kept ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import typer

from cloudide.cli.output import Output
from cloudide.cli.remotely import remotely
from cloudide.cli.teams import team_id

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

pool = typer.Typer(no_args_is_help=True, help="Workspaces that are kept ready.")

POOLS = "/api/v1/pools"
OfTeam = Annotated[str, typer.Option("--team", help="Id or name: those of a team.")]


@pool.command("list")
@remotely
def list_pools(remote: Remote, out: Output, team: OfTeam = "") -> None:
    """List the pools of the site or of a team, and how many workspaces of each are ready."""
    query = f"?{urlencode({'team': team_id(remote, team)})}" if team else ""
    out.rows(remote.get(POOLS + query)["pools"], "image", "size", "ready", "error")


@pool.command("set")
@remotely
def resize(
    remote: Remote,
    out: Output,
    image: Annotated[str, typer.Argument(help="Id of an image.")],
    size: Annotated[int, typer.Argument(help="How many; 0: none.")],
    team: OfTeam = "",
) -> None:
    """Keep so many workspaces of an image ready."""
    body = {"image": image, "size": size, "team": team_id(remote, team) if team else ""}
    out.one(remote.put_json(POOLS, body))
