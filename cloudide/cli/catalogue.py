"""`cloudide image …` and `cloudide build …`: images of a server, their versions and builds."""

from __future__ import annotations

import io
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cloudide.cli.output import Format, Output
from cloudide.cli.remotely import Yes, confirmed, remotely
from cloudide.cli.teams import team_id
from cloudide.errors import CloudIDEError, InvalidInput, NotFound

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

image = typer.Typer(no_args_is_help=True, help="Images that workspaces are made from.")
build = typer.Typer(no_args_is_help=True, help="Builds of images.")

IMAGES = "/api/v1/images"
BUILDS = "/api/v1/builds"
CHUNK = 1024 * 1024
POLL_SECONDS = 0.5
OVER = {"succeeded", "failed", "cancelled", "interrupted"}
ImageName = Annotated[str, typer.Argument(help="Id of an image, or team/name.")]
BuildId = Annotated[str, typer.Argument(help="Id of a build.")]
Number = Annotated[int, typer.Argument(help="Number of a version.", min=1)]


@image.command("list")
@remotely
def list_images(remote: Remote, out: Output) -> None:
    """List what a workspace can be made from."""
    found = remote.get(IMAGES)["images"]
    rows = [{"reference": each["id"], **each} for each in found]
    out.rows(rows, "reference", "kind", "ready", "active", "title")


@image.command("create")
@remotely
def create(
    remote: Remote,
    out: Output,
    name: Annotated[str, typer.Argument(help="Small letters, digits and dashes.")],
    context: Annotated[
        Path | None, typer.Option(help="A folder to be uploaded as the build context.")
    ] = None,
    git: Annotated[str, typer.Option(help="Or the URL of a Git repository.")] = "",
    ref: Annotated[str, typer.Option(help="Its branch, tag or commit.")] = "",
    folder: Annotated[str, typer.Option(help="The folder in it.")] = "",
    reference: Annotated[str, typer.Option(help="Or an existing image.")] = "",
    dockerfile: Annotated[str, typer.Option(help="Its path in the context.")] = "Dockerfile",
    target: Annotated[str, typer.Option(help="The stage to build; the last.")] = "",
    devcontainer: Annotated[
        bool, typer.Option("--devcontainer", help="As its devcontainer.json says.")
    ] = False,
    configuration: Annotated[
        str, typer.Option(help="Which devcontainer.json, where there are several.")
    ] = "",
    argument: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; repeatable.")] = None,
    team: Annotated[str, typer.Option(help="Whose it is; without: the site's.")] = "",
    title: Annotated[str, typer.Option(help="What people see.")] = "",
) -> None:
    """Define an image; `cloudide image build` makes a version of it."""
    if sum(map(bool, (context, git, reference))) != 1:
        raise InvalidInput("Say one of --context, --git and --reference.")
    arguments = dict(_pair(each) for each in argument or [])
    source: dict[str, Any] = {"reference": reference}
    if not reference:
        source = {"git": git, "ref": ref, "folder": folder, "target": target}
        source |= {"dockerfile": dockerfile, "arguments": arguments}
        source |= {"configuration": configuration}
    kind = "reference" if reference else "devcontainer" if devcontainer else "dockerfile"
    body = {"name": name, "kind": kind, "source": source, "title": title}
    if team:
        body["team"] = team_id(remote, team)
    made = remote.post(IMAGES, body)
    if context is not None:
        made = remote.put(f"{IMAGES}/{made['id']}/context", packed(context))
    out.one(made)


@image.command("upload")
@remotely
def upload(
    remote: Remote,
    out: Output,
    image: ImageName,
    folder: Annotated[Path, typer.Argument(help="The new build context.")],
) -> None:
    """Upload a folder as the build context."""
    id = image_id(remote, image)
    made = remote.put(f"{IMAGES}/{id}/context", packed(folder))
    out.said(f"Uploaded {folder}.", id=id, context=made["context"])


@image.command("build")
@remotely
def build_image(
    remote: Remote,
    out: Output,
    image: ImageName,
    fresh: Annotated[bool, typer.Option(help="Use nothing of earlier builds.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow it to its end.")] = True,
) -> None:
    """Build an image as it is defined now."""
    begun = remote.post(f"{IMAGES}/{image_id(remote, image)}/builds", {"fresh": fresh})
    _follow(remote, out, begun["id"]) if wait else out.one(begun)


@image.command("versions")
@remotely
def versions(remote: Remote, out: Output, image: ImageName) -> None:
    """List the versions of an image."""
    found = remote.get(f"{IMAGES}/{image_id(remote, image)}/versions")["versions"]
    out.rows(found, "number", "state", "share", "workspaces", "size", "created_at", "error")


@image.command("promote")
@remotely
def promote(
    remote: Remote,
    out: Output,
    image: ImageName,
    version: Number,
    percent: Annotated[
        int, typer.Option(help="Share of the new workspaces that get it.", min=0, max=100)
    ] = 100,
) -> None:
    """Put a version in use, or try it out with a share of the new workspaces."""
    path = f"{IMAGES}/{image_id(remote, image)}/versions/{version}/promote"
    remote.post(path, {"percent": percent})
    out.said(f"{percent} % of the new workspaces get version {version}.", version=version)


@image.command("rollback")
@remotely
def roll_back(remote: Remote, out: Output, image: ImageName) -> None:
    """Put the version in use again that was before this one."""
    changed = remote.post(f"{IMAGES}/{image_id(remote, image)}/rollback")
    out.said(f"Version {changed['active']} is in use again.", version=changed["active"])


