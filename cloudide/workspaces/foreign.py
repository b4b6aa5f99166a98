"""Images that know nothing of CloudIDE, down to one that holds busybox and nothing else.

Before such a container starts for the first time it is given what our own images bring: volumes
that belong to its user, a `/tmp`, and an entry in `/etc/passwd`, without which ssh and git refuse
to work. All of it goes in through the engine's archive call, so nothing of the image runs as root.
"""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker.api.client import APIClient

HOME = "/home/dev"
OWNER_LABEL = "cloudide.owner"
DEFAULT_OWNER = (1000, 1000)
PASSWD_LIMIT = 1024 * 1024  # bytes; a larger file is not one to be edited here


def parse_owner(label: str) -> tuple[int, int] | None:
    """`uid:gid`, both above 0: an image cannot ask to be root."""
    uid, _, gid = label.partition(":")
    if uid.isdigit() and gid.isdigit() and int(uid) and int(gid):
        return int(uid), int(gid)
    return None


def furnish(
    client: APIClient, container: str, owner: tuple[int, int], *, workspace: str, home: str
) -> None:
    """Give a created container's two folders (absolute paths) to `owner`, and the rest as above."""
    uid, gid = owner
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder in (workspace, home):
            tar.addfile(_directory(folder, 0o755, uid, gid))
        tar.addfile(_directory("/tmp", 0o1777, 0, 0))  # noqa: S108
        additions = {
            "/etc/passwd": (uid, f"dev:x:{uid}:{gid}::{home}:\n"),
            "/etc/group": (gid, f"dev:x:{gid}:\n"),
        }
        for path, (number, line) in additions.items():
            content = _read(client, container, path)
            if content is not None and number not in _numbers(content):
                gap = b"" if not content or content.endswith(b"\n") else b"\n"
                _add_file(tar, path, content + gap + line.encode())
    client.put_archive(container, "/", archive.getvalue())


def _directory(path: str, mode: int, uid: int, gid: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, uid, gid
    return entry


def _add_file(tar: tarfile.TarFile, path: str, content: bytes) -> None:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.mode, entry.size = 0o644, len(content)
    tar.addfile(entry, io.BytesIO(content))


def _read(client: APIClient, container: str, path: str) -> bytes | None:
    """The file's content; empty when it is missing, None when it is nothing to be edited."""
    import docker.errors

    try:
        chunks, _ = client.get_archive(container, path)
    except docker.errors.NotFound:
        return b""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > PASSWD_LIMIT:
            return None
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
        member = tar.next()
        file = tar.extractfile(member) if member and member.isfile() else None
        return file.read() if file else None


def _numbers(content: bytes) -> set[int]:
    """The third field of each line: the uids of a passwd file, the gids of a group file."""
    fields = (line.split(b":") for line in content.splitlines())
    return {int(f[2]) for f in fields if len(f) > 2 and f[2].isdigit()}
