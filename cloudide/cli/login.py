"""`cloudide login`, `logout` and `profile …`: signing in to a server by a browser, once."""

from __future__ import annotations

import os
import platform
import time
import webbrowser
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cloudide.cli import profiles
from cloudide.cli.output import Format, Output
from cloudide.cli.profiles import DEFAULT, Profile
from cloudide.cli.remotely import Printing, ProfileName, ServerUrl, reporting
from cloudide.errors import CloudIDEError, Denied, InvalidInput, Unavailable
from cloudide.identity.permissions import Scope

profile = typer.Typer(no_args_is_help=True, help="The servers that you are signed in to.")

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
SLOWER = 5.0  # seconds longer between two questions when told so (RFC 8628 section 3.5)

Scopes = Annotated[
    list[Scope] | None, typer.Option("--scope", help="What to ask for; may be repeated.")
]


def login(
    url: ServerUrl = None,
    profile: ProfileName = None,
    scope: Scopes = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser here.")] = True,
) -> None:
    """Sign in to a server: a page of it asks you, and its answer is kept in a profile."""
    asked = scope or [Scope.READ, Scope.WRITE, Scope.EXEC]
    reporting(lambda: _login(url, profile, asked, browser))


def logout(profile: ProfileName = None) -> None:
    """Revoke a profile's token and forget the profile."""
    reporting(lambda: _logout(profile))


@profile.command("list")
def list_profiles(output: Printing = Format.TABLE) -> None:
    """List the profiles; commands use the current one."""

    def work() -> None:
        known = profiles.load()
        rows = [
            {"name": name, "url": each.url, "current": name == known.current}
            for name, each in sorted(known.profiles.items())
        ]
        Output(output).rows(rows, "current", "name", "url")

    reporting(work)


@profile.command("use")
def use(name: Annotated[str, typer.Argument(help="A profile.")]) -> None:
    """Make a profile the current one."""

    def work() -> None:
        known = profiles.load()
        found = known.get(name)
        known.current = name
        profiles.save(known)
        typer.echo(f"Commands speak to {found.url} now.")

    reporting(work)


def _login(url: str | None, name: str | None, scopes: Sequence[Scope], browser: bool) -> None:
    from cloudide.cli.remote import DEFAULT_URL, Remote

    known = profiles.load()
    name = profiles.checked(name or known.current or DEFAULT)
    own = known.profiles.get(name)
    target = url or os.environ.get("CLOUDIDE_URL") or (own.url if own else DEFAULT_URL)
    target = target.rstrip("/")
    form = {"client_id": f"cloudide on {platform.node()}", "scope": " ".join(scopes)}
    codes = _ask(target, "/api/v1/device/authorize", form)
    typer.echo(f"Open {codes['verification_uri']} and type {codes['user_code']}", err=True)
    typer.echo(f"(or open {codes['verification_uri_complete']} directly)", err=True)
    if browser:
        webbrowser.open(codes["verification_uri_complete"])
    token = _wait(target, codes)
    known = profiles.load()  # somebody may have been at it meanwhile
    before = known.profiles.get(name)
    known.profiles = {**known.profiles, name: Profile(target, token)}
    known.current = name
    profiles.save(known)
    user = Remote(target, token).get("/api/v1/session")["user"]
    typer.echo(f"Signed in to {target} as {user['name']} (profile {name}).")
    if before is not None and before.token:
        _revoke(before)


def _wait(target: str, codes: dict[str, Any]) -> str:
    interval, deadline = float(codes["interval"]), time.monotonic() + codes["expires_in"]
    form = {"grant_type": GRANT_TYPE, "device_code": codes["device_code"]}
    while time.monotonic() < deadline:
        time.sleep(interval)
        answer = _ask(target, "/api/v1/device/token", form)
        match answer.get("error"):
            case None:
                return answer["access_token"]
            case "authorization_pending":
                continue
            case "slow_down":
                interval += SLOWER
            case "access_denied":
                raise Denied("This was refused in the browser.")
            case _:
                break
    raise Unavailable("Nobody answered in time. Run `cloudide login` again.")


def _ask(target: str, path: str, form: dict[str, str]) -> dict[str, Any]:
    """A form of RFC 8628; an error that the RFC knows is an answer."""
    import httpx2
    import msgspec

    from cloudide.cli.remote import TIMEOUT, reaching

    with reaching(target):
        response = httpx2.post(f"{target}{path}", data=form, timeout=TIMEOUT)
    try:
        answer = msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{target} is not the address of a CloudIDE server.") from error
    if response.is_error and "error" not in answer:
        raise CloudIDEError(answer.get("detail"))
    return answer


def _logout(name: str | None) -> None:
    known = profiles.load()
    name = name or known.current
    if not name:
        raise InvalidInput("You are signed in nowhere; see `cloudide profile list`.")
    gone = known.get(name)
    revoked = _revoke(gone)
    known.profiles = {key: each for key, each in known.profiles.items() if key != name}
    if known.current == name:
        known.current = next(iter(sorted(known.profiles)), "")
    profiles.save(known)
    typer.echo(f"Signed out of {gone.url} (profile {name}).")
    if not revoked:
        typer.echo("cloudide: Revoke its token in your account, if it still is one.", err=True)


def _revoke(gone: Profile) -> bool:
    """Whether the server says that the token has ended."""
    from cloudide.cli.remote import Remote

    try:
        Remote(gone.url, gone.token).delete("/api/v1/session")
    except CloudIDEError as error:
        typer.echo(f"cloudide: {gone.url}: {error.message}", err=True)
        return False
    return True
