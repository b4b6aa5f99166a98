"""Builds the stock images and fills the agent's volume, each only when it is missing.

An image is tagged with its version (`catalogue.py`), so "is it there" is one question to the engine
and a second start builds nothing. What only a build needs, the CA bundle of a network that inspects
TLS among it, goes into build stages that are not part of the image.
"""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import textwrap
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from cloudide.errors import NotFound, Unavailable
from cloudide.images import catalogue, debian
from cloudide.images.catalogue import StockImage
from cloudide.workspaces.engine import Engine

if TYPE_CHECKING:
    from docker.api.client import APIClient

log = structlog.get_logger()

BUNDLE = "/opt/cloudide"
BUILD_SILENCE = 1800  # seconds a build step may take without a word
KEPT = 3600  # seconds an outdated version stays: another server may be about to use it
MESSAGE_LENGTH = 100  # characters
LOG_TAIL = 40  # lines of a failed build that go to the log
PASSED_ON = (
    "PIP_INDEX_URL",
    *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"),
)


class Progress(msgspec.Struct, frozen=True):
    """One line of what is going on. `step` is an image's id; `seconds` since the step began."""

    step: str
    message: str
    seconds: float
    done: bool = False


class ImageStatus(msgspec.Struct, frozen=True):
    id: str
    title: str
    description: str
    ready: bool


Report = Callable[[Progress], None]


def _silent(progress: Progress) -> None:
    log.debug("images.progress", step=progress.step, message=progress.message)


