"""A development container as a version of an image: read, judged, put together, built.

    context ─► files (which configuration) ─► bases there ─► reference (read, merged, features)
            ─► policy ─► plan ─► assembly ─► our builder ─► its user's

`Prepared` is what comes before the build; whether a version of the same is there already is known
then. What is remembered with the version is its `Plan`.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cloudide.errors import InvalidInput
from cloudide.images import dockerfile, references
from cloudide.images.builder import Builder, BuildFailed, Job, Telling
from cloudide.images.contexts import Contexts
from cloudide.images.definitions import Definition
from cloudide.images.devcontainer import assembly, files, plan, policy, reference
from cloudide.images.references import Policy
from cloudide.settings import Settings
from cloudide.workspaces.foreign import OWNER_LABEL, parse_owner

if TYPE_CHECKING:
    from docker.api.client import APIClient

FEATURES_LIMIT = 64 * 1024 * 1024  # bytes of all features
PASSWD_LIMIT = 1024 * 1024  # bytes of its archive
# What Go sets in the mode of what is no regular file (https://pkg.go.dev/io/fs#FileMode): a folder,
# link, device, pipe, socket, character device, or something else.
IRREGULAR = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19
REMEMBERED_LIMIT = 256 * 1024  # bytes of a plan
ROOT = ("root", "0")


class Prepared(msgspec.Struct, frozen=True):
    """What is built. `context`: the digest of all that the build is given; `bases`: the images it
    stands on, with their ids on the engine."""

    plan: plan.Plan
    context: str
    bases: dict[str, str]
    arguments: dict[str, str]


async def prepare(
    definition: Definition,
    context: str,
    contexts: Contexts,
    builder: Builder,
    allowed: Policy,
    settings: Settings,
    tell: Telling,
) -> Prepared:
    """Everything up to the build.

    Raises:
        InvalidInput, NotFound: the configuration cannot be used; the sentence says why.
        Denied: it asks for what its team may not have, or stands on an image that it may not.
    """
    source = definition.source
    names = await asyncio.to_thread(contexts.names, context)
    path = files.choose(names, source.configuration)
    content = await asyncio.to_thread(contexts.dockerfile, context, path)
    written = files.parse(path, content.encode())
    tell.say(f"Configuration {path}")
    value = files.without_local(written.value)
    build = files.build_of(path, value)
    arguments: dict[str, str] = {}
    if build is None:
        text = assembly.ground(_image(path, value))
    else:
        arguments = {**build.arguments, **source.arguments}
        text = await asyncio.to_thread(contexts.dockerfile, context, build.dockerfile)
        text = assembly.up_to(text, build.target, arguments)
    images = await _bases(builder, allowed, text, arguments, tell)
    # A folder of its own, named as the project is: so are variables and the default folder.
    with tempfile.TemporaryDirectory(dir=contexts.folder, prefix="read-") as scratch:
        root = await asyncio.to_thread(Path(scratch).resolve)
        project = root / _name(definition)
        await asyncio.to_thread(
            files.extract,
            contexts.path(context),
            project,
            lambda name: (
                name.startswith(f"{files.FOLDER}/")
                or name in (path, ".devcontainer-lock.json")
                or (build is not None and name == build.dockerfile)
            ),
        )
        read = await reference.read(
            root,
            project,
            path,
            images=images,
            label=definition.id,
            registries=[each.strip() for each in settings.feature_registries.split(",")],
            ca_bundle=settings.ca_bundle,
        )
        drawn = _judged(definition, path, read, images, written.local, settings)
        extra = await asyncio.to_thread(_extra, text, arguments, drawn, read, images)
    for notice in drawn.notices:
        tell.say(f"Without effect: {notice}.")
    digest = await asyncio.to_thread(
        contexts.derive,
        context if build is not None else "",
        build.context if build is not None else "",
        assembly.FOLDER,
        extra,
    )
    if len(msgspec.json.encode(drawn)) > REMEMBERED_LIMIT:
        raise InvalidInput(f"{path} comes to more than {REMEMBERED_LIMIT // 1024} KiB.")
    bases = {name: str(found["Id"]) for name, found in images.items()}
    return Prepared(drawn, digest, bases, arguments)


def _image(path: str, value: Mapping[str, Any]) -> str:
    name = str(value.get("image") or "")
    if not name or any(char.isspace() for char in name):
        raise InvalidInput(f"{path}: image is the name of an image.")
    return name


def _name(definition: Definition) -> str:
    """What the project's folder would be called where it is cloned."""
    last = definition.source.git.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    name = last.removesuffix(".git")
    plain = "".join(
        char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in name
    )
    return plain.strip(".") or definition.name


