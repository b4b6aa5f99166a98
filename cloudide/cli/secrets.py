"""`cloudide secrets …`: the keys that secrets are sealed under, beside the server or without it."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from cloudide import settings as settings_
from cloudide.errors import NotFound
from cloudide.identity.sealing import Sealing, add_key
from cloudide.secrets.rotation import seal_anew
from cloudide.storage.database import Database


def rotate_key(**options: Any) -> None:
    """Add a new key, and seal everything anew under it; a server that runs goes on with it.

    Keys that come from the setting `secrets_key` are left alone: the last of them is sealed under.

    Raises:
        NotFound: there is no database where the settings say. Unsealable: a key is missing.
    """
    asyncio.run(_rotate(options))


async def _rotate(options: dict[str, Any]) -> None:
    settings = settings_.load(**options)
    folder, file, given = settings.data_dir, settings.secrets_key_file, settings.secrets_key
    path = folder / "cloudide.sqlite"
    if not path.exists():
        raise NotFound(f"No server has kept its data in {folder}; see --data-dir.")
    Sealing.start(folder, file=file, given=given)  # makes sure that there are keys to add to
    if not given:
        add_key(folder, file=file)
    database = Database(path)
    try:
        await database.start()
        sealing = Sealing.start(folder, file=file, given=given)
        count = await seal_anew(database, sealing)
    finally:
        await database.close()
    typer.echo(
        f"{count:,} values were sealed anew under the key {sealing.newest.hex()}. Former keys "
        "still open what is in backups; keep them as long as these."
    )
