"""What the tests ask of the engine beside the code under test."""

from __future__ import annotations

from typing import Any

from cloudide.workspaces.engine import Engine

MIB = 1024 * 1024


async def belongings(engine: Engine, instance: str) -> list[str]:
    """Names of all containers, volumes and networks of a server, found by their labels."""
    filters = {"label": f"cloudide.instance={instance}"}

    def ask(client: Any) -> list[str]:
        containers = client.containers(all=True, filters=filters)
        volumes = client.volumes(filters=filters)["Volumes"] or []
        return sorted(
            [row["Names"][0].lstrip("/") for row in containers]
            + [row["Name"] for row in volumes]
            + [row["Name"] for row in client.networks(filters=filters)]
        )

    return await engine.call(ask)


async def execute(engine: Engine, container: str, *command: str) -> tuple[int, str]:
    """Run a command in a container as its user: exit code and output."""

    def run(client: Any) -> tuple[int, str]:
        id = client.exec_create(container, list(command))["Id"]
        output = client.exec_start(id).decode(errors="replace")
        return client.exec_inspect(id)["ExitCode"], output

    return await engine.call(run)


async def python(engine: Engine, container: str, code: str) -> str:
    """Run Python in a container, from the agent's bundle; its output without the last newline."""
    bundle = "/opt/cloudide"
    loader = [f"{bundle}/lib/ld.so", "--library-path", f"{bundle}/lib", f"{bundle}/bin/python3"]
    status, output = await execute(engine, container, *loader, "-I", "-S", "-B", "-c", code)
    assert status == 0, output
    return output.rstrip("\n")
