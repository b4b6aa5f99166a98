"""`cloudide user …`: what the owner of the machine may do about people."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from cloudide import settings as settings_
from cloudide.errors import NotFound
from cloudide.identity.accounts import Accounts
from cloudide.settings import Settings
from cloudide.storage.database import Database


def sign_in(**options: Any) -> None:
    """Print a new one-time sign-in URL; the former one ends. The server may be running.

    Raises:
        CloudIDEError: there is no database where the settings say.
    """
    settings = settings_.load(**options)
    token = asyncio.run(_new_token(settings))
    typer.echo(f"Sign in here, once: {settings.origin}/signin#token={token}")


async def _new_token(settings: Settings) -> str:
    path = settings.data_dir / "cloudide.sqlite"
    if not path.exists():
        raise NotFound(f"No server has kept its data in {settings.data_dir}; see --data-dir.")
    database = Database(path)
    try:
        await database.start()
        accounts = Accounts(database, settings.admin_token, settings.session_days)
        return await accounts.create_sign_in_token()
    finally:
        await database.close()
