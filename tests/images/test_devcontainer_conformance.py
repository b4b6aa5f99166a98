"""What we make of a configuration is what the reference says of it, for each property there is.

The reference is asked here as anybody would ask it: with an environment, a home and a docker
command of its own, that knows the images only.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cloudide.images.devcontainer import files, plan, policy, reference
from cloudide.project import devcontainer
from cloudide.workspaces.runtime import Grants

THIRD_PARTY = Path(__file__).parent / "devcontainers"
ABOUT: dict[str, Any] = {"Id": "sha256:base", "Os": "linux", "Architecture": "amd64"}
SAYS = [{"remoteUser": "dev", "postCreateCommand": "of the image", "remoteEnv": {"I": "1"}}]
ABOUT["Config"] = {
    "User": "dev",
    "Env": ["PATH=/usr/bin"],
    "Labels": {"devcontainer.metadata": json.dumps(SAYS)},
}
FEATURE = {
    "id": "f",
    "version": "1.2.3",
    "options": {"word": {"type": "string", "default": "hi"}},
    "containerEnv": {"OF_FEATURE": "1"},
    "mounts": [{"source": "cache", "target": "/cache", "type": "volume"}],
    "onCreateCommand": {"a": "one", "b": ["two"]},
    "postStartCommand": "of the feature",
    "customizations": {"cloudide": {"of": "feature"}},
}
PARTS = {
    ".devcontainer/Dockerfile": "ARG WORD\nFROM base AS first\nFROM first AS second\nUSER dev\n",
    ".devcontainer/f/devcontainer-feature.json": json.dumps(FEATURE),
    ".devcontainer/f/install.sh": "true\n",
}

# One for each property of the specification; None: it is there in every other one.
OF_PROPERTY: dict[str, dict[str, Any] | None] = {
    "$schema": {"$schema": "https://example.org/schema.json"},
    "name": {"name": "${localWorkspaceFolderBasename} of them"},
    "image": None,
    "build": {
        "build": {
            "dockerfile": "Dockerfile",
            "context": "..",
            "target": "second",
            "args": {"WORD": "x"},
            "cacheFrom": ["base"],
            "options": ["--quiet"],
        }
    },
    "features": {"features": {"./f": {"word": "given"}}},
    "overrideFeatureInstallOrder": {
        "features": {"./f": {}},
        "overrideFeatureInstallOrder": ["./f"],
    },
    "containerEnv": {
        "containerEnv": {"A": "${containerWorkspaceFolder}", "B": "${devcontainerId}"}
    },
    "remoteEnv": {"remoteEnv": {"PATH": "${containerEnv:PATH}:/x", "GONE": None}},
    "containerUser": {"containerUser": "other"},
    "remoteUser": {"remoteUser": "other"},
    "updateRemoteUserUID": {"updateRemoteUserUID": False},
    "userEnvProbe": {"userEnvProbe": "loginShell"},
    "overrideCommand": {"overrideCommand": False},
    "shutdownAction": {"shutdownAction": "none"},
    "init": {"init": True},
    "privileged": {"privileged": True},
    "capAdd": {"capAdd": ["SYS_PTRACE"]},
    "securityOpt": {"securityOpt": ["seccomp=unconfined"]},
    "mounts": {"mounts": ["source=/,target=/host,type=bind", "source=v,target=/v,type=volume"]},
    "runArgs": {"runArgs": ["--network=host"]},
    "workspaceFolder": {"workspaceFolder": "/src", "workspaceMount": ""},
    "workspaceMount": {"workspaceFolder": "/src", "workspaceMount": "src=x,dst=/src,type=volume"},
    "forwardPorts": {"forwardPorts": [3000, "db:5432"]},
    "portsAttributes": {"portsAttributes": {"3000": {"label": "Web", "protocol": "https"}}},
    "otherPortsAttributes": {"otherPortsAttributes": {"onAutoForward": "silent"}},
    "appPort": {"appPort": [8000]},
    "hostRequirements": {"hostRequirements": {"cpus": 2, "memory": "4gb", "gpu": "optional"}},
    "customizations": {"features": {"./f": {}}, "customizations": {"cloudide": {"a": 1}, "x": {}}},
    "secrets": {"secrets": {"TOKEN": {"description": "Of the registry"}}},
    "initializeCommand": {"initializeCommand": ["make", "it"]},
    "onCreateCommand": {"features": {"./f": {}}, "onCreateCommand": "made"},
    "updateContentCommand": {"updateContentCommand": ["a", "b c"]},
    "postCreateCommand": {"postCreateCommand": {"x": "1", "y": ["2"]}},
    "postStartCommand": {"features": {"./f": {}}, "postStartCommand": "started"},
    "postAttachCommand": {"postAttachCommand": "attached"},
    "waitFor": {"waitFor": "postStartCommand"},
    # Compose is refused as a whole.
    "dockerComposeFile": None,
    "service": None,
    "runServices": None,
}
REFUSED = {"privileged", "capAdd", "securityOpt", "mounts", "runArgs", "initializeCommand"}


def test_every_property_has_a_configuration() -> None:
    assert set(devcontainer.Configuration.__struct_encode_fields__) == set(OF_PROPERTY)


def write(folder: Path, parts: dict[str, str]) -> Path:
    project = folder / "project"
    for path, text in parts.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    return project


async def asked(folder: Path, project: Path, path: str, images: dict[str, Any]) -> dict[str, Any]:
    """What the reference answers, which knows of nothing that we do."""
    docker = folder / "docker"
    answers = folder / "answers"
    answers.mkdir()
    for name, about in images.items():
        (answers / name.replace("/", "_")).write_text(json.dumps([about]))
    docker.write_text(
        "#!/bin/sh\n[ $1 = ps ] && exit 0\nfor name; do :; done\n"
        f'exec cat {answers}/$(echo "$name" | tr / _)\n'
    )
    docker.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        *("node", str(reference.PROGRAM), "read-configuration", "--docker-path", str(docker)),
        *("--workspace-folder", str(project), "--config", str(project / path)),
        *("--mount-workspace-git-root", "false", "--id-label", "cloudide=img_1"),
        "--include-merged-configuration",
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    merged = json.loads(output)["mergedConfiguration"]
    merged.pop("configFilePath")
    return merged


async def both(
    folder: Path, parts: dict[str, str], path: str, images: dict[str, Any]
) -> tuple[reference.Read, dict[str, Any]]:
    project = write(folder, parts)
    scratch = folder / "scratch"
    scratch.mkdir()
    return await asyncio.gather(  # side by side: most of it is the start of Node.js
        reference.read(scratch, project, path, images=images, label="img_1", registries=[]),
        asked(folder, project, path, images),
    )


@pytest.mark.parametrize("name", [name for name, says in OF_PROPERTY.items() if says])
async def test_each_property_is_merged_as_the_reference_does(tmp_path: Path, name: str) -> None:
    """And none is dropped: what has no effect is named, what is not allowed is refused."""
    configuration = {"image": "base", **(OF_PROPERTY[name] or {})}
    if "build" in configuration:
        del configuration["image"]
    path = ".devcontainer/devcontainer.json"
    parts = {**PARTS, path: json.dumps(configuration)}
    read, merged = await both(tmp_path, parts, path, {"base": ABOUT})
    assert read.merged == merged
    asks = policy.asked(read.configuration, [], [("base", ABOUT)], read.merged)
    assert {ask.property for ask in asks} == ({name} & REFUSED)
    drawn = plan.draw(
        path,
        read.configuration,
        read.merged,
        folder=read.folder,
        local=[],
        grants=Grants(),
        ineffective=[],
    )
    named = " ".join(drawn.notices)
    if name in plan.WITHOUT and name in configuration:
        assert f"{name}: " in named
    assert "means nothing here" not in named


@pytest.mark.parametrize(("name", "lacks"), [("numpy", []), ("scipy", ["memory 8 GiB"])])
async def test_published_configurations(tmp_path: Path, name: str, lacks: list[str]) -> None:
    """Unmodified ones, from packages' sources; `devcontainers/README.md` says which."""
    folder = THIRD_PARTY / name
    parts = {
        str(file.relative_to(folder)): file.read_text()
        for file in (folder / ".devcontainer").iterdir()
    }
    path = files.choose(parts, "")
    written = files.parse(path, parts[path].encode())
    assert files.build_of(path, written.value) is None
    read, merged = await both(tmp_path, parts, path, {written.value["image"]: ABOUT})
    assert read.merged == merged
    assert [what for what, _ in plan.requirements(merged, 2, 4 << 30)] == lacks
    drawn = plan.draw(
        path,
        read.configuration,
        merged,
        folder=read.folder,
        local=written.local,
        grants=Grants(),
        ineffective=[],
    )
    assert drawn.commands == {
        "onCreateCommand": [plan.Command({"": ".devcontainer/setup.sh"})],
        # Its own is empty: there is nothing of it to run.
        "postCreateCommand": [plan.Command({"": "of the image"})],
    }
    assert drawn.notices == ["customizations.vscode: settings of another tool"]
