"""`cloudide file …`: files of a workspace. One that is open in editors is read and written as they
have it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO
from urllib.parse import quote, urlencode

import typer

from cloudide.cli.output import Output, when
from cloudide.cli.remotely import WorkspaceName, remotely
from cloudide.errors import InvalidInput

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

file = typer.Typer(no_args_is_help=True, help="Files of a workspace.")

PIPE = "-"
CHUNK = 256 * 1024
There = Annotated[str, typer.Argument(help="A path in the workspace.")]


@file.command("ls")
@remotely
def ls(
    remote: Remote,
    out: Output,
    workspace: WorkspaceName,
    path: There = "",
    depth: Annotated[int, typer.Option(help="How many folders deep.", min=1, max=64)] = 1,
) -> None:
    """List a folder."""
    query = urlencode({"path": path, "depth": depth})
    tree = remote.get(f"/api/v1/workspaces/{remote.workspace(workspace)}/tree?{query}")
    for entry in tree["entries"]:
        entry["modified"] = when(entry["mtime"])
    out.rows(tree["entries"], "type", "size", "modified", "path")
    if tree.get("truncated"):
        typer.echo("cloudide: There are more; list a folder of it.", err=True)


@file.command("get")
@remotely
def get(
    remote: Remote,
    out: Output,
    workspace: WorkspaceName,
    path: There,
    here: Annotated[str, typer.Argument(help="Where to put it; - is standard output.")] = "",
) -> None:
    """Copy a file from a workspace."""
    with remote.stream(_address(remote, workspace, path)) as chunks:
        if here == PIPE:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            return
        target = Path(here or Path(path).name)
        target = target / Path(path).name if target.is_dir() else target
        draft = target.with_name(f".{target.name}.part")
        try:
            with draft.open("wb") as output:
                for chunk in chunks:
                    output.write(chunk)
            draft.replace(target)
        except OSError as error:
            raise InvalidInput(f"{target}: {error.strerror}.") from error
        finally:
            draft.unlink(missing_ok=True)
    out.said(f"{target}: {target.stat().st_size:,} bytes.", path=str(target))


@file.command("put")
@remotely
def put(
    remote: Remote,
    out: Output,
    workspace: WorkspaceName,
    here: Annotated[str, typer.Argument(help="The file; - is standard input.")],
    path: There = "",
) -> None:
    """Copy a file into a workspace."""
    if here == PIPE and not path:
        raise InvalidInput("Say where to put it: cloudide file put WORKSPACE - PATH")
    target = path or Path(here).name
    if path.endswith("/"):
        target = f"{path}{Path(here).name}"
    address = _address(remote, workspace, target)
    if here == PIPE:
        written = remote.put(address, _chunks(sys.stdin.buffer))
    else:
        try:
            with Path(here).open("rb") as source:
                written = remote.put(address, _chunks(source))
        except OSError as error:
            raise InvalidInput(f"{here}: {error.strerror}.") from error
    out.said(f"{written['path']} is written.", **written)


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk


def _address(remote: Remote, workspace: str, path: str) -> str:
    clean = path.lstrip("/")
    if not clean:
        raise InvalidInput("Name a file.")
    return f"/api/v1/workspaces/{remote.workspace(workspace)}/files/{quote(clean)}"
