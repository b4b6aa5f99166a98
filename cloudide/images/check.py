"""Whether a workspace can be made of an image: its container is started as one, and the agent's
interpreter runs in it, as the user that it says, without a network.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cloudide.workspaces.docker import AGENT_COMMAND, BUNDLE, DEFAULT_OWNER, OWNER_LABEL
from cloudide.workspaces.engine import Engine

if TYPE_CHECKING:
    from docker.api.client import APIClient

SECONDS = 60
MEMORY = 256 * 1024 * 1024
OUTPUT_LENGTH = 300  # characters
_OWNER = re.compile(r"[1-9][0-9]{0,8}:[1-9][0-9]{0,8}")  # as the runtime takes it: not root
_PROBE = "import os, ssl, msgspec, websockets, cloudide.protocol.agent; print(os.getuid())"


async def check(engine: Engine, image: str, agent_volume: str, labels: dict[str, str]) -> str:
    """Why no workspace can be made of it; "": one can."""
    return await engine.call(lambda client: _check(client, image, agent_volume, labels))


def _check(client: APIClient, image: str, agent_volume: str, labels: dict[str, str]) -> str:
    import docker.errors
    import requests.exceptions
    from docker.types import Mount

    found = client.inspect_image(image)
    made_for = f"{found.get('Os')}/{found.get('Architecture')}"
    if made_for != f"linux/{client.version()['Arch']}":
        return f"It is for {made_for}, which this engine cannot run."
    config: dict[str, Any] = found.get("Config") or {}
    label = (config.get("Labels") or {}).get(OWNER_LABEL) or ""
    owner = label if _OWNER.fullmatch(label) else f"{DEFAULT_OWNER[0]}:{DEFAULT_OWNER[1]}"
    container = client.create_container_from_config(
        client.create_container_config(
            image,
            command=[],
            entrypoint=[*AGENT_COMMAND[:-2], "-c", _PROBE],
            user=owner,
            labels=labels,
            healthcheck={"test": ["NONE"]},
            host_config=client.create_host_config(
                mounts=[Mount(BUNDLE, agent_volume, type="volume", read_only=True, no_copy=True)],
                network_mode="none",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                mem_limit=MEMORY,
                pids_limit=64,
            ),
        )
    )["Id"]
    try:
        client.start(container)
        status = client.wait(container, timeout=SECONDS)["StatusCode"]
        said = client.logs(container, tail=5).decode(errors="replace").strip()
    except docker.errors.APIError as error:
        return f"Its container does not start: {error.explanation}."
    except requests.exceptions.RequestException:
        return f"What runs in it does not end within {SECONDS} seconds."
    finally:
        client.remove_container(container, v=True, force=True)
    if status:
        return f"The agent does not run in it (exit code {status}): {said[-OUTPUT_LENGTH:]}"
    return ""
