"""`cloudide prebuild …`: projects that are set up ahead of new workspaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import typer

from cloudide.cli.output import Format, Output
from cloudide.cli.remotely import remotely
from cloudide.cli.teams import team_id

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

prebuild = typer.Typer(
    no_args_is_help=True, help="Projects that are set up ahead of new workspaces."
)

PREBUILDS = "/api/v1/prebuilds"
OfTeam = Annotated[str, typer.Option("--team", help="Id or name: those of a team.")]
PrebuildId = Annotated[str, typer.Argument(help="Id of a prebuild.")]


@prebuild.command("list")
@remotely
def list_prebuilds(remote: Remote, out: Output, team: OfTeam = "") -> None:
    """List the prebuilds of the site or of a team, and how the last of each went."""
    query = f"?{urlencode({'team': team_id(remote, team)})}" if team else ""
    found = remote.get(PREBUILDS + query)["prebuilds"]
    rows = [{**each, "url": each["git"]["url"], "ref": each["git"]["ref"]} for each in found]
    out.rows(rows, "id", "url", "ref", "image", "state", "commit", "ready", "error")


@prebuild.command("create")
@remotely
def create(
    remote: Remote,
    out: Output,
    repository: Annotated[str, typer.Argument(help="Address of a Git repository.")],
    image: Annotated[str, typer.Option(help="Id of an image.")] = "base",
    ref: Annotated[str, typer.Option(help="A branch; default: the repository's own.")] = "",
    every: Annotated[float, typer.Option(help="Hours after which it is made anew; 0: never.")] = 0,
    ready: Annotated[int, typer.Option(help="Workspaces that are kept ready with it.")] = 0,
    team: OfTeam = "",
) -> None:
    """Set a repository up ahead, soon and by a schedule."""
    body = {
        "image": image,
        "git": {"url": repository, "ref": ref},
        "every_hours": every,
        "ready": ready,
        "team": team_id(remote, team) if team else "",
    }
    out.one(remote.post(PREBUILDS, body))


@prebuild.command("run")
@remotely
def run(remote: Remote, out: Output, id: PrebuildId) -> None:
    """Make one anew, as after a push."""
    out.one(remote.post(f"{PREBUILDS}/{id}/runs"))


@prebuild.command("log")
@remotely
def log(remote: Remote, out: Output, id: PrebuildId) -> None:
    """Print what the last one said, or says."""
    found = remote.get(f"{PREBUILDS}/{id}/log")
    out.one(found) if out.format is Format.JSON else typer.echo(found["log"], nl=False)


@prebuild.command("hook")
@remotely
def hook(remote: Remote, out: Output, id: PrebuildId) -> None:
    """Make a webhook for the repository's host; its secret is shown once, a former one ends."""
    out.one(remote.post(f"{PREBUILDS}/{id}/hook-secret"))


@prebuild.command("delete")
@remotely
def delete(remote: Remote, out: Output, id: PrebuildId) -> None:
    """Delete one; workspaces that began with it stay as they are."""
    remote.delete(f"{PREBUILDS}/{id}")
    out.said("The prebuild is deleted.", id=id)
