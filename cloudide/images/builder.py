"""Builds one image on the engine: fetch, check, build, tag. `builds.py` says when.

The engine's classic builder does the work, in a network of the build's own behind the same
firewall as workspaces. Whatever is made on the way has labels or is in that network, so that what a
server leaves behind when it dies is found by the next.

`RUN --mount=type=secret` is done here, not by the builder, which does not know it: what stands
before it is built, the command runs in a container with the secrets mounted read-only from memory,
and its result is committed as the ground of the rest. So a secret is in no layer, no build
argument, no history and no image's configuration.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from cloudide.errors import CloudIDEError, InvalidInput, NotFound
from cloudide.images import dockerfile, engine_build
from cloudide.images.containers import (
    MEMORY_FOLDER,
    SECRETS,
    InMemory,
    Ran,
    Run,
    end_if_over,
    ignoring_missing,
    put,
    remove_network,
    untag,
)
from cloudide.images.contexts import CHUNK, packed
from cloudide.images.dockerfile import Instruction, Line, SecretMount
from cloudide.images.references import Policy
from cloudide.images.steps import Steps, explained, secretless, step_number
from cloudide.images.stock import PASSED_ON
from cloudide.workspaces.engine import Engine
from cloudide.workspaces.networks import Networks

if TYPE_CHECKING:
    from docker.api.client import APIClient

log = structlog.get_logger()

KEPT_LINES = 40
WATCH_SECONDS = 2.0
CA_FOLDER = ".ca"
DOCKERFILE = ".cloudide.Dockerfile"
ROLE = "build"


class BuildFailed(CloudIDEError):
    """The sentence says which step failed, and why."""

    status, close_code, title = 422, 4422, "The build failed"


class Redactor(Protocol):
    def feed(self, chunk: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


class Limits(msgspec.Struct, frozen=True):
    """`memory`, `disk`: bytes of one step; `reserve`: bytes left free on the engine's disk."""

    memory: int
    disk: int
    reserve: int
    cpus: float


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`labels`: of every image on the way. `tag`: of the result."""

    build: str
    tag: str
    context: Path
    dockerfile: str
    target: str
    arguments: Mapping[str, str]
    secrets: Mapping[str, bytes]
    labels: Mapping[str, str]
    fresh: bool
    policy: Policy


class Telling:
    """How a build is told: steps, and output without secrets."""

    def __init__(self, write: Callable[[bytes], None], redactor: Redactor) -> None:
        self.steps = Steps()
        self.last: list[str] = []
        self._write = write
        self._redactor = redactor

    def say(self, text: str) -> None:
        self.output(text.encode() + b"\n")

    def output(self, chunk: bytes) -> None:
        # The classic builder makes what comes of a command's standard error red.
        chunk = chunk.replace(b"\x1b[91m", b"").replace(b"\x1b[0m", b"")
        shown = self._redactor.feed(chunk)
        if shown:
            self._write(shown)
            self.last = (self.last + shown.decode(errors="replace").splitlines())[-KEPT_LINES:]

    def flush(self) -> None:
        if rest := self._redactor.flush():
            self._write(rest)
            self.last.append(rest.decode(errors="replace"))

    def failed(self, error: str) -> BuildFailed:
        """The error of the step that goes on."""
        self.flush()
        step = self.steps.current
        if step is None and self.steps.all:
            step = self.steps.all[-1]
        self.steps.end(failed=True)
        # An error may quote a command, and a command a secret.
        hidden = (self._redactor.feed(error.encode()) + self._redactor.flush()).decode()
        return BuildFailed(explained(step, hidden, self.last))


class Builder:
    """Builds on one engine.

    Args:
        instance: names this server on the engine.
        ca_bundle: PEM file that builds find at `.ca/bundle.pem` of their context.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        instance: str,
        network_pool: str,
        limits: Limits,
        ca_bundle: Path | None,
    ) -> None:
        self.engine = engine
        self.instance = instance
        self.limits = limits
        self._networks = Networks(network_pool)
        self._ca_bundle = ca_bundle

    async def build(self, job: Job, tell: Telling) -> tuple[str, int]:
        """Build it; the image's id on the engine, and its size in bytes.

        Raises:
            BuildFailed, InvalidInput, EngineUnavailable: nothing of it is left but the cache.
        """
        instructions = dockerfile.read(
            await asyncio.to_thread(_text_of, job.context, job.dockerfile)
        )
        for each in instructions:
            dockerfile.secret_mounts(each)  # refuses what this builder cannot do, before anything
            if each.name == "FROM" and "--platform" in each.rest:
                line = f"Dockerfile, line {each.line}"
                raise InvalidInput(f"{line}: FROM --platform needs BuildKit; leave it out.")
        await job.policy.check(dockerfile.bases(instructions, job.arguments), tell.say)
        interim: list[str] = []
        async with self.fenced(job.build, tell) as network:
            try:
                result = await self._run(job, instructions, network, interim, tell)
            finally:
                for tag in interim:
                    await self.engine.call(lambda client, tag=tag: untag(client, tag))
        tell.flush()
        tell.steps.end()
        found = await self.engine.call(lambda client: client.inspect_image(result))
        repository, _, version = job.tag.rpartition(":")
        await self.engine.call(lambda client: client.tag(found["Id"], repository, version))
        return found["Id"], int(found["Size"])

    async def _run(
        self,
        job: Job,
        instructions: list[Instruction],
        network: str,
        interim: list[str],
        tell: Telling,
    ) -> str:
        """The builder, up to each command with secrets, then that, then the rest."""
        stages = dockerfile.stages(instructions, job.arguments)
        needed = _needed(instructions, stages, job.target)
        lines = dockerfile.marked(instructions[:needed], job.labels)
        told: set[int] = set()
        for number in range(needed):
            mounts, command = dockerfile.secret_mounts(instructions[number])
            if not mounts:
                continue
            at = next(i for i, line in enumerate(lines) if line.origin == number)
            ground = await self._engine_build(
                job, lines[:at], "", network, instructions, told, tell
            )
            tag = f"cloudide-build/{job.build.removeprefix('bld_')}:{number}"
            interim.append(tag)
            step = tell.steps.begin(secretless(instructions[number]), instructions[number].line)
            tell.say(f"Line {step.line}: {step.title}")
            scope = dockerfile.arguments_at(instructions, number, job.arguments)
            await self._run_with_secrets(job, ground, command, mounts, scope, network, tag, tell)
            tell.steps.end()
            lines = _on_ground(lines, at, tag)
        return await self._engine_build(job, lines, job.target, network, instructions, told, tell)

    async def _engine_build(
        self,
        job: Job,
        lines: Sequence[Line],
        target: str,
        network: str,
        instructions: Sequence[Instruction],
        told: set[int],
        tell: Telling,
    ) -> str:
        text = "".join(f"{line.text}\n" for line in lines)
        # The engine leaves out both where it copies the context, because the second names them.
        extra = {
            DOCKERFILE: text.encode(),
            ".dockerignore": f"{DOCKERFILE}\n.dockerignore".encode(),
        }
        if CA_FOLDER in text:
            bundle = self._ca_bundle
            content = await asyncio.to_thread(bundle.read_bytes) if bundle else b""
            extra[f"{CA_FOLDER}/bundle.pem"] = content
        passed = {key: os.environ[key] for key in PASSED_ON if os.environ.get(key)}
        if not any("PIP_INDEX_URL" in line.text for line in lines):
            passed.pop("PIP_INDEX_URL", None)
        declared = {
            key: value
            for key, value in job.arguments.items()
            if any(line.text.startswith("ARG ") and key in line.text for line in lines)
        }
        parameters = {
            "dockerfile": DOCKERFILE,
            "rm": "1",
            "forcerm": "1",
            "networkmode": network,
            "memory": str(self.limits.memory),
            "memswap": str(self.limits.memory),
            "cpuperiod": "100000",
            "cpuquota": str(round(self.limits.cpus * 100_000)),
            "buildargs": json.dumps({**passed, **declared}),
            "nocache": "1" if job.fresh else "0",
            **({"target": target} if target else {}),
        }
        image = ""
        current: int | None = None
        messages = engine_build.build(
            self.engine.host, _stream(job.context, packed(extra)), parameters
        )
        async for message in messages:
            if error := message.get("error"):
                raise tell.failed(str(error))
            if "aux" in message and isinstance(message["aux"], dict):
                image = message["aux"].get("ID", image)
            text = message.get("stream", "")
            if not isinstance(text, str) or not text:
                if status := message.get("status"):
                    tell.say(f"{message.get('id', '')} {status}".strip())
                continue
            number = step_number(text)
            if number is not None:
                origin = lines[number - 1].origin if number <= len(lines) else None
                current = None
                if origin is not None and origin not in told:
                    told.add(origin)
                    current = origin
                    instruction = instructions[origin]
                    step = tell.steps.begin(secretless(instruction), instruction.line)
                    tell.say(f"Line {step.line}: {step.title}")
                continue
            if text.strip().startswith("---> Using cache"):
                if current is not None and tell.steps.current:
                    tell.steps.current.cached = True
                continue
            if _is_chatter(text):
                continue
            tell.output(text.encode())
        if not image:
            raise tell.failed("The engine did not say what it built.")
        return image

    # ── commands with secrets ───────────────────────────────────────────────────────────────────

    async def _run_with_secrets(
        self,
        job: Job,
        ground: str,
        command: str,
        mounts: Sequence[SecretMount],
        scope: Mapping[str, str],
        network: str,
        tag: str,
        tell: Telling,
    ) -> None:
        if self.engine.host and not self.engine.host.startswith("unix:"):
            raise tell.failed("Build secrets need a container engine on the server's own machine.")
        for mount in mounts:
            if mount.required and mount.id not in job.secrets:
                raise tell.failed(
                    f"it needs the build secret {mount.id}, which this image does not have"
                )
        passed = {key: os.environ[key] for key in PASSED_ON if os.environ.get(key)}
        with InMemory(self.instance) as folder:
            binds = [f"{folder / 'secrets'}:{SECRETS}:ro"]
            values = {**passed, **scope}
            exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in values.items())
            put(folder / "secrets" / ".environment", exports.encode())
            for count, mount in enumerate(mounts):
                if mount.id not in job.secrets:
                    continue
                if mount.target == f"{SECRETS}/{mount.id}":
                    put(folder / "secrets" / mount.id, job.secrets[mount.id])
                else:
                    put(folder / str(count), job.secrets[mount.id])
                    binds.append(f"{folder / str(count)}:{mount.target}:ro")
            run = Run(
                image=ground,
                command=command,
                binds=binds,
                network=network,
                memory=self.limits.memory,
                cpus=self.limits.cpus,
                labels=self.labels(job.build),
            )
            code = await self.run(run, tell.output)
            if code.status:
                await self.engine.call(lambda client: code.remove(client))
                raise tell.failed(f"returned a non-zero code: {code.status}")
            await self.engine.call(lambda client: code.commit(client, tag))

    async def run(self, run: Run, output: Callable[[bytes], None]) -> Ran:
        """Run a command in a container to its end; it is removed if this does not come to that."""
        ran = await self.engine.call(run.create)
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(
            self.engine.call(
                lambda client: ran.attend(client, partial(loop.call_soon_threadsafe, output))
            )
        )
        try:
            return await asyncio.shield(task)
        except BaseException:
            await self.engine.call(ran.remove)
            with suppress(Exception):
                await task
            raise

    # ── around a build ──────────────────────────────────────────────────────────────────────────

    def labels(self, build: str) -> dict[str, str]:
        return {
            "cloudide.instance": self.instance,
            "cloudide.role": ROLE,
            "cloudide.build": build,
        }

    @asynccontextmanager
    async def fenced(self, build: str, tell: Telling) -> AsyncIterator[str]:
        """A network for a build, with whatever it runs; what writes too much there is ended.

        Raises:
            BuildFailed: something wrote too much.
        """
        name = f"cloudide-{self.instance}-{build.replace('_', '-')}"
        labels = self.labels(build)
        await self.engine.call(lambda client: self._networks.ensure(client, name, labels))
        full = asyncio.Event()
        watching = asyncio.create_task(self._watch(name, full))
        try:
            yield name
        except BuildFailed:
            if full.is_set():
                raise tell.failed(
                    "it wrote more than a build may; the limit is "
                    f"{self.limits.disk / 1024**3:g} GiB for a step"
                ) from None
            raise
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            # Seen through though it is cancelled: the engine may still be ending a container.
            removal = self.engine.call(lambda client: remove_network(client, name))
            await asyncio.shield(asyncio.ensure_future(removal))

    async def _watch(self, network: str, full: asyncio.Event) -> None:
        limits = self.limits
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            with suppress(CloudIDEError):
                if await self.engine.call(
                    lambda client: end_if_over(client, network, limits.disk, limits.reserve)
                ):
                    full.set()

    async def clean(self) -> None:
        """Remove what builds of a server that died left running; images are the cache's matter."""
        await self.engine.call(self._clean)

    def _clean(self, client: APIClient) -> None:
        for path in MEMORY_FOLDER.glob(f"cloudide-{self.instance}-*"):
            shutil.rmtree(path, ignore_errors=True)
        labels = [f"cloudide.instance={self.instance}", f"cloudide.role={ROLE}"]
        for network in client.networks(filters={"label": labels}):
            remove_network(client, network["Name"])
        for row in client.containers(all=True, filters={"label": labels}):
            ignoring_missing(lambda row=row: client.remove_container(row["Id"], v=True, force=True))
        for row in client.images(filters={"reference": "cloudide-build/*"}):
            mine = (row.get("Labels") or {}).get("cloudide.instance") == self.instance
            for tag in row["RepoTags"] or [] if mine else []:
                untag(client, tag)


