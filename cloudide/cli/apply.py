"""`cloudide apply`: a team's images, policy, pools and prebuilds, as a file declares them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloudide.cli.catalogue import OVER, POLL_SECONDS, packed
from cloudide.cli.output import Format, Output
from cloudide.cli.remotely import Yes, confirmed, remotely
from cloudide.cli.teams import team_id
from cloudide.errors import CloudIDEError, InvalidInput

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote
    from cloudide.project.problems import Mistake

SIGNS = {"create": "+", "change": "~", "build": "*", "delete": "-"}


@remotely
def apply(
    remote: Remote,
    out: Output,
    file: Annotated[Path, typer.Option("--file", "-f", help="Such as team.toml.")],
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Show what would be done, and do nothing.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Have a team's images, policy, pools and prebuilds as a file declares them.

    Shows what is created, changed and deleted, and asks. A section of the file is the whole of it:
    what it does not name is deleted; a section that is missing is left as it is.
    """
    from cloudide.cli.declared import Doing, Plan
    from cloudide.project import team

    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error
    declared, text, mistakes = team.read(content)
    if declared is None:
        raise _refused(file, text, mistakes)
    id = team_id(remote, declared.team)
    doing = Doing(packed, lambda image, promote: _build(remote, image, promote))
    plan = Plan(remote, id, declared, file.parent, doing)
    if plan.mistakes:
        raise _refused(file, text, plan.mistakes)
    shown = [step.as_json() for step in plan.steps]
    if out.format is not Format.JSON:
        for step in plan.steps:
            out.said(f"{SIGNS[step.action]} {step.action} {step.what}")
            for detail in step.details:
                out.said(f"    {detail}")
    if plan_only or not plan.steps:
        sentence = f"{len(shown)} things to do." if shown else "Nothing to do."
        out.said(sentence, plan=shown, applied=False)
        return
    confirmed(yes, f"Do these {len(shown)} things for the team {declared.team!r}?")
    for number, step in enumerate(plan.steps):
        try:
            step.do()
        except CloudIDEError as error:
            raise CloudIDEError(
                f"{step.action} {step.what}: {error.message} {number} of {len(plan.steps)} things "
                "are done; mend it and apply again for the rest."
            ) from error
    out.said(f"{len(shown)} things are done.", plan=shown, applied=True)


def _refused(file: Path, text: str, mistakes: list[Mistake]) -> InvalidInput:
    from cloudide.project import team

    found = team.problems(str(file), text, mistakes)
    lines = [f"{e.file}:{e.line}:{e.column}: {e.message}" for e in found]
    return InvalidInput("\n".join(["Nothing is changed.", *lines]))


def _build(remote: Remote, image: str, promote: bool) -> None:
    """Build an image to its end. Raises: CloudIDEError: it failed."""
    build = remote.post(f"/api/v1/images/{image}/builds", {"fresh": False})
    while build["state"] not in OVER:
        time.sleep(POLL_SECONDS)
        build = remote.get(f"/api/v1/builds/{build['id']}")
    if build["state"] != "succeeded":
        why = build["error"] or f"The build was {build['state']}."
        raise CloudIDEError(f"{why} `cloudide build log {build['id']}` says more.")
    if promote:
        path = f"/api/v1/images/{image}/versions/{build['version']}/promote"
        remote.post(path, {"percent": 100})