class StockImages:
    """The stock images of one server on its engine.

    Callers at the same time share one build, which goes on when a caller leaves. `Report` callbacks
    run on the event loop; the first caller's hears of a shared build.

    Args:
        ca_bundle: PEM file handed to build stages that fetch over TLS.
    """

    def __init__(self, engine: Engine, *, ca_bundle: Path | None = None) -> None:
        self.images = catalogue.read()
        self.agent = catalogue.agent()
        self._engine = engine
        self._ca_bundle = ca_bundle
        self._running: dict[str, asyncio.Task[Any]] = {}

    async def list(self) -> list[ImageStatus]:
        """Every stock image, and whether the engine has its present version."""
        ready = await asyncio.gather(*(self._is_built(image) for image in self.images.values()))
        return [
            ImageStatus(image.id, image.title, image.description, is_ready)
            for image, is_ready in zip(self.images.values(), ready, strict=True)
        ]

    async def prepare(self, report: Report = _silent) -> None:
        """Build whatever is missing, side by side where possible; not what is built on demand.

        Raises:
            Unavailable: something could not be built; what could be has been.
        """
        results = await asyncio.gather(
            self.ensure_agent_volume(report),
            *(self.ensure(id, report) for id, each in self.images.items() if not each.on_demand),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def resolve(self, id: str) -> StockImage:
        """The stock image of that id; its `tag` is the reference to start it from.

        Raises:
            NotFound: there is none; the message lists what there is.
        """
        if id not in self.images:
            raise NotFound(f"There is no image {id!r}. Choose one of: {', '.join(self.images)}.")
        return self.images[id]

    async def is_ready(self, id: str, workspace: str = "") -> bool:
        """Whether the engine has the present version of a stock image; every workspace's the same.

        Raises:
            NotFound: there is no such image.
        """
        return await self._is_built(self.resolve(id))

    async def ensure(self, id: str, report: Report = _silent, workspace: str = "") -> str:
        """The reference of a stock image, built first (its parents too) when it is missing.

        Raises:
            NotFound: there is no such image.
            Unavailable: it could not be built.
        """
        return await self._ensure(self.resolve(id), report)

    async def ensure_agent_volume(self, report: Report = _silent) -> str:
        """The volume with the agent's bundle, made first when it is missing.

        Cheap when it is there: to be asked before each container is made, since outdated volumes
        that nothing uses are removed.
        """
        name = f"cloudide-agent-{self.agent.version}"

        async def ensure() -> None:
            # The engine fills the volume while it makes this container, which is never started: its
            # existence says that the volume is complete, and keeps `volume prune` away from it.
            if await self._engine.call(lambda client: _has_container(client, name)):
                return
            image = await self._ensure(self.agent, report)
            await self._engine.call(lambda client: _fill_volume(client, name, image))
            await self._engine.call(lambda client: _remove_outdated_volumes(client, name))

        await self._shared(name, ensure)
        return name

    async def _shared(self, key: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work`, or wait for the run of it that is under way and share its outcome."""

        def finished(task: asyncio.Task[None]) -> None:
            del self._running[key]
            if not task.cancelled() and (error := task.exception()):
                # Marks the error as seen: every caller may have left.
                log.debug("images.failed", key=key, error=repr(error))

        if key not in self._running:
            self._running[key] = asyncio.create_task(work())
            self._running[key].add_done_callback(finished)
        await asyncio.shield(self._running[key])

    async def _is_built(self, image: StockImage) -> bool:
        return await self._engine.call(lambda client: _has_image(client, image.tag))

    async def _ensure(self, image: StockImage, report: Report) -> str:
        async def ensure() -> None:
            if await self._is_built(image):
                return
            if image.parent:
                parent = await self._ensure(self.images[image.parent], report)
            else:
                parent = await self._ensure_debian(report)
            say, started = _teller(image.id, report), time.monotonic()
            say(f"Building {image.title}")
            await self._engine.call(lambda client: self._build(client, image, parent, say))
            seconds = round(time.monotonic() - started, 1)
            report(Progress(image.id, f"Built {image.title}", seconds, done=True))
            await self._engine.call(lambda client: _remove_outdated_images(client, image))

        await self._shared(image.tag, ensure)
        return image.tag

    async def _ensure_debian(self, report: Report) -> str:
        async def ensure() -> None:
            say, started = _teller("debian", report), time.monotonic()
            if await self._engine.call(lambda client: debian.ensure(self._engine, client, say)):
                seconds = round(time.monotonic() - started, 1)
                report(Progress("debian", f"{catalogue.DEBIAN} is ready", seconds, done=True))

        await self._shared(catalogue.DEBIAN, ensure)
        return catalogue.DEBIAN

    def _build(
        self, client: APIClient, image: StockImage, parent: str, say: Callable[[str], None]
    ) -> None:
        dockerfile = image.files["Dockerfile"].decode()
        arguments = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
        if "ARG PIP_INDEX_URL" not in dockerfile:
            arguments.pop("PIP_INDEX_URL", None)
        output = client.build(
            fileobj=_context(image, self._ca_bundle),
            custom_context=True,
            tag=image.tag,
            buildargs={**arguments, "PARENT": parent},
            rm=True,
            forcerm=True,
            timeout=BUILD_SILENCE,
            decode=True,
        )
        lines: list[str] = []
        error = ""
        for item in output:  # to its end, failed or not: only then is the connection given back
            error = item.get("error", error).strip()
            text = item.get("stream", "").strip()
            if text:
                lines.append(text)
            if text.startswith("Step "):
                say(textwrap.shorten(f"{image.title}: {text}", MESSAGE_LENGTH, placeholder=" …"))
        if error:
            log.error("images.build_failed", image=image.id, error=error, tail=lines[-LOG_TAIL:])
            raise Unavailable(
                f"The image {image.title} could not be built ({error}); the server's log has the "
                "end of the build's output."
            )
        client.tag(image.tag, image.repository, "latest", force=True)


def _teller(step: str, report: Report) -> Callable[[str], None]:
    """A function that any thread may call with what is going on in `step`."""
    loop, started = asyncio.get_running_loop(), time.monotonic()

    def say(message: str) -> None:
        progress = Progress(step, message, round(time.monotonic() - started, 1))
        loop.call_soon_threadsafe(report, progress)

    return say


def _context(image: StockImage, ca_bundle: Path | None) -> io.BytesIO:
    """The build context as a tar; times and modes are fixed so that the engine's cache holds."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        folder = tarfile.TarInfo(".ca")  # always there, so that it can be copied
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        files = dict(image.files)
        if ca_bundle:
            files[".ca/bundle.pem"] = ca_bundle.read_bytes()
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    archive.seek(0)
    return archive


# ── questions and orders to the engine ──────────────────────────────────────────────────────────


def _has_image(client: APIClient, tag: str) -> bool:
    import docker.errors

    try:
        client.inspect_image(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


def _has_container(client: APIClient, name: str) -> bool:
    import docker.errors

    try:
        client.inspect_container(name)
    except docker.errors.NotFound:
        return False
    return True


def _fill_volume(client: APIClient, name: str, image: str) -> None:
    import docker.errors
    from docker.types import Mount

    labels = {"cloudide.role": "agent"}
    try:
        # Left by a server that died while it was being filled: only an empty volume is filled.
        client.remove_volume(name)
    except docker.errors.NotFound:
        pass
    except docker.errors.APIError as error:
        if error.status_code != 409:
            raise
        # In use, so it had been complete; only the container that says so was pruned.
    client.create_volume(name, labels=labels)
    try:
        client.create_container(
            image,
            ["never started"],
            name=name,
            labels=labels,
            network_disabled=True,
            host_config=client.create_host_config(mounts=[Mount(BUNDLE, name, type="volume")]),
        )
    except docker.errors.APIError as error:
        if error.status_code != 409:  # 409: another server made it at the same moment
            raise


def _remove_outdated_volumes(client: APIClient, present: str) -> None:
    rows = client.containers(all=True, filters={"label": "cloudide.role=agent"})
    for row in rows:
        name = row["Names"][0].lstrip("/")
        if name != present and time.time() - row["Created"] > KEPT:
            _unless_in_use(lambda row=row: client.remove_container(row["Id"]))
            _unless_in_use(lambda name=name: client.remove_volume(name))


def _remove_outdated_images(client: APIClient, image: StockImage) -> None:
    for row in client.images(name=image.repository):
        if time.time() - row["Created"] < KEPT:
            continue
        for tag in row["RepoTags"] or []:
            if tag not in (image.tag, f"{image.repository}:latest"):
                _unless_in_use(lambda tag=tag: client.remove_image(tag))


def _unless_in_use(remove: Callable[[], Any]) -> None:
    import docker.errors

    try:
        remove()
    except docker.errors.NotFound:
        pass
    except docker.errors.APIError as error:
        if error.status_code != 409:
            raise