async def _bases(
    builder: Builder, allowed: Policy, text: str, arguments: Mapping[str, str], tell: Telling
) -> dict[str, dict[str, Any]]:
    """What the engine says of each image that it stands on; they are there then."""
    names = dockerfile.bases(dockerfile.read(text), arguments)
    await allowed.check(names, tell.say)
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        await references.pulled(builder.engine, name)
        found[name] = await builder.engine.call(
            lambda client, name=name: client.inspect_image(name)
        )
    return found


def _judged(
    definition: Definition,
    path: str,
    read: reference.Read,
    images: Mapping[str, Mapping[str, Any]],
    local: list[str],
    settings: Settings,
) -> plan.Plan:
    asks = policy.asked(
        read.configuration,
        [(each.id, each.about) for each in read.features],
        images.items(),
        read.merged,
    )
    asks += [
        policy.Ask("hostRequirements", what, f"{path}, and {why}")
        for what, why in plan.requirements(
            read.merged, settings.workspace_cpus, settings.workspace_memory
        )
    ]
    rules = policy.rules(settings.devcontainer_allow)
    judgement = policy.judge(asks, rules, definition.team)
    drawn = plan.draw(
        path,
        read.configuration,
        read.merged,
        folder=read.folder,
        local=local,
        grants=judgement.grants,
        ineffective=judgement.ineffective,
    )
    if drawn.user.split(":")[0] not in ROOT:
        return drawn
    notice = f"remoteUser ({drawn.user}): nothing runs as root here, but as an ordinary user"
    return msgspec.structs.replace(drawn, user="", notices=[*drawn.notices, notice])


def _extra(
    text: str,
    arguments: Mapping[str, str],
    drawn: plan.Plan,
    read: reference.Read,
    images: Mapping[str, Mapping[str, Any]],
) -> dict[str, tuple[bytes, int]]:
    """The files that the build gets from us: content and mode, by path; blocks."""
    users = {name: (found.get("Config") or {}).get("User") or "" for name, found in images.items()}
    user = assembly.user_of(text, arguments, users)
    container_user = str(read.merged.get("containerUser") or user)
    remote_user = str(read.merged.get("remoteUser") or container_user)
    extra: dict[str, tuple[bytes, int]] = {}
    listed: list[tuple[str, Mapping[str, Any]]] = []
    total = 0
    for number, feature in enumerate(read.features):
        name = f"{number:02}"
        listed.append((name, feature.about))
        for file in sorted(feature.folder.rglob("*")):
            if file.is_symlink() or not file.is_file():
                continue
            total += file.stat().st_size
            if total > FEATURES_LIMIT:
                raise InvalidInput(f"The features have more than {FEATURES_LIMIT // 1024**2} MiB.")
            mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
            where = f"{assembly.FEATURES}/{name}/{file.relative_to(feature.folder)}"
            extra[where] = file.read_bytes(), mode
        script = assembly.installer(
            name, feature.about, container_user=container_user, remote_user=remote_user
        )
        extra[f"{assembly.FEATURES}/{name}.sh"] = script.encode(), 0o644
    whole = text + assembly.rest(
        listed, user=user, environment=drawn.environment, folder=drawn.folder
    )
    extra[assembly.DOCKERFILE] = whole.encode(), 0o644
    return extra


