"""Maintenance windows: running workspaces of a team get the version in use of their image.

People are told a quarter of an hour before, and once more when it begins; then the workspaces are
restarted, one after another, for as long as the window is open. What does not run gets the version
at its next start anyway, or when somebody asks for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from cloudide.errors import CloudIDEError
from cloudide.workspaces.feed import Feed
from cloudide.workspaces.policies import Policy, PolicyStore, check, opening
from cloudide.workspaces.store import Workspace

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 20.0
NOTICE_SECONDS = 15 * 60.0
GRACE_SECONDS = 60.0  # between the last word and the restart


class Maintenance:
    """Use as an async context manager, which owns the one task.

    Args:
        running: the workspaces that run.
        about_image: what is said of a workspace's image, with `update` where there is one.
        update: has a workspace restarted with the newest version of its image.
    """

    def __init__(
        self,
        store: PolicyStore,
        feed: Feed,
        running: Callable[[], list[Workspace]],
        about_image: Callable[[Workspace], Mapping[str, Any]],
        update: Callable[[str], Awaitable[None]],
        *,
        now: Callable[[], float] = time.time,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._store = store
        self._feed = feed
        self._running = running
        self._about_image = about_image
        self._update = update
        self._now = now
        self._grace = grace
        self._policies: dict[str, Policy] = {}
        # When a workspace was told, for the window that began then or is to: once each.
        self._told: dict[tuple[str, float], float] = {}
        self._last_word: dict[tuple[str, float], float] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Maintenance:
        self._policies = await self._store.all()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def policy(self, team: str) -> Policy:
        return self._policies.get(team, Policy())

    async def set(self, team: str, policy: Policy) -> None:
        """Raises: InvalidInput: it cannot be."""
        await self._store.set(team, check(policy))
        self._policies[team] = policy
        self._wake.set()

    def about(self, workspace: Workspace) -> dict[str, Any]:
        """What is said of a workspace's image, and when an update is taken whatever people do."""
        view = dict(self._about_image(workspace))
        window = self.policy(workspace.team).maintenance if workspace.team else None
        if window is not None and "update" in view:
            start, _ = opening(window, self._time())
            forced = max(start, self._time()).isoformat()
            view["update"] = {**view["update"], "forced_at": forced}
        return view

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.look()
            except Exception:
                _log.exception("maintenance.failed")
            try:
                async with asyncio.timeout(min(LOOK_SECONDS, self._grace or LOOK_SECONDS)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Tell those that are to be restarted, and restart those whose time has come."""
        now = self._time()
        present: set[tuple[str, float]] = set()
        for workspace in self._running():
            window = self.policy(workspace.team).maintenance if workspace.team else None
            if window is None or "update" not in (view := self._about_image(workspace)):
                continue
            start, end = opening(window, now)
            key = workspace.id, start.timestamp()
            present.add(key)
            version = f"version {view['update']['version']} of {view['image']}"
            if now < start:
                left = (start - now).total_seconds()
                if left <= NOTICE_SECONDS and key not in self._told:
                    self._told[key] = self._now()
                    minutes = max(1, round(left / 60))
                    self._tell(workspace.id, f"in {minutes} minutes", version)
            elif key not in self._last_word:
                self._last_word[key] = self._now()
                self._tell(workspace.id, "within a minute", version)
            elif self._now() - self._last_word[key] >= self._grace:
                _log.info("maintenance.update", workspace=workspace.id, until=end.isoformat())
                try:
                    await self._update(workspace.id)
                except CloudIDEError as error:
                    _log.warning(
                        "maintenance.not_updated", workspace=workspace.id, error=error.message
                    )
        for known in (self._told, self._last_word):
            for key in known.keys() - present:
                del known[key]

    def _tell(self, workspace: str, when: str, version: str) -> None:
        message = (
            f"This workspace restarts {when}, with {version}: its team's maintenance window. Files "
            "stay; programs and terminals end."
        )
        self._feed.publish("notice", workspace, {"message": message})