def _needed(
    instructions: Sequence[Instruction], stages: Sequence[dockerfile.Stage], target: str
) -> int:
    """How many of the instructions a target needs: those up to the end of its stage."""
    if not target:
        return len(instructions)
    for index, stage in enumerate(stages):
        if target.lower() in (stage.name, str(index)):
            following = stages[index + 1 :]
            return following[0].start if following else len(instructions)
    names = ", ".join(stage.name for stage in stages if stage.name) or "none has a name"
    raise InvalidInput(f"The Dockerfile has no stage {target!r}; its stages: {names}.")


def _on_ground(lines: Sequence[Line], at: int, tag: str) -> list[Line]:
    """The lines with a stage, up to `at`, replaced by the image that came of it."""
    start = max(i for i in range(at) if lines[i].text.startswith("FROM "))
    words = lines[start].text.split()
    name = f" AS {words[-1]}" if len(words) > 3 and words[-2].upper() == "AS" else ""
    # A FROM forgets the build arguments of its stage.
    declared = [line for line in lines[start:at] if line.text.startswith("ARG ")]
    ground = Line(f"FROM {tag}{name}", lines[start].origin)
    return [*lines[:start], ground, *declared, *lines[at + 1 :]]


def _text_of(context: Path, path: str) -> str:
    try:
        with tarfile.open(context) as tar:
            member = tar.getmember(path)
            file = tar.extractfile(member) if member.isfile() else None
            if file is None or member.size > dockerfile.SIZE_LIMIT:
                raise KeyError(path)
            return file.read().decode()
    except FileNotFoundError as error:
        raise NotFound("The build context is no longer there; upload it again.") from error
    except (KeyError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The build context has no file {path!r} that is text.") from error


async def _stream(context: Path, extra: bytes) -> AsyncIterator[bytes]:
    """A few files, which no context has, and then the context."""
    yield extra
    with context.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk


def _is_chatter(text: str) -> bool:
    """What the classic builder says of its own doings."""
    bare = text.strip()
    return not bare or bare.startswith(
        ("---> ", "Removing intermediate container ", "Successfully built ")
    )
