"""`cloudide …`: the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloudide.cli import login
from cloudide.cli.apply import apply
from cloudide.cli.catalogue import build, image
from cloudide.cli.credentials import session, token
from cloudide.cli.files import file
from cloudide.cli.owned import secret, webhook
from cloudide.cli.people import audit, invite, user
from cloudide.cli.pools import pool
from cloudide.cli.prebuilds import prebuild
from cloudide.cli.remotely import ProfileName, ServerUrl, Token
from cloudide.cli.remotely import reporting as _run
from cloudide.cli.teams import team
from cloudide.cli.workspaces import port, workspace

cli = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # tokens may be among them
    help="CloudIDE: a collaborative cloud IDE.",
)
cli.command("login")(login.login)
cli.command("logout")(login.logout)
cli.command("apply")(apply)
cli.add_typer(login.profile, name="profile")
cli.add_typer(workspace, name="workspace")
cli.add_typer(file, name="file")
cli.add_typer(port, name="port")
cli.add_typer(image, name="image")
cli.add_typer(pool, name="pool")
cli.add_typer(build, name="build")
cli.add_typer(prebuild, name="prebuild")
cli.add_typer(user, name="user")
cli.add_typer(team, name="team")
cli.add_typer(invite, name="invite")
cli.add_typer(secret, name="secret")
cli.add_typer(webhook, name="webhook")
cli.add_typer(token, name="token")
cli.add_typer(session, name="session")
task = typer.Typer(no_args_is_help=True, help="Tasks of a workspace.")
cli.add_typer(task, name="task")
cli.add_typer(audit, name="audit")
secrets = typer.Typer(no_args_is_help=True, help="The keys that secrets are sealed under.")
cli.add_typer(secrets, name="secrets")
images = typer.Typer(no_args_is_help=True, help="The stock images of this machine's engine.")
cli.add_typer(images, name="images")

DataDir = Annotated[Path | None, typer.Option(help="Where everything is kept.")]
PublicUrl = Annotated[str | None, typer.Option(help="The one URL people use.")]


@cli.command()
def serve(
    listen: Annotated[str | None, typer.Option(help="Address, as host:port.")] = None,
    public_url: PublicUrl = None,
    data_dir: DataDir = None,
    tls_certificate: Annotated[str | None, typer.Option(help="PEM certificate chain.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="PEM key.")] = None,
) -> None:
    """Start the server and print a URL to sign in with."""
    # Imported here: `--help` should not wait for a web server.
    from cloudide.cli.serve import serve as run

    _run(
        lambda: run(
            listen=listen,
            public_url=public_url,
            data_dir=data_dir,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
        )
    )


@cli.command()
def settings() -> None:
    """List every setting with its default and unit."""
    from cloudide.settings import describe

    for name, default, unit, help in describe():
        typer.echo(f"CLOUDIDE_{name.upper():28} {default!s:24} {unit:14} {help}")


@cli.command("config-lsp")
def config_lsp(
    stdio: Annotated[bool, typer.Option("--stdio", help="Over standard input and output.")] = True,
) -> None:
    """Serve cloudide.toml and devcontainer.json to any editor, as a language server (LSP)."""
    from cloudide.cli.config_lsp import config_lsp as run

    run()


@cli.command("port-forward")
def port_forward(
    workspace: Annotated[str, typer.Argument(help="Id or name of a workspace.")],
    ports: Annotated[list[str], typer.Argument(help="PORT, or PORT:LOCAL; several are fine.")],
    profile: ProfileName = None,
    url: ServerUrl = None,
    token: Token = None,
) -> None:
    """Let local TCP ports lead to ports of a workspace, until interrupted."""
    from cloudide.cli.forward import port_forward as run
    from cloudide.cli.remote import Remote

    _run(lambda: run(workspace, ports, Remote(url, token, profile)))


@cli.command("exec", context_settings={"allow_interspersed_args": False})
def execute(
    workspace: Annotated[str, typer.Argument(help="Id or name of a workspace.")],
    command: Annotated[list[str], typer.Argument(help="The program and its arguments.")],
    cwd: Annotated[str, typer.Option(help="Folder to run it in, below the workspace's.")] = "",
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.")] = None,
    profile: ProfileName = None,
    url: ServerUrl = None,
    token: Token = None,
) -> None:
    """Run a program in a workspace: input, outputs, signals and exit code are as of one here."""
    from cloudide.cli.execute import execute as run
    from cloudide.cli.remote import Remote

    code = 0

    def work() -> None:
        nonlocal code
        code = run(
            workspace, command, cwd=cwd, environment=env or [], remote=Remote(url, token, profile)
        )

    _run(work)
    raise typer.Exit(code)


@task.command("list")
def list_tasks(
    workspace: Annotated[str, typer.Argument(help="Id or name of a workspace.")],
    profile: ProfileName = None,
    url: ServerUrl = None,
    token: Token = None,
) -> None:
    """List the tasks with how they went last."""
    from cloudide.cli.remote import Remote
    from cloudide.cli.task import list_tasks as run

    _run(lambda: run(workspace, Remote(url, token, profile)))


@task.command("run")
def run_task(
    workspace: Annotated[str, typer.Argument(help="Id or name of a workspace.")],
    name: Annotated[str, typer.Argument(help="The task.")],
    force: Annotated[bool, typer.Option(help="Also when its inputs have not changed.")] = False,
    profile: ProfileName = None,
    url: ServerUrl = None,
    token: Token = None,
) -> None:
    """Run a task and what it depends on; its output and exit code are passed on."""
    from cloudide.cli.remote import Remote
    from cloudide.cli.task import run_task as run

    code = 0

    def work() -> None:
        nonlocal code
        code = run(workspace, name, force=force, remote=Remote(url, token, profile))

    _run(work)
    raise typer.Exit(code)


@images.command("build")
def build_images() -> None:
    """Build what is missing, ahead of the server, which would do it in its first minutes."""
    from cloudide.cli.images import build as run

    _run(run)


@images.command("list")
def list_images() -> None:
    """List the images, and whether each is built."""
    from cloudide.cli.images import list_images as run

    _run(run)


@audit.command("verify")
def verify_audit(data_dir: DataDir = None) -> None:
    """Check that no record of the audit log was changed, added or removed."""
    from cloudide.cli.audit import verify as run

    _run(lambda: run(data_dir=data_dir))


@audit.command("export")
def export_audit(data_dir: DataDir = None) -> None:
    """Print the audit log, a line of JSON for each record."""
    from cloudide.cli.audit import export as run

    _run(lambda: run(data_dir=data_dir))


@secrets.command("rotate-key")
def rotate_key(data_dir: DataDir = None) -> None:
    """Seal all secrets anew under a new key; the server may run meanwhile."""
    from cloudide.cli.secrets import rotate_key as run

    _run(lambda: run(data_dir=data_dir))


@user.command("sign-in")
def sign_in(public_url: PublicUrl = None, data_dir: DataDir = None) -> None:
    """Print a new one-time sign-in URL for the owner of this server."""
    from cloudide.cli.user import sign_in as run

    _run(lambda: run(public_url=public_url, data_dir=data_dir))


def main() -> None:
    """Entry point of the `cloudide` command."""
    cli()