# ── the build ───────────────────────────────────────────────────────────────────────────────────


async def build(
    prepared: Prepared, job: Job, contexts: Contexts, builder: Builder, tell: Telling
) -> tuple[str, int]:
    """Build it, as the user that it names; as `Builder.build`."""
    engine_id, size = await builder.build(job, tell)
    found = await builder.engine.call(lambda client: client.inspect_image(engine_id))
    lines = await _ownership(prepared.plan, engine_id, found, job.tag, builder)
    environment = dict(line.split("=", 1) for line in (found.get("Config") or {}).get("Env") or [])
    remote = plan.resolved(prepared.plan.remote_environment, environment)
    if not lines and not remote:
        return engine_id, size
    lines = [*(lines or [f"FROM {job.tag}"]), *assembly.variables(remote)]
    text = "".join(f"{line}\n" for line in lines)
    extra = {assembly.DOCKERFILE: (text.encode(), 0o644)}
    context = await asyncio.to_thread(contexts.derive, "", "", assembly.FOLDER, extra)
    last = msgspec.structs.replace(
        job, context=contexts.path(context), arguments={}, secrets={}, fresh=False
    )
    return await builder.build(last, tell)


async def _ownership(
    drawn: plan.Plan, engine_id: str, found: Mapping[str, Any], tag: str, builder: Builder
) -> list[str]:
    """Lines that make it its user's; none where it is already, or has no ordinary user.

    Raises:
        BuildFailed: it has no user of that name.
    """
    config = found.get("Config") or {}
    name = (drawn.user or config.get("User") or "").split(":")[0]
    if not name or name in ROOT:
        return []
    passwd = await builder.engine.call(lambda client: _passwd(client, engine_id))
    for uid, gid, home in _users(passwd, name):
        if parse_owner((config.get("Labels") or {}).get(OWNER_LABEL, "")) == (uid, gid):
            return []
        if uid and gid:
            return [*assembly.owned(tag, uid=uid, gid=gid, user=name, home=home)]
        return []
    if drawn.user:
        raise BuildFailed(
            f"remoteUser: the image has no user {name!r}. Make one in its Dockerfile, or by a "
            "feature, or name another."
        )
    return []


def _users(passwd: str, name: str) -> Iterable[tuple[int, int, str]]:
    """Numbers of user and group, and the home, of lines of passwd(5) for a name or number."""
    for line in passwd.splitlines():
        fields = line.split(":")
        is_it = len(fields) >= 6 and name in fields[:1] + fields[2:3]
        if is_it and fields[2].isdigit() and fields[3].isdigit():
            yield int(fields[2]), int(fields[3]), fields[5]


def _passwd(client: APIClient, image: str) -> str:
    """An image's `/etc/passwd`, read without running anything of it; "" where it is no regular
    file, or too large."""
    import docker.errors

    container = client.create_container(image, ["never started"], network_disabled=True)["Id"]
    try:
        chunks, about = client.get_archive(container, "/etc/passwd")
        if about["mode"] & IRREGULAR or about["size"] > PASSWD_LIMIT:
            return ""
        content = bytearray()
        for chunk in chunks:  # an engine's word on a size is an image's
            content += chunk
            if len(content) > PASSWD_LIMIT:
                return ""
        with tarfile.open(fileobj=io.BytesIO(bytes(content))) as tar:
            member = tar.next()
            file = tar.extractfile(member) if member and member.isfile() else None
            return file.read().decode(errors="replace") if file else ""
    except docker.errors.NotFound:
        return ""
    finally:
        client.remove_container(container, v=True, force=True)


def remembered(made_from: Mapping[str, Any]) -> plan.Plan | None:
    """The plan of a version; None where it is no development container's."""
    value = made_from.get("devcontainer")
    return msgspec.convert(value, plan.Plan) if isinstance(value, dict) else None
