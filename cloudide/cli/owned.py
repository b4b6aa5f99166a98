"""`cloudide secret …` and `webhook …`: what workspaces are given, and what is told of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from cloudide.cli.output import Output
from cloudide.cli.remotely import Yes, confirmed, remotely
from cloudide.cli.teams import team_id
from cloudide.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

secret = typer.Typer(no_args_is_help=True, help="Secrets, for the processes that they name.")
webhook = typer.Typer(no_args_is_help=True, help="Where events are sent.")

SECRETS, WEBHOOKS = "/api/v1/secrets", "/api/v1/webhooks"

OfWorkspace = Annotated[str, typer.Option("--workspace", help="Id or name: those of it.")]
OfTeam = Annotated[str, typer.Option("--team", help="Id or name: those of a team.")]
SecretName = Annotated[str, typer.Argument(help="Id or name of a secret.")]
WebhookId = Annotated[str, typer.Argument(help="Id of a webhook.")]


@secret.command("list")
@remotely
def list_secrets(
    remote: Remote, out: Output, workspace: OfWorkspace = "", team: OfTeam = ""
) -> None:
    """List your secrets, or those of a workspace or team; never their values."""
    found = _secrets(remote, _owner(remote, workspace, team))
    out.rows(found, "name", "id", "latest", "readers", "last_used_at", "description")


@secret.command("set")
@remotely
def set_secret(
    remote: Remote,
    out: Output,
    name: Annotated[str, typer.Argument(help="Its name; an existing one gets a new version.")],
    workspace: OfWorkspace = "",
    team: OfTeam = "",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Keep a value: it is asked for, or read from standard input up to its last line end."""
    owner = _owner(remote, workspace, team)
    # Never an argument: those are seen by everybody on this machine.
    if sys.stdin.isatty():
        value = typer.prompt(name, hide_input=True, err=True)
    else:
        value = sys.stdin.read().removesuffix("\n")
    if not value:
        raise InvalidInput("The value is empty.")
    ids = [each["id"] for each in _secrets(remote, owner) if each["name"] == name]
    if ids:
        kept = remote.post(f"{SECRETS}/{ids[0]}/versions", {"value": value})
    else:
        body = {"name": name, "value": value, "description": description, **owner}
        kept = remote.post(SECRETS, body)
    out.said(f"{name} has version {kept['latest']} now.", id=kept["id"], latest=kept["latest"])


@secret.command("uses")
@remotely
def uses(
    remote: Remote, out: Output, name: SecretName, workspace: OfWorkspace = "", team: OfTeam = ""
) -> None:
    """Tell which processes had it, and when last."""
    found = _secret(remote, name, _owner(remote, workspace, team))
    rows = remote.get(f"{SECRETS}/{found['id']}/uses")["uses"]
    out.rows(rows, "workspace", "process", "version", "user", "at", "count")


@secret.command("delete")
@remotely
def delete_secret(
    remote: Remote,
    out: Output,
    name: SecretName,
    workspace: OfWorkspace = "",
    team: OfTeam = "",
    yes: Yes = False,
) -> None:
    """Delete a secret with all its versions."""
    found = _secret(remote, name, _owner(remote, workspace, team))
    confirmed(yes, f"Delete the secret {found['name']!r}?")
    remote.delete(f"{SECRETS}/{found['id']}")
    out.said(f"{found['name']} is deleted.", id=found["id"])


@webhook.command("list")
@remotely
def list_webhooks(
    remote: Remote, out: Output, workspace: OfWorkspace = "", team: OfTeam = ""
) -> None:
    """List the webhooks of a workspace, of a team or, without both, of the site."""
    query = urlencode(_owner(remote, workspace, team))
    found = remote.get(f"{WEBHOOKS}?{query}")["webhooks"]
    out.rows(found, "id", "url", "types", "active", "disabled_reason", "description")


@webhook.command("create")
@remotely
def create_webhook(
    remote: Remote,
    out: Output,
    target: Annotated[str, typer.Argument(help="The URL to send events to.")],
    type: Annotated[
        list[str] | None, typer.Option(help="Events, such as workspace.*; none: all.")
    ] = None,
    workspace: OfWorkspace = "",
    team: OfTeam = "",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Send events somewhere; the secret that signs them is shown this once."""
    body: dict[str, Any] = {"url": target, "types": type or [], "description": description}
    out.one(remote.post(WEBHOOKS, {**body, **_owner(remote, workspace, team)}))


@webhook.command("test")
@remotely
def test_webhook(remote: Remote, out: Output, id: WebhookId) -> None:
    """Send an event that means nothing."""
    event = remote.post(f"{WEBHOOKS}/{id}/test")["event"]
    out.said(f"The event {event} is on its way; see `cloudide webhook deliveries`.", event=event)


@webhook.command("deliveries")
@remotely
def deliveries(remote: Remote, out: Output, id: WebhookId) -> None:
    """List what was sent, the newest first."""
    found = remote.get(f"{WEBHOOKS}/{id}/deliveries")["deliveries"]
    out.rows(found, "id", "type", "state", "attempts", "created_at", "status", "error")


@webhook.command("delete")
@remotely
def delete_webhook(remote: Remote, out: Output, id: WebhookId, yes: Yes = False) -> None:
    """Send nothing there any more."""
    confirmed(yes, f"Delete the webhook {id}?")
    remote.delete(f"{WEBHOOKS}/{id}")
    out.said(f"The webhook {id} is deleted.", id=id)


def _owner(remote: Remote, workspace: str, team: str) -> dict[str, str]:
    """Whose, as the interface wants it; nothing: your own, or the site's."""
    if workspace and team:
        raise InvalidInput("Name a workspace or a team, not both.")
    if workspace:
        return {"workspace": remote.workspace(workspace)}
    return {"team": team_id(remote, team)} if team else {}


def _secrets(remote: Remote, owner: dict[str, str]) -> list[dict[str, Any]]:
    return remote.list(f"{SECRETS}?{urlencode(owner)}", "secrets")


def _secret(remote: Remote, named: str, owner: dict[str, str]) -> dict[str, Any]:
    """Raises: NotFound: there is no such secret."""
    for each in _secrets(remote, owner):
        if named in (each["id"], each["name"]):
            return each
    raise NotFound(f"There is no secret {named!r} there; see `cloudide secret list`.")
