"""Which images a definition may be built from, or be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cloudide.errors import Denied, NotFound
from cloudide.images.stock import StockImages
from cloudide.workspaces.engine import Engine

if TYPE_CHECKING:
    from docker.api.client import APIClient

OURS = ("cloudide-image/", "cloudide-build/", "cloudide-test/")


class Policy:
    """What images of one definition may be built on.

    Args:
        patterns: between commas, `*` for any run of characters.
        own: the repository of the definition itself, whose versions it may build on.
    """

    def __init__(self, engine: Engine, stock: StockImages, patterns: str, own: str) -> None:
        self._engine = engine
        self._stock = stock
        self._patterns = [each.strip() for each in patterns.split(",") if each.strip()]
        self._own = own

    async def check(self, images: Iterable[str], say: Callable[[str], None]) -> None:
        """Make sure that all may be used; stock images are built where they are missing.

        Raises:
            Denied: one may not.
        """
        for image in images:
            stock = self.stock_of(image)
            if stock is not None:
                if not await self._stock.is_ready(stock):
                    say(f"Building {image}, which this is built on")
                await self._stock.ensure(stock)
                continue
            self.allow(image)
            await self._engine.call(lambda client, image=image: _check_name(client, image))

    def stock_of(self, image: str) -> str | None:
        """The id of the stock image that a name means."""
        repository, _, tag = image.partition(":")
        id = repository.removeprefix("cloudide/")
        known = repository.startswith("cloudide/") and id in self._stock.images
        if not known:
            return None
        return id if tag in ("", "latest", self._stock.images[id].version) else None

    def allow(self, image: str) -> None:
        """Raises: Denied: the settings do not allow it."""
        own = self._own and image.startswith(f"{self._own}:")
        if image.startswith(OURS) and not own:
            raise Denied(
                f"{image} is an image of this server's that is not for others to build on."
            )
        plain = image.removeprefix("docker.io/").removeprefix("library/")
        if not own and not any(fnmatchcase(plain, pattern) for pattern in self._patterns):
            raise Denied(
                f"{image} is not among the images that may be used here "
                f"({', '.join(self._patterns) or 'none'}); an administrator may allow it."
            )


def _check_name(client: APIClient, image: str) -> None:
    """The engine also takes the beginning of an id for a name, which would be anybody's image.

    Raises:
        Denied: it is an id.
    """
    import docker.errors

    try:
        found = client.inspect_image(image)
    except docker.errors.ImageNotFound:
        return
    names = [*(found.get("RepoTags") or []), *(found.get("RepoDigests") or [])]
    plain = image.removeprefix("docker.io/").removeprefix("library/")
    tagged = plain if ":" in plain.rpartition("/")[2] or "@" in plain else f"{plain}:latest"
    if tagged not in names:
        raise Denied(f"{image} is not the name of an image; ids cannot be built on.")


async def pulled(engine: Engine, image: str) -> tuple[str, int, list[str]]:
    """An existing image, pulled if the engine lacks it: its id, size and digests at registries.

    Raises:
        NotFound: no registry that the engine asks has it.
    """

    def pull(client: APIClient) -> tuple[str, int, list[str]]:
        import docker.errors

        try:
            found = client.inspect_image(image)
        except docker.errors.ImageNotFound:
            try:
                client.pull(image, tag=None if ":" in image.rpartition("/")[2] else "latest")
                found = client.inspect_image(image)
            except docker.errors.APIError as error:
                raise NotFound(
                    f"The image {image} is not on the engine and could not be pulled: "
                    f"{error.explanation}."
                ) from error
        return found["Id"], int(found["Size"]), list(found.get("RepoDigests") or [])

    return await engine.call(pull)
