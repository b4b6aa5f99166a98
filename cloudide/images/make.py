"""Makes a version of an image: its inputs, the build where there is none of them, and the check."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec

from cloudide.errors import CloudIDEError, InvalidInput, NotFound
from cloudide.images import dockerfile, references, repository
from cloudide.images.builder import Builder, BuildFailed, Job, Telling
from cloudide.images.builds import Build, Builds, Outcome
from cloudide.images.check import check
from cloudide.images.contexts import Contexts
from cloudide.images.definitions import Definition, Kind
from cloudide.images.devcontainer import assembly, development
from cloudide.images.references import Policy
from cloudide.images.releases import Releases, Version
from cloudide.images.stock import StockImages
from cloudide.images.versions import USABLE
from cloudide.settings import Settings
from cloudide.workspaces.engine import Engine

if TYPE_CHECKING:
    from docker.api.client import APIClient


class Made(msgspec.Struct, frozen=True):
    """What a version is made from; `inputs` is its hash, `about` is for people."""

    inputs: str
    about: Mapping[str, Any]


class Making:
    """Makes versions on one engine."""

    def __init__(
        self,
        engine: Engine,
        stock: StockImages,
        releases: Releases,
        contexts: Contexts,
        builder: Builder,
        settings: Settings,
    ) -> None:
        self.builds: Builds | None = None  # told which version is being built
        self._engine = engine
        self._stock = stock
        self._releases = releases
        self._contexts = contexts
        self._builder = builder
        self._settings = settings
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def known(self, definition: Definition) -> int | None:
        """The version that a build would give; None: it has to be fetched, pulled or built."""
        if definition.kind is not Kind.DOCKERFILE or not definition.context:
            return None
        try:
            made = await self._made(definition, definition.context, "", "")
        except CloudIDEError:
            return None  # the build says why
        version = await self._releases.by_inputs(definition.id, made.inputs)
        if version is None or version.state not in USABLE or not await self._is_there(version):
            return None
        return version.number

    async def make(
        self, definition: Definition, build: Build, hidden: Mapping[str, bytes], tell: Telling
    ) -> Outcome:
        """A version of the definition as it is now.

        Raises:
            CloudIDEError: there is none; the message says why.
        """
        lock = self._locks.setdefault(definition.id, asyncio.Lock())
        async with lock:
            if definition.kind is Kind.REFERENCE:
                return await self._refer(definition, build, tell)
            if definition.kind is Kind.DEVCONTAINER:
                return await self._develop(definition, build, hidden, tell)
            return await self._build(definition, build, hidden, tell)

    # ── kinds ───────────────────────────────────────────────────────────────────────────────────

    async def _refer(self, definition: Definition, build: Build, tell: Telling) -> Outcome:
        reference = definition.source.reference
        tell.steps.begin(f"Find {reference}")
        settings = self._settings.image_references
        Policy(self._engine, self._stock, settings, "").allow(reference)
        engine_id, size, digests = await references.pulled(self._engine, reference)
        about = {"reference": reference, "digests": digests, "image": engine_id}
        made = Made(_hash(["reference", reference, engine_id]), about)
        reused = await self._reused(definition, made, tell)
        if reused is not None:
            return reused
        version = await self._begin(definition, build, made)
        try:
            tag = f"{definition.repository}:{version.number}"
            await self._engine.call(lambda client: _tag(client, engine_id, tag))
            await self._releases.built(definition.id, version.number, engine_id, size)
        except BaseException as error:
            await self._failed(version, error)
            raise
        return await self._check(definition, build, version, engine_id, tell)

    async def _build(
        self, definition: Definition, build: Build, hidden: Mapping[str, bytes], tell: Telling
    ) -> Outcome:
        context, commit = await self._context(definition, build, hidden, tell)
        made = await self._made(definition, context, commit, build.fresh)
        reused = await self._reused(definition, made, tell)
        if reused is not None:
            return reused
        version = await self._begin(definition, build, made)
        source = definition.source
        job = Job(
            build=build.id,
            tag=f"{definition.repository}:{version.number}",
            context=self._contexts.path(context),
            dockerfile=source.dockerfile,
            target=source.target,
            arguments=source.arguments,
            secrets=hidden,
            labels=self.labels(definition),
            fresh=bool(build.fresh),
            policy=self._policy(definition),
        )
        return await self._run(definition, build, version, self._builder.build(job, tell), tell)

    async def _develop(
        self, definition: Definition, build: Build, hidden: Mapping[str, bytes], tell: Telling
    ) -> Outcome:
        """As `devcontainer.json` says."""
        context, commit = await self._context(definition, build, hidden, tell)
        tell.steps.begin("Read devcontainer.json")
        prepared = await development.prepare(
            definition,
            context,
            self._contexts,
            self._builder,
            self._policy(definition),
            self._settings,
            tell,
        )
        tell.steps.end()
        inputs = {
            "context": prepared.context,
            "arguments": dict(sorted(prepared.arguments.items())),
            "bases": dict(sorted(prepared.bases.items())),
            "plan": msgspec.to_builtins(prepared.plan),
            "fresh": build.fresh,
        }
        source = definition.source
        about = {
            "context": context,
            "bases": [*prepared.bases],
            "commit": commit,
            "git": source.git,
            "ref": source.ref,
            "devcontainer": inputs["plan"],
        }
        made = Made(_hash(["devcontainer", inputs]), {k: v for k, v in about.items() if v})
        reused = await self._reused(definition, made, tell)
        if reused is not None:
            return reused
        version = await self._begin(definition, build, made)
        job = Job(
            build=build.id,
            tag=f"{definition.repository}:{version.number}",
            context=self._contexts.path(prepared.context),
            dockerfile=assembly.DOCKERFILE,
            target="",
            arguments=prepared.arguments,
            secrets=hidden,
            labels=self.labels(definition),
            fresh=bool(build.fresh),
            policy=self._policy(definition),
        )
        work = development.build(prepared, job, self._contexts, self._builder, tell)
        return await self._run(definition, build, version, work, tell)

    async def _run(
        self,
        definition: Definition,
        build: Build,
        version: Version,
        work: Coroutine[Any, Any, tuple[str, int]],
        tell: Telling,
    ) -> Outcome:
        """Build a version that has begun, and check it."""
        try:
            engine_id, size = await work
            await self._releases.built(definition.id, version.number, engine_id, size)
        except BaseException as error:
            await self._failed(version, error)
            raise
        return await self._check(definition, build, version, engine_id, tell)

    async def _context(
        self, definition: Definition, build: Build, hidden: Mapping[str, bytes], tell: Telling
    ) -> tuple[str, str]:
        """What it is built from, fetched or uploaded: its hash, and the commit.

        Raises:
            InvalidInput: there is none.
        """
        if definition.source.git:
            return await self._fetch(definition, build, hidden, tell)
        if not definition.context:
            raise InvalidInput("This image has no build context yet; upload one, then build.")
        return definition.context, ""

    async def _fetch(
        self, definition: Definition, build: Build, hidden: Mapping[str, bytes], tell: Telling
    ) -> tuple[str, str]:
        """A Git repository as a build context: its hash, and the commit."""
        source = definition.source
        tell.steps.begin(f"Fetch {source.git} {source.ref}".strip())
        bundle = self._settings.ca_bundle
        commit, archive = await repository.fetch(
            self._builder,
            self._stock,
            build=build.id,
            url=source.git,
            ref=source.ref,
            secrets=hidden,
            ca_bundle=Path(bundle) if bundle else None,
            folder=self._contexts.folder,
            tell=tell,
        )
        below = f"src/{source.folder}".rstrip("/")
        try:
            digest = await asyncio.to_thread(
                self._contexts.add,
                archive,
                below=below,
                whole=definition.kind is Kind.DEVCONTAINER,
            )
        finally:
            await asyncio.to_thread(archive.unlink, missing_ok=True)
        tell.say(f"Commit {commit}")
        tell.steps.end()
        return digest, commit

    # ── parts ───────────────────────────────────────────────────────────────────────────────────

    def labels(self, definition: Definition) -> dict[str, str]:
        """Of every image that its builds leave on the engine."""
        return {"cloudide.instance": self._builder.instance, "cloudide.image": definition.id}

    def _policy(self, definition: Definition) -> Policy:
        patterns = self._settings.image_bases
        return Policy(self._engine, self._stock, patterns, definition.repository)

    async def _made(self, definition: Definition, context: str, commit: str, fresh: str) -> Made:
        source = definition.source
        text = await asyncio.to_thread(self._contexts.dockerfile, context, source.dockerfile)
        instructions = dockerfile.read(text)
        policy = self._policy(definition)
        bases = dockerfile.bases(instructions, source.arguments)
        stock = {
            image: self._stock.images[id].version
            for image in bases
            if (id := policy.stock_of(image)) is not None
        }
        secrets = sorted(
            {mount.id for each in instructions for mount in dockerfile.secret_mounts(each)[0]}
        )
        inputs = {
            "context": context,
            "dockerfile": source.dockerfile,
            "target": source.target,
            "arguments": dict(sorted(source.arguments.items())),
            "secrets": secrets,
            "stock": dict(sorted(stock.items())),
            "fresh": fresh,
        }
        about = {**inputs, "bases": bases, "commit": commit, "git": source.git, "ref": source.ref}
        return Made(_hash(["dockerfile", inputs]), {k: v for k, v in about.items() if v})

    async def _reused(self, definition: Definition, made: Made, tell: Telling) -> Outcome | None:
        version = await self._releases.by_inputs(definition.id, made.inputs)
        if version is None or version.state not in USABLE or not await self._is_there(version):
            return None
        tell.say(f"Version {version.number} was built from the same; nothing is to be done.")
        return Outcome(version.number, True)

    async def _begin(self, definition: Definition, build: Build, made: Made) -> Version:
        version = await self._releases.begin(
            definition.id, made.inputs, made.about, build.created_by
        )
        if self.builds is not None:
            await self.builds.assign(build.id, version.number)
        return version

    async def _failed(self, version: Version, error: BaseException) -> None:
        said = error.message if isinstance(error, CloudIDEError) else "The build did not end."
        failed = self._releases.failed(version.image, version.number, said)
        await asyncio.shield(asyncio.ensure_future(failed))

    async def _check(
        self, definition: Definition, build: Build, version: Version, engine_id: str, tell: Telling
    ) -> Outcome:
        """See whether a workspace can be made of it."""
        tell.steps.begin("Check that a workspace can be made of it")
        volume = await self._stock.ensure_agent_volume()
        labels = self._builder.labels(build.id)
        why_not = await check(self._engine, engine_id, volume, labels)
        if why_not:
            await self._releases.unfit(definition.id, version.number, why_not)
            tell.steps.end(failed=True)
            raise BuildFailed(f"It was built, but no workspace can be made of it. {why_not}")
        await self._releases.checked(definition.id, version.number, {})
        tell.steps.end()
        tell.say(f"Version {version.number} of {definition.reference} is ready to be promoted.")
        return Outcome(version.number, False)

    async def _is_there(self, version: Version) -> bool:
        return bool(version.engine_id) and await is_there(self._engine, version.engine_id)


async def is_there(engine: Engine, engine_id: str) -> bool:
    """Whether the engine has an image."""
    try:
        await engine.call(lambda client: client.inspect_image(engine_id))
    except NotFound:
        return False
    return True


def _tag(client: APIClient, engine_id: str, tag: str) -> None:
    repository, _, name = tag.rpartition(":")
    client.tag(engine_id, repository, name)


def _hash(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
