"""What each workspace is to have of what its project declares, in the database.

It is what `cloudide.toml` said when the workspace last started, or when somebody who may run
programs there last asked for it: writing the file is not enough to have anything run.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, insert, select

from cloudide.project.schema import PortTable, ServiceTable, WorkspaceTable
from cloudide.storage.database import Database
from cloudide.storage.tables import workspace_services


class Applied(msgspec.Struct, frozen=True):
    """`container`: of the workspace, at whose start it was read; "": of none yet."""

    container: str = ""
    services: dict[str, ServiceTable] = {}
    workspace: WorkspaceTable = WorkspaceTable()
    ports: dict[int, PortTable] = {}


class ServiceStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[str, Applied]:
        async with self._database.begin() as db:
            rows = await db.execute(select(workspace_services))
            return {row.workspace: msgspec.json.decode(row.applied, type=Applied) for row in rows}

    async def set(self, workspace: str, applied: Applied) -> None:
        of_it = workspace_services.c.workspace == workspace
        content = msgspec.json.encode(applied).decode()
        async with self._database.begin() as db:
            await db.execute(delete(workspace_services).where(of_it))
            values = {"workspace": workspace, "applied": content}
            await db.execute(insert(workspace_services).values(**values))
