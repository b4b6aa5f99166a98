"""`cloudide images …`: the stock images of this machine's engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import typer

from cloudide import settings as settings_
from cloudide.images.stock import Progress, StockImages
from cloudide.workspaces.engine import Engine


def build() -> None:
    """Build what is missing, as the server does in its first minutes.

    Raises:
        CloudIDEError: something could not be built; what could be has been.
    """
    asyncio.run(_build())


def list_images() -> None:
    """Print each image, and whether it is built.

    Raises:
        EngineUnavailable: no engine answers.
    """
    asyncio.run(_list())


async def _build() -> None:
    async with _stock() as images:
        await images.prepare(_report)
    typer.echo("All stock images are built.")


async def _list() -> None:
    async with _stock() as images:
        for image in await images.list():
            state = "built" if image.ready else "not built"
            typer.echo(f"{image.id:12} {state:10} {image.title}")


@asynccontextmanager
async def _stock() -> AsyncIterator[StockImages]:
    settings = settings_.load()
    engine = Engine(settings.docker_host)
    try:
        bundle = Path(settings.ca_bundle) if settings.ca_bundle else None
        yield StockImages(engine, ca_bundle=bundle)
    finally:
        engine.close()


def _report(progress: Progress) -> None:
    typer.echo(f"  {progress.step}: {progress.message} ({progress.seconds:.1f} s)")
