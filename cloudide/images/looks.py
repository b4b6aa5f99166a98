"""Looks into versions: after each build, daily, and whenever somebody asks; one at a time."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog

from cloudide.errors import CloudIDEError, Conflict, NotFound, Unavailable
from cloudide.images import security
from cloudide.images.builder import Builder, Redactor, Telling
from cloudide.images.definitions import Definition
from cloudide.images.releases import Releases, Version
from cloudide.images.versions import USABLE

log = structlog.get_logger()

RECHECK_SECONDS = 600.0
LOOK_SECONDS = 300.0


class Looks:
    """`folder`: where the bills of materials are kept, one for each version."""

    def __init__(
        self,
        builder: Builder,
        releases: Releases,
        folder: Path,
        hours: float,
        redactor: Callable[[Mapping[str, bytes]], Redactor],
    ) -> None:
        self._builder = builder
        self._releases = releases
        self._folder = folder
        self._seconds = hours * 3600
        self._redactor = redactor
        self._one = asyncio.Lock()
        self._wake = asyncio.Event()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def poke(self) -> None:
        """There may be a version that nobody has looked into."""
        self._wake.set()

    async def keep_looking(self, definitions: Callable[[], list[Definition]]) -> None:
        """For ever, at each version that may be used and was not looked into for so long."""
        while self._seconds:
            self._wake.clear()
            for definition in definitions():
                for version in await self._releases.of(definition.id):
                    if version.state in USABLE and version.engine_id and self._is_due(version):
                        await self._try(definition, version)
            try:
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self, definition: Definition, version: Version) -> None:
        """Look now, and write down what was found.

        Raises:
            Conflict: its image is not there. CloudIDEError: nothing can be run in it.
        """
        if not version.engine_id:
            raise Conflict("The image of this version is no longer there; build it again.")
        tell = Telling(lambda _: None, self._redactor({}))
        id = "look_" + secrets.token_hex(8)
        try:
            async with self._one, asyncio.timeout(LOOK_SECONDS):
                findings = await security.look(self._builder, version.engine_id, id, tell)
        except TimeoutError as error:
            raise Unavailable(f"The look took longer than {LOOK_SECONDS:.0f} seconds.") from error
        config, created = await self._image(version)
        found = security.verdict(findings, user=config, base_created=created)
        await self._releases.look(version.image, version.number, found)
        bill = security.spdx(
            findings.packages,
            name=f"{definition.reference}@{version.number}",
            engine_id=version.engine_id,
            namespace=f"urn:cloudide:{version.engine_id}:{secrets.token_hex(8)}",
            created=time.time(),
        )
        path = self._path(version.image, version.number)
        await asyncio.to_thread(path.write_bytes, msgspec.json.encode(bill))

    async def bill(self, image: str, number: int) -> bytes:
        """The bill of materials of a version: SPDX JSON. Raises: NotFound: nobody looked yet."""
        try:
            return await asyncio.to_thread(self._path(image, number).read_bytes)
        except FileNotFoundError as error:
            raise NotFound("Nobody has looked into this version yet; ask for a look.") from error

    async def forget(self, image: str) -> None:
        """An image is gone."""

        def remove() -> None:
            for path in self._folder.glob(f"{image}-*.json"):
                path.unlink(missing_ok=True)

        await asyncio.to_thread(remove)

    def _is_due(self, version: Version) -> bool:
        looked = (version.security or {}).get("looked_at")
        if not looked:
            return True
        return time.time() - datetime.fromisoformat(looked).timestamp() > self._seconds

    async def _try(self, definition: Definition, version: Version) -> None:
        try:
            await self.look(definition, version)
        except CloudIDEError as error:
            log.info("images.not_looked_into", image=version.image, error=error.message)
            found = security.unknown(error)
            await self._releases.look(version.image, version.number, found)

    async def _image(self, version: Version) -> tuple[str, float | None]:
        """The image's user, and when what it is built on was made."""

        def ask(client: Any) -> tuple[str, float | None]:
            found = client.inspect_image(version.engine_id)
            layers = client.history(version.engine_id)
            times = [layer["Created"] for layer in layers if layer.get("Created", 0) > 0]
            return (found.get("Config") or {}).get("User") or "", min(times, default=None)

        return await self._builder.engine.call(ask)

    def _path(self, image: str, number: int) -> Path:
        return self._folder / f"{image}-{number}.json"
