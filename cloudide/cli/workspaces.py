"""`cloudide workspace …`, `port …`: what runs, and what is seen of it."""

from __future__ import annotations

import time
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudide.cli.output import Output
from cloudide.cli.remotely import WorkspaceName, Yes, confirmed, remotely
from cloudide.cli.teams import team_id
from cloudide.errors import CloudIDEError, NotFound, Unavailable

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

workspace = typer.Typer(no_args_is_help=True, help="Workspaces.")
port = typer.Typer(no_args_is_help=True, help="Ports of a workspace, and who sees them.")

WORKSPACES = "/api/v1/workspaces"
LOOK = 0.5  # seconds between two looks at a workspace that is waited for
PATIENCE = 900.0  # seconds; a clone may take that long

Wait = Annotated[bool, typer.Option(help="Wait until it is done.")]


class Seen(StrEnum):
    """Who sees a port."""

    PRIVATE = "private"
    MEMBERS = "members"
    PUBLIC = "public"


@workspace.command("list")
@remotely
def list_workspaces(remote: Remote, out: Output) -> None:
    """List the workspaces that you may open."""
    found = remote.list(WORKSPACES, "workspaces")
    out.rows(found, "name", "id", "state", "image", "role", "owner_name", "created_at")


@workspace.command("create")
@remotely
def create(
    remote: Remote,
    out: Output,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    image: Annotated[
        str, typer.Option(help="The image; see `cloudide image list`. Default: the project's.")
    ] = "",
    git: Annotated[str, typer.Option(help="URL of a Git repository to clone.")] = "",
    ref: Annotated[str, typer.Option(help="Its branch or tag.")] = "",
    team: Annotated[str, typer.Option(help="Id or name: of a team, not your own.")] = "",
    wait: Wait = True,
) -> None:
    """Create a workspace."""
    body: dict[str, Any] = {"name": name, "image": image}
    if git:
        body["git"] = {"url": git, "ref": ref}
    if team:
        body["team"] = team_id(remote, team)
    made = remote.post(WORKSPACES, body)
    out.one(_settled(remote, made["id"], {"running"}) if wait else made)


@workspace.command("show")
@remotely
def show(remote: Remote, out: Output, workspace: WorkspaceName) -> None:
    """Show one workspace."""
    out.one(remote.get(f"{WORKSPACES}/{remote.workspace(workspace)}"))


@workspace.command("image")
@remotely
def reimage(
    remote: Remote,
    out: Output,
    workspace: WorkspaceName,
    image: Annotated[str, typer.Argument(help="The image; see `cloudide image list`.")],
) -> None:
    """Make a workspace from another image; one that runs is restarted."""
    out.one(remote.patch(f"{WORKSPACES}/{remote.workspace(workspace)}", {"image": image}))


@workspace.command("start")
@remotely
def start(remote: Remote, out: Output, workspace: WorkspaceName, wait: Wait = True) -> None:
    """Start a workspace."""
    _operate(remote, out, workspace, "start", {"running"} if wait else set())


@workspace.command("stop")
@remotely
def stop(remote: Remote, out: Output, workspace: WorkspaceName, wait: Wait = True) -> None:
    """Stop a workspace; its files stay."""
    _operate(remote, out, workspace, "stop", {"stopped"} if wait else set())


@workspace.command("restart")
@remotely
def restart(remote: Remote, out: Output, workspace: WorkspaceName, wait: Wait = True) -> None:
    """Make a workspace's container anew, from its present image."""
    _operate(remote, out, workspace, "restart", {"running"} if wait else set())


@workspace.command("update")
@remotely
def update(
    remote: Remote,
    out: Output,
    workspace: WorkspaceName,
    restart: Annotated[bool, typer.Option(help="At once, not at the next start.")] = False,
) -> None:
    """Take the newest version of the image."""
    id = remote.workspace(workspace)
    remote.post(f"{WORKSPACES}/{id}/update", {"restart": restart})
    when = "now" if restart else "at its next start"
    out.said(f"{workspace} takes the newest version of its image {when}.", id=id)


@workspace.command("delete")
@remotely
def delete(
    remote: Remote, out: Output, workspace: WorkspaceName, yes: Yes = False, wait: Wait = True
) -> None:
    """Delete a workspace with all its files."""
    id = remote.workspace(workspace)
    confirmed(yes, f"Delete {workspace!r} ({id}) and all its files?")
    remote.delete(f"{WORKSPACES}/{id}")
    if not wait:
        out.said(f"{workspace} is being deleted.", id=id)
        return
    with suppress(NotFound):  # which is what is waited for
        _until(remote, id, lambda found: False)
    out.said(f"{workspace} is deleted.", id=id)


@port.command("list")
@remotely
def list_ports(remote: Remote, out: Output, workspace: WorkspaceName) -> None:
    """List what listens, who sees it, and where."""
    found = remote.get(f"{WORKSPACES}/{remote.workspace(workspace)}/ports")["ports"]
    out.rows(found, "port", "open", "process", "visibility", "url", "expires_at")


@port.command("share")
@remotely
def share(
    remote: Remote,
    out: Output,
    workspace: WorkspaceName,
    port: Annotated[int, typer.Argument(help="The port.", min=1, max=65535)],
    visibility: Annotated[Seen, typer.Argument(help="Who sees it.")] = Seen.MEMBERS,
) -> None:
    """Say who sees a port; a public one gets a link, which is shown this once."""
    path = f"{WORKSPACES}/{remote.workspace(workspace)}/ports/{port}"
    out.one(remote.patch(path, {"visibility": visibility}))


def _operate(remote: Remote, out: Output, workspace: str, operation: str, states: set[str]) -> None:
    id = remote.workspace(workspace)
    before = remote.get(f"{WORKSPACES}/{id}")
    remote.post(f"{WORKSPACES}/{id}/{operation}")
    if operation == "restart" and states and before["state"] == "running":
        _until(remote, id, lambda found: found["state"] != "running")
    out.one(_settled(remote, id, states) if states else remote.get(f"{WORKSPACES}/{id}"))


def _settled(remote: Remote, id: str, states: set[str]) -> dict[str, Any]:
    """Wait until a workspace is in one of some states.

    Raises:
        CloudIDEError: it came to nothing; the message says why. Unavailable: it takes too long.
    """
    found = _until(remote, id, lambda found: found["state"] in states or bool(found.get("error")))
    if found.get("error"):
        raise CloudIDEError(f"{found['name']}: {found['error']}")
    return found


def _until(remote: Remote, id: str, done: Any) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while not done(found := remote.get(f"{WORKSPACES}/{id}")):
        if time.monotonic() > deadline:
            raise Unavailable(f"{found['name']} is {found['state']} after {PATIENCE / 60:.0f} min.")
        time.sleep(LOOK)
    return found
