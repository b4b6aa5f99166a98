"""What `devcontainer.json` may hold (https://containers.dev/implementors/json_reference/).

The one declaration that validation, completion and hovers use. Keys that are not here are no
mistakes: tools have their own, and the format grows.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from cloudide.project.checking import mistakes
from cloudide.project.problems import Mistake

FILES = ("devcontainer.json", ".devcontainer.json")
FILE_LIMIT = 256 * 1024  # bytes
MISTAKES_LIMIT = 100

Command = str | list[str] | dict[str, str | list[str]]


def _says(description: str) -> Meta:
    return Meta(description=description)


class Build(msgspec.Struct, frozen=True, rename="camel"):
    """How the image is built."""

    dockerfile: Annotated[str, _says("The Dockerfile, relative to this file.")] = ""
    context: Annotated[str, _says("The folder that the build sees, relative to this file.")] = "."
    args: Annotated[dict[str, str], _says("Build arguments (`ARG`).")] = {}
    options: Annotated[list[str], _says("Further options of `docker build`.")] = []
    target: Annotated[str, _says("The stage of the Dockerfile to build.")] = ""
    cache_from: Annotated[str | list[str], _says("Images to take layers from.")] = ""


class PortAttributes(msgspec.Struct, frozen=True, rename="camel"):
    """What happens with a port."""

    label: Annotated[str, _says("The name that is shown for it.")] = ""
    protocol: Annotated[Literal["http", "https"], _says("What it speaks.")] = "http"
    on_auto_forward: Annotated[
        Literal["notify", "openBrowser", "openBrowserOnce", "openPreview", "silent", "ignore"],
        _says("What happens when a program begins to listen on it."),
    ] = "notify"
    require_local_port: Annotated[
        bool, _says("Whether the same port has to be free on the local machine.")
    ] = False
    elevate_if_needed: Annotated[
        bool, _says("Whether to ask for the right to open a port below 1024.")
    ] = False


class HostRequirements(msgspec.Struct, frozen=True):
    """What the machine has to have."""

    cpus: Annotated[int, Meta(ge=1, description="The least number of CPUs.")] = 1
    memory: Annotated[str, _says("The least memory, such as `4gb`.")] = ""
    storage: Annotated[str, _says("The least disk space, such as `32gb`.")] = ""
    gpu: Annotated[bool | str | dict[str, Any], _says("Whether a GPU is needed.")] = False


class Configuration(msgspec.Struct, frozen=True, rename="camel"):
    """A development container."""

    name: Annotated[str, _says("The name that is shown for the container.")] = ""
    schema: Annotated[str, _says("The JSON Schema of this file.")] = msgspec.field(
        name="$schema", default=""
    )
    image: Annotated[str, _says("The image to start from, where nothing is built.")] = ""
    build: Annotated[Build, _says("How to build the image from a Dockerfile.")] = Build()
    docker_compose_file: Annotated[
        str | list[str], _says("The Compose files, relative to this file, in order.")
    ] = ""
    service: Annotated[str, _says("The service of the Compose files to work in.")] = ""
    run_services: Annotated[list[str], _says("The services to start; default: all of them.")] = []
    workspace_folder: Annotated[str, _says("Where the project lies in the container.")] = ""
    workspace_mount: Annotated[str, _says("Another way to mount the project.")] = ""
    features: Annotated[
        dict[str, Any], _says("Features to install, by identifier, each with its options.")
    ] = {}
    override_feature_install_order: Annotated[
        list[str], _says("The order to install features in, against their own wish.")
    ] = []
    on_create_command: Annotated[
        Command, _says("Runs once in a new container, before anybody's own settings are there.")
    ] = ""
    update_content_command: Annotated[
        Command, _says("Runs in a new container whenever the project's content has changed.")
    ] = ""
    post_create_command: Annotated[
        Command, _says("Runs once in a new container, last of those that set it up.")
    ] = ""
    post_start_command: Annotated[Command, _says("Runs whenever the container starts.")] = ""
    post_attach_command: Annotated[Command, _says("Runs whenever somebody connects.")] = ""
    initialize_command: Annotated[
        Command,
        _says("Runs on the machine outside the container."),
    ] = ""
    wait_for: Annotated[
        Literal[
            "initializeCommand",
            "onCreateCommand",
            "updateContentCommand",
            "postCreateCommand",
            "postStartCommand",
        ],
        _says("The command to wait for before anybody connects."),
    ] = "updateContentCommand"
    forward_ports: Annotated[
        list[int | str], _says("Ports to forward: numbers, or `service:port`.")
    ] = []
    ports_attributes: Annotated[
        dict[str, PortAttributes], _says("What happens with ports, by number, range or pattern.")
    ] = {}
    other_ports_attributes: Annotated[
        PortAttributes, _says("What happens with all other ports.")
    ] = PortAttributes()
    app_port: Annotated[
        int | str | list[int | str], _says("Ports to publish; prefer `forwardPorts`.")
    ] = []
    container_env: Annotated[
        dict[str, str], _says("Environment variables of the whole container.")
    ] = {}
    remote_env: Annotated[
        dict[str, str | None], _says("Environment variables of terminals, tasks and tools.")
    ] = {}
    container_user: Annotated[str, _says("The user that the container runs as.")] = ""
    remote_user: Annotated[str, _says("The user that terminals and tools run as.")] = ""
    update_remote_user: Annotated[
        bool, _says("Whether the user gets the number of the local one.")
    ] = msgspec.field(name="updateRemoteUserUID", default=True)
    user_env_probe: Annotated[
        Literal["none", "interactiveShell", "loginShell", "loginInteractiveShell"],
        _says("Which shell is asked for the environment of tools."),
    ] = "loginInteractiveShell"
    override_command: Annotated[
        bool, _says("Whether the image's own command is replaced by one that waits.")
    ] = True
    shutdown_action: Annotated[
        Literal["none", "stopContainer", "stopCompose"],
        _says("What happens when nobody is connected any more."),
    ] = "stopContainer"
    init: Annotated[bool, _says("Whether a small init process reaps what is left behind.")] = False
    privileged: Annotated[bool, _says("Whether the container may do all that the machine may.")] = (
        False
    )
    cap_add: Annotated[list[str], _says("Linux capabilities to add, such as `SYS_PTRACE`.")] = []
    security_opt: Annotated[list[str], _says("Security options of the engine.")] = []
    mounts: Annotated[
        list[str | dict[str, Any]], _says("Further mounts, as text or as objects.")
    ] = []
    run_args: Annotated[list[str], _says("Further options of `docker run`.")] = []
    host_requirements: Annotated[HostRequirements, _says("What the machine has to have.")] = (
        HostRequirements()
    )
    secrets: Annotated[
        dict[str, Any], _says("Secrets that are recommended, each with a description.")
    ] = {}
    customizations: Annotated[
        dict[str, Any], _says("Settings of particular tools, by the tool's name.")
    ] = {}


def check(value: object) -> list[Mistake]:
    """What is wrong with a file that was read as `value`."""
    if not isinstance(value, dict):
        return [Mistake("A development container is an object: {…}.")]
    found = list(mistakes(value, Configuration))
    ways = [key for key in ("image", "build", "dockerComposeFile") if key in value]
    if not ways and "dockerFile" not in value:  # the latter is what `build` was called before
        found.append(Mistake("It says no image: write image, build or dockerComposeFile."))
    if "image" in ways and len(ways) > 1:
        message = f"image means nothing beside {ways[1]}."
        found.append(Mistake(message, ("image",), unknown=True))
    if "dockerComposeFile" in ways and "service" not in value:
        message = "service is missing: say which of the Compose services to work in."
        found.append(Mistake(message, ("dockerComposeFile",), unknown=True))
    return found[:MISTAKES_LIMIT]
