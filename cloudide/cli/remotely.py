"""Commands that speak to a server: each gets the options that say to which, and how to print."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, get_type_hints

import typer

from cloudide.cli.output import Format, Output
from cloudide.errors import CloudIDEError

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

ServerUrl = Annotated[str | None, typer.Option(help="The server; or CLOUDIDE_URL.")]
Token = Annotated[str | None, typer.Option(help="An API token; or CLOUDIDE_TOKEN.")]
ProfileName = Annotated[
    str | None, typer.Option("--profile", help="A profile; or CLOUDIDE_PROFILE.")
]
Printing = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]

WorkspaceName = Annotated[str, typer.Argument(help="Id or name of a workspace.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def remotely(
    command: Callable[Concatenate[Remote, Output, ...], None],
) -> Callable[..., None]:
    """A command of typer's from a function that takes a server and an output first."""
    own = list(inspect.signature(command).parameters.values())[2:]
    # A server's module is not imported for `--help`.
    hints = get_type_hints(command, localns={"Remote": object}, include_extras=True)
    added = {"output": Printing, "profile": ProfileName, "url": ServerUrl, "token": Token}

    @functools.wraps(command)
    def run(*_: Any, **given: Any) -> None:
        from cloudide.cli.remote import Remote

        options = {name: given.pop(name) for name in added}

        def work() -> None:
            remote = Remote(options["url"], options["token"], options["profile"])
            command(remote, Output(options["output"]), **given)

        reporting(work)

    default = {"output": Format.TABLE}
    parameters = [each.replace(annotation=hints[each.name]) for each in own]
    parameters += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default.get(name), annotation=kind
        )
        for name, kind in added.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    del run.__wrapped__
    return run


def reporting(work: Callable[[], None]) -> None:
    """Do it; an error is one sentence, and exit code 1."""
    try:
        work()
    except CloudIDEError as error:
        typer.echo(f"cloudide: {error.message}", err=True)
        raise typer.Exit(1) from error


def confirmed(yes: bool, question: str) -> None:
    """Ask somebody who is there; whoever is not has to say so. Ends the program at a no."""
    if not yes:
        typer.confirm(question, abort=True)
