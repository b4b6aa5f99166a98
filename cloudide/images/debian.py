"""The base of all stock images, `debian:bookworm-slim`: present, pulled, or made here.

Where no registry answers, debootstrap makes the same thing from Debian's packages (about half a
minute, as root) and the engine imports it under the same name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from cloudide.errors import Unavailable
from cloudide.images.catalogue import DEBIAN
from cloudide.workspaces.engine import Engine

if TYPE_CHECKING:
    from docker.api.client import APIClient

log = structlog.get_logger()

REPOSITORY, TAG = DEBIAN.split(":")
SUITE = "bookworm"
SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
REGISTRY_PATIENCE = 15  # seconds for the registry's first answer
DEBOOTSTRAP_LIMIT = 900  # seconds

# What Debian's own slim image leaves out: documentation, and what apt can fetch again.
TRIMMED = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale")
EMPTIED = ("var/cache/apt", "var/lib/apt/lists", "var/log")
SLIM_RULES = "".join(f"path-exclude=/{path}/*\n" for path in TRIMMED)


def ensure(engine: Engine, client: APIClient, say: Callable[[str], None]) -> bool:
    """Make sure that the engine has the base; blocks. Whether it was missing.

    Raises:
        Unavailable: it is not there and cannot be had; the message says both reasons.
    """
    import docker.errors

    try:
        client.inspect_image(DEBIAN)
        return False
    except docker.errors.ImageNotFound:
        pass
    say(f"Pulling {DEBIAN}")
    try:
        _pull(engine)
    except (docker.errors.DockerException, OSError) as error:
        log.info("images.pull_failed", image=DEBIAN, error=str(error))
        say(f"No registry answers; making {DEBIAN} with debootstrap")
        _bootstrap(client, str(getattr(error, "explanation", None) or error))
    return True


def _pull(engine: Engine) -> None:
    # Asking for the manifest first fails within seconds where a pull would retry for minutes.
    client = engine.connect(timeout=REGISTRY_PATIENCE)
    try:
        client.inspect_distribution(DEBIAN)
        client.pull(REPOSITORY, TAG)
    finally:
        client.close()


def _bootstrap(client: APIClient, why_not_pulled: str) -> None:
    program = shutil.which("debootstrap", path=SEARCH_PATH)
    if program is None or os.geteuid() != 0:
        raise Unavailable(
            f"The base image {DEBIAN} could not be pulled ({why_not_pulled}), and making it needs "
            "root and Debian's debootstrap. Pull it by hand, or start the server once as root with "
            "debootstrap installed."
        )
    with tempfile.TemporaryDirectory(prefix="cloudide-debian-") as folder:
        root = Path(folder, "root")
        try:
            subprocess.run(
                [
                    program,
                    "--variant=minbase",
                    "--include=ca-certificates",
                    SUITE,
                    str(root),
                ],
                env={**os.environ, "PATH": SEARCH_PATH},
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=DEBOOTSTRAP_LIMIT,
            )
        except (OSError, subprocess.SubprocessError) as error:
            log.error("images.debootstrap_failed", output=str(getattr(error, "output", ""))[-2000:])
            raise Unavailable(
                f"The base image {DEBIAN} could neither be pulled ({why_not_pulled}) nor made with "
                "debootstrap; the server's log has its output."
            ) from error
        _trim(root)
        _import(client, root)


def _trim(root: Path) -> None:
    for path in TRIMMED:
        shutil.rmtree(root / path, ignore_errors=True)
    for path in EMPTIED:
        for entry in (root / path).iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    sources = root / "etc/apt/sources.list"
    sources.write_text(_with_updates(sources.read_text()))
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(SLIM_RULES)


def _with_updates(sources: str) -> str:
    """What debootstrap wrote (one line, the archive it used), with the suites for updates."""
    archive = sources.split()[1].rstrip("/")
    security = archive.removesuffix("/debian") + "/debian-security"
    return (
        f"deb {archive} {SUITE} main\n"
        f"deb {archive} {SUITE}-updates main\n"
        f"deb {security} {SUITE}-security main\n"
    )


def _import(client: APIClient, root: Path) -> None:
    command = ["tar", "--numeric-owner", "--create", "--directory", str(root), "."]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tar:
        client.import_image_from_stream(tar.stdout, REPOSITORY, TAG, changes=['CMD ["bash"]'])
    if tar.returncode:
        client.remove_image(DEBIAN, force=True)
        raise Unavailable(f"The base image {DEBIAN} could not be packed.")
