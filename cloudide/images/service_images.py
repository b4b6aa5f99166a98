"""Which images may run as services beside workspaces: ours, those that the workspace's people have
defined, and those of the allow-list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cloudide.errors import Denied, NotFound
from cloudide.images.images import Images
from cloudide.images.stock import StockImages
from cloudide.workspaces.engine import Engine

if TYPE_CHECKING:
    from docker.api.client import APIClient


class ServiceImages:
    """`patterns`: names with tags, between commas; `*` stands for any run of characters.

    `teams_of`: the teams whose images a workspace may use.
    """

    def __init__(
        self,
        engine: Engine,
        stock: StockImages,
        images: Images,
        teams_of: Callable[[str], Awaitable[Collection[str]]],
        patterns: str,
    ) -> None:
        self._images = images
        self._teams_of = teams_of
        self._engine = engine
        self._stock = stock
        self._patterns = [each.strip() for each in patterns.split(",") if each.strip()]

    async def ensure_service(self, reference: str, workspace: str) -> str:
        """The engine's reference of it, built or pulled first if need be.

        Raises:
            Denied: neither ours nor in the allow-list.
            NotFound: no registry has it, or no version of it is in use.
            Unavailable: ours could not be built.
        """
        if reference in self._stock.images:
            return await self._stock.ensure(reference)
        if reference.count("/") == 1:
            # `crew/tools` may be the name of an image here, and on a registry.
            defined = await self._images.for_service(reference, await self._teams_of(workspace))
            if defined is not None:
                return defined
        name = normal(reference)
        if not any(fnmatchcase(name, pattern) for pattern in self._patterns):
            raise Denied(
                f"The image {reference} is not among those that services may run. There are "
                f"{', '.join(self._stock.images)} and {', '.join(self._patterns) or 'no others'}; "
                "an administrator may allow more (setting service_images)."
            )
        return await self._engine.call(lambda client: _have(client, name))


def normal(reference: str) -> str:
    """The name as the engine lists it: without the default registry, with a tag or digest."""
    name = reference.removeprefix("docker.io/").removeprefix("library/")
    tagged = "@" in name or ":" in name.rpartition("/")[2]
    return name if tagged else f"{name}:latest"


def _have(client: APIClient, name: str) -> str:
    """Raises: NotFound: it is not there and cannot be pulled."""
    import docker.errors

    try:
        found = client.inspect_image(name)
    except docker.errors.ImageNotFound:
        try:
            client.pull(name)
            found = client.inspect_image(name)
        except docker.errors.APIError as error:
            raise NotFound(
                f"The image {name} is not on the container engine and could not be pulled: "
                f"{error.explanation or error}."
            ) from error
    # The engine takes the beginning of an id for a name as well: that is no name of the list.
    if name not in [*(found.get("RepoTags") or []), *(found.get("RepoDigests") or [])]:
        raise NotFound(f"There is no image that is called {name}.")
    return found["Id"]