@image.command("retire")
@remotely
def retire(remote: Remote, out: Output, image: ImageName, version: Number) -> None:
    """Give a version to nobody new."""
    remote.post(f"{IMAGES}/{image_id(remote, image)}/versions/{version}/retire")
    out.said(f"Version {version} is retired.", version=version)


@image.command("look")
@remotely
def look(remote: Remote, out: Output, image: ImageName, version: Number) -> None:
    """Look for pending updates in a version."""
    path = f"{IMAGES}/{image_id(remote, image)}/versions/{version}/look"
    found = remote.post(path)["security"]
    if out.format is Format.JSON:
        out.one(found)
        return
    out.said(found["summary"])
    out.rows(found["updates"], "name", "present", "available", "security")


@image.command("delete")
@remotely
def delete(remote: Remote, out: Output, image: ImageName, yes: Yes = False) -> None:
    """Delete an image with its versions."""
    id = image_id(remote, image)
    confirmed(yes, f"Delete the image {image!r} with all its versions?")
    remote.delete(f"{IMAGES}/{id}")
    out.said(f"{image} is deleted.", id=id)


@image.command("secret")
@remotely
def secret(
    remote: Remote,
    out: Output,
    image: ImageName,
    name: Annotated[str, typer.Argument(help="As in RUN --mount=type=secret,id=NAME.")],
    remove: Annotated[bool, typer.Option("--remove", help="Delete it.")] = False,
) -> None:
    """Keep a build secret, read from the standard input."""
    path = f"{IMAGES}/{image_id(remote, image)}/secrets/{name}"
    if remove:
        remote.delete(path)
        out.said(f"{name} is deleted.", name=name)
        return
    value = typer.prompt(name, hide_input=True) if sys.stdin.isatty() else sys.stdin.read()
    remote.put_json(path, {"value": value.rstrip("\n")})
    out.said(f"{name} is kept.", name=name)


@build.command("list")
@remotely
def list_builds(remote: Remote, out: Output, image: ImageName) -> None:
    """List the last builds of an image."""
    found = remote.get(f"{IMAGES}/{image_id(remote, image)}/builds")["builds"]
    out.rows(found, "id", "state", "version", "reused", "created_at", "error")


@build.command("show")
@remotely
def show(remote: Remote, out: Output, build: BuildId) -> None:
    """Show a build with its steps."""
    found = remote.get(f"{BUILDS}/{build}")
    if out.format is Format.JSON:
        out.one(found)
        return
    steps = found.pop("steps")
    out.one(found)
    out.rows(steps, "line", "seconds", "cached", "title")


@build.command("log")
@remotely
def log(
    remote: Remote,
    out: Output,
    build: BuildId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until its end.")] = False,
) -> None:
    """Print what a build says."""
    if follow:
        _follow(remote, out, build)
    else:
        _print_log(remote, build, 0)


@build.command("cancel")
@remotely
def cancel(remote: Remote, out: Output, build: BuildId) -> None:
    """End a build."""
    out.one(remote.post(f"{BUILDS}/{build}/cancel"))


def image_id(remote: Remote, named: str) -> str:
    """Raises: NotFound: there is no such image. InvalidInput: several are called so."""
    found = [each for each in remote.get(IMAGES)["images"] if each.get("reference")]
    for field in ("id", "reference", "name"):
        ids = [each["id"] for each in found if each[field] == named]
        if len(ids) > 1:
            raise InvalidInput(f"Several images are called {named!r}; use one of {ids}.")
        if ids:
            return ids[0]
    raise NotFound(f"There is no image {named!r} that is built; see `cloudide image list`.")


def _follow(remote: Remote, out: Output, build: str) -> None:
    """Print the log until the build has ended; its failure is this program's."""
    offset = 0
    while True:
        state = remote.get(f"{BUILDS}/{build}")
        if out.format is not Format.JSON:
            offset = _print_log(remote, build, offset)
        if state["state"] in OVER:
            break
        time.sleep(POLL_SECONDS)
    if out.format is Format.JSON:
        out.one(state)
    elif state["state"] == "succeeded":
        was = "was there already" if state["reused"] else "is built"
        out.said(f"Version {state['version']} {was}.")
    if state["state"] != "succeeded":
        raise CloudIDEError(state["error"] or f"The build was {state['state']}.")


def _print_log(remote: Remote, build: str, offset: int) -> int:
    while True:
        with remote.stream(f"{BUILDS}/{build}/log?offset={offset}") as chunks:
            content = b"".join(chunks)
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        offset += len(content)
        if not content:
            return offset


def _pair(text: str) -> tuple[str, str]:
    name, is_pair, value = text.partition("=")
    if not is_pair:
        raise InvalidInput(f"{text!r} is not NAME=VALUE.")
    return name, value


def packed(folder: Path) -> Iterable[bytes]:
    """A tar of a folder, as it is read."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder.")
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if ".git" in inner.parts or not (path.is_file() or path.is_symlink() or path.is_dir()):
            continue
        yield from _entry(path, inner.as_posix())
    yield bytes(1024)


def _entry(path: Path, name: str) -> Iterator[bytes]:
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as tar:
        info = tar.gettarinfo(str(path), name)
    yield info.tobuf(tarfile.GNU_FORMAT)
    if info.isfile():
        left = info.size
        with path.open("rb") as file:
            while left and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
        # A file that became shorter meanwhile is filled up: the head has said how long it is.
        yield bytes(left + -info.size % 512)
