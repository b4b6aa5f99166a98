"""Copies of volumes, made by a container that sees the two and nothing else.

Where the file system can, files share their blocks until they are written (reflinks).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from cloudide.errors import Unavailable

if TYPE_CHECKING:
    from docker.api.client import APIClient

_log = structlog.get_logger(__name__)

MEMORY = 256 * 1024 * 1024  # bytes
PURPOSES = ("workspace", "home")
# Over what an interrupted copy left; what the target had of its own before is gone.
COPY = """
set -e
for each in workspace home; do
    find /to/$each -mindepth 1 -delete
    cp -a --reflink=auto /from/$each/. /to/$each/
done
"""


def copy_volumes(
    client: APIClient, source: str, target: str, image: str, labels: dict[str, str], timeout: float
) -> None:
    """Copy the volumes of one container's name into those of another; blocks.

    Raises:
        NotFound: the engine has one of them not.
        Unavailable: it failed, or took too long.
    """
    import requests.exceptions
    from docker.types import Mount

    for name in (source, target):
        for purpose in PURPOSES:
            client.inspect_volume(f"{name}-{purpose}")  # or the engine would make an empty one
    user = client.inspect_container(target)["Config"]["User"]
    end_copy(client, target)
    container = client.create_container(
        image,
        ["-c", COPY],
        entrypoint=["sh"],
        name=_name(target),
        user=user,
        labels=labels,
        host_config=client.create_host_config(
            mounts=[
                *(
                    Mount(f"/from/{each}", f"{source}-{each}", read_only=True, no_copy=True)
                    for each in PURPOSES
                ),
                *(Mount(f"/to/{each}", f"{target}-{each}", no_copy=True) for each in PURPOSES),
            ],
            network_mode="none",
            init=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=MEMORY,
            memswap_limit=MEMORY,
            pids_limit=64,
        ),
    )
    try:
        client.start(container)
        code = client.wait(container, timeout=round(timeout))["StatusCode"]
        if code:
            said = client.logs(container, tail=5).decode(errors="replace")
            _log.warning("copy.failed", target=target, code=code, said=said)
            raise Unavailable("The prebuild could not be copied; the server's log says why.")
    except requests.exceptions.ReadTimeout as error:
        raise Unavailable(f"The prebuild was not copied within {timeout:.0f} s.") from error
    finally:
        end_copy(client, target)


def end_copy(client: APIClient, target: str) -> None:
    """Remove the container of a copy into `target`, at work or left by a server that died."""
    import docker.errors

    with suppress(docker.errors.NotFound):
        client.remove_container(_name(target), force=True)


def _name(target: str) -> str:
    return f"{target}-copy"
