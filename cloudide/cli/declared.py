"""The plan of `cloudide apply`: what is to be created, changed and deleted, before anything is.

`plan` compares what a file declares with what the server has; it changes nothing. What cannot be
done is a mistake of the file, where it stands there. The steps of a plan are done in its order:
images, with their builds, come before what is made of them, and are deleted after it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec

from cloudide.errors import InvalidInput
from cloudide.images.contexts import ContextLimits, Contexts
from cloudide.images.definitions import NAME, Kind, Source, checked
from cloudide.project.problems import Mistake
from cloudide.project.team import ImageTable, PrebuildItem, TeamFile
from cloudide.workspaces.initialize import check_git_ref, check_git_url
from cloudide.workspaces.policies import Policy, check

if TYPE_CHECKING:
    from cloudide.cli.remote import Remote

LIMITS = ContextLimits(size=4 << 30, entries=1_000_000)  # the server has its own


class Step(msgspec.Struct, frozen=True):
    """`details`: each field that changes, with what it was and will be. `do`: for `apply` alone."""

    action: Literal["create", "change", "build", "delete"]
    what: str
    details: list[str]
    do: Callable[[], None]

    def as_json(self) -> dict[str, Any]:
        return {"action": self.action, "what": self.what, "details": self.details}


class Doing(msgspec.Struct, frozen=True):
    """How steps are done that take more than a request."""

    pack: Callable[[Path], Any]
    build: Callable[[str, bool], None]  # an image's id; whether to promote what comes of it


class Plan:
    def __init__(self, remote: Remote, team: str, file: TeamFile, folder: Path, doing: Doing):
        self.steps: list[Step] = []
        self.mistakes: list[Mistake] = []
        self._remote, self._team, self._file, self._folder = remote, team, file, folder
        self._doing = doing
        # These refuse whoever may not arrange the team's things, before anything is planned.
        self._pools = remote.get(f"/api/v1/pools?team={quote(team)}")
        self._prebuilds = remote.get(f"/api/v1/prebuilds?team={quote(team)}")
        self._images = remote.get("/api/v1/images")["images"]
        self._own = {each["name"]: each for each in self._images if each.get("team") == team}
        last: list[Step] = []
        if file.images is not None:
            last = list(self._deleted_images(file.images))
            for name, table in file.images.items():
                self.steps += self._image(name, table)
        if file.policy is not None:
            self.steps += self._policy()
        gone = list(self._gone_prebuilds(file.prebuilds)) if file.prebuilds is not None else []
        if file.pools is not None:
            # What shrinks makes room for what grows.
            changes = list(self._pools_of(file.pools))
            self.steps += [each for each in changes if each.action == "delete"]
            self.steps += gone
            self.steps += [each for each in changes if each.action != "delete"]
        else:
            self.steps += gone
        for index, item in enumerate(file.prebuilds or []):
            self.steps += self._prebuild(index, item)
        self.steps += last
        self._check_room()

    # ── images ──────────────────────────────────────────────────────────────────────────────────

    def _image(self, name: str, table: ImageTable) -> Iterator[Step]:
        path = ("images", name)
        kind = Kind.REFERENCE if table.reference else Kind.DOCKERFILE
        source = Source(reference=table.reference)
        if kind is Kind.DOCKERFILE:
            source = Source(
                git=table.git,
                ref=table.ref,
                folder=table.folder,
                dockerfile=table.dockerfile,
                target=table.target,
                arguments=table.arguments,
            )
        try:
            if not NAME.fullmatch(name):
                raise InvalidInput("A name has 1 to 40 small letters, digits, dots and dashes.")
            checked(kind, source)
            digest = self._digest(self._folder / table.context) if table.context else ""
        except InvalidInput as error:
            self._wrong(f"[images.{name}]: {error.message}", path)
            return
        wanted = {
            "title": table.title or name,
            "description": table.description,
            "updates": table.updates,
            "source": msgspec.to_builtins(source),
            "context": digest,
        }
        had = self._own.get(name)
        if had is None:
            details = [f"{key}: {_said(value)}" for key, value in wanted.items() if value]
            body = {key: value for key, value in wanted.items() if key != "context"}
            body |= {"name": name, "kind": kind, "team": self._team}
            yield Step(
                "create", f"image {name}", details, lambda: self._create_image(name, body, table)
            )
            yield self._build(name, table, "it is new")
            return
        if had["kind"] != kind:
            self._wrong(
                f"[images.{name}]: the team's image of this name is of kind {had['kind']}, which "
                "does not change. Delete it, or choose another name.",
                path,
            )
            return
        now = {key: had.get(key, "") for key in wanted} | {"source": had.get("source") or {}}
        changes = {key: value for key, value in wanted.items() if value != now[key]}
        if changes:
            details = [
                f"{key}: {_said(now[key])} → {_said(value)}" for key, value in changes.items()
            ]
            yield Step(
                "change", f"image {name}", details, lambda: self._change_image(had, changes, table)
            )
        if changes.keys() & {"source", "context"}:
            yield self._build(name, table, "what it is made from changes")
        elif (had.get("active") is None and table.promote) or not self._last_succeeded(had["id"]):
            yield self._build(name, table, "no version of it is in use, or its last build failed")

    def _build(self, name: str, table: ImageTable, why: str) -> Step:
        then = "and promoted" if table.promote else "not promoted"
        return Step(
            "build",
            f"image {name}",
            [f"{why}; what is built is {then}"],
            lambda: self._doing.build(self._own[name]["id"], table.promote),
        )

    def _last_succeeded(self, id: str) -> bool:
        builds = self._remote.get(f"/api/v1/images/{id}/builds")["builds"]
        return bool(builds) and builds[0]["state"] in ("succeeded", "queued", "running")

    def _create_image(self, name: str, body: dict[str, Any], table: ImageTable) -> None:
        self._own[name] = self._remote.post("/api/v1/images", body)
        self._upload(self._own[name]["id"], table)

    def _change_image(
        self, had: dict[str, Any], changes: dict[str, Any], table: ImageTable
    ) -> None:
        body = {key: value for key, value in changes.items() if key != "context"}
        if body:
            self._remote.patch(f"/api/v1/images/{had['id']}", body)
        if "context" in changes:
            self._upload(had["id"], table)

    def _upload(self, id: str, table: ImageTable) -> None:
        if table.context:
            content = self._doing.pack(self._folder / table.context)
            self._remote.put(f"/api/v1/images/{id}/context", content)

    def _digest(self, folder: Path) -> str:
        """What the server would call this context. Raises: InvalidInput: it cannot be one."""
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "context.tar"
            with archive.open("wb") as file:
                for chunk in self._doing.pack(folder):
                    file.write(chunk)
            return Contexts(Path(scratch) / "kept", LIMITS).add(archive)

    def _deleted_images(self, declared: dict[str, ImageTable]) -> Iterator[Step]:
        for name, had in sorted(self._own.items()):
            if name in declared:
                continue
            versions = self._remote.get(f"/api/v1/images/{had['id']}/versions")["versions"]
            if used := sum(each["workspaces"] for each in versions):
                self._wrong(
                    f"The image {name} is not declared, but {used} workspaces are made of it. "
                    "Declare it, or delete them first.",
                    ("images",),
                )
            details = [f"with its {len(versions)} versions"]
            id = had["id"]
            yield Step(
                "delete",
                f"image {name}",
                details,
                lambda id=id: self._remote.delete(f"/api/v1/images/{id}"),
            )

    # ── what is made of them ────────────────────────────────────────────────────────────────────

    def _policy(self) -> Iterator[Step]:
        assert self._file.policy is not None
        wanted = msgspec.to_builtins(self._file.policy)
        try:
            check(msgspec.convert(wanted, Policy))
        except InvalidInput as error:
            self._wrong(f"[policy]: {error.message}", ("policy", "maintenance", "time_zone"))
            return
        url = f"/api/v1/teams/{self._team}/policy"
        now = self._remote.get(url)
        if now != wanted:
            details = [f"maintenance: {_window(now)} → {_window(wanted)}"]
            yield Step("change", "policy", details, lambda: self._remote.put_json(url, wanted))

    def _image_id(self, named: str, path: tuple[str | int, ...]) -> str:
        """What the server knows an image as; of one that is to be created, its name in the team."""
        name, _, version = named.partition("@")
        scope, _, short = name.rpartition("/")
        declared = self._file.images
        mine = scope in ("", self._team, self._file.team)
        found = next((e for e in self._images if name in (e["id"], e.get("reference"))), None)
        if found is None and mine:
            found = self._own.get(short)
        if found is None:
            if not (mine and declared and short in declared):
                self._wrong(f"There is no image {named} that the team may use.", path)
                return ""
            if not declared[short].promote:
                self._wrong(f"No version of the image {named} is in use.", path)
            return f"{self._team}/{short}"
        stays = declared is None or found.get("team") != self._team
        table = None if stays else (declared or {}).get(found["name"])
        if not stays and table is None:
            self._wrong(f"The image {named} is not declared, so that it is deleted.", path)
        used = found.get("kind", "stock") == "stock" or found.get("active") is not None
        if not (used or version or (table is not None and table.promote)):
            self._wrong(f"No version of the image {named} is in use.", path)
        return f"{found['id']}@{version}" if version else found["id"]

    def _pools_of(self, wanted: dict[str, int]) -> Iterator[Step]:
        now = {each["image"]: each["size"] for each in self._plain()}
        names = {self._image_id(name, ("pools", name)): name for name in wanted}
        for id, name in names.items():
            if id and now.get(id, 0) != wanted[name]:
                action = "change" if id in now else "create"
                details = [f"size: {now.get(id, 0)} → {wanted[name]}"]
                yield self._resize(action, name, details, id, wanted[name])
        for id, size in now.items():
            if id not in names:
                yield self._resize("delete", self._name_of(id), [f"size: {size} → 0"], id, 0)

    def _resize(self, action: Any, name: str, details: list[str], image: str, size: int) -> Step:
        body = {"image": image, "size": size, "team": self._team}
        return Step(
            action, f"pool of {name}", details, lambda: self._remote.put_json("/api/v1/pools", body)
        )

    def _prebuild(self, index: int, item: PrebuildItem) -> Iterator[Step]:
        path = ("prebuilds", index)
        image = self._image_id(item.image, (*path, "image"))
        try:
            check_git_url(item.url)
            check_git_ref(item.ref)
        except InvalidInput as error:
            self._wrong(f"[[prebuilds]]: {error.message}", (*path, "url"))
            return
        body = {
            "image": image,
            "git": {"url": item.url, "ref": item.ref},
            "every_hours": item.every_hours,
            "ready": item.ready,
            "team": self._team,
        }
        key = image, item.url, item.ref
        had = next((e for e in self._prebuilds["prebuilds"] if _key(e) == key), None)
        fields = ("every_hours", "ready")
        if had is None:
            details = [f"image: {item.image}", *(f"{name}: {body[name]}" for name in fields)]
            action = "create"
        else:
            details = [
                f"{n}: {had[n]} → {body[n]}" for n in fields if float(had[n]) != float(body[n])
            ]
            action = "change"
        if details and image:
            yield Step(
                action,
                f"prebuild of {_repository(item.url, item.ref)}",
                details,
                lambda: self._remote.post("/api/v1/prebuilds", body),
            )

    def _gone_prebuilds(self, declared: list[PrebuildItem]) -> Iterator[Step]:
        kept = {(self._known(item.image), item.url, item.ref) for item in declared}
        for had in self._prebuilds["prebuilds"]:
            if _key(had) in kept:
                continue
            repository = _repository(had["git"]["url"], had["git"]["ref"])
            id = had["id"]
            yield Step(
                "delete",
                f"prebuild of {repository}",
                [f"image: {self._name_of(had['image'])}"],
                lambda id=id: self._remote.delete(f"/api/v1/prebuilds/{id}"),
            )

    def _check_room(self) -> None:
        """That all of it together is no more than the team may have."""
        file = self._file
        pools = file.pools
        sizes = [e["size"] for e in self._plain()] if pools is None else [*pools.values()]
        declared = file.prebuilds
        there = self._prebuilds["prebuilds"]
        ready = [e["ready"] for e in there] if declared is None else [e.ready for e in declared]
        total, limit = sum(sizes) + sum(ready), self._pools["limit"]
        if total > limit and (pools is not None or declared is not None):
            self._wrong(
                f"The pools of a team hold up to {limit} workspaces together, and these would be "
                f"{total}.",
                ("pools",) if pools is not None else ("prebuilds",),
            )
        if declared is not None and len(declared) > self._prebuilds["limit"]:
            self._wrong(f"A team has up to {self._prebuilds['limit']} prebuilds.", ("prebuilds",))

    def _plain(self) -> list[dict[str, Any]]:
        return [each for each in self._pools["pools"] if not each["prebuild"] and each["size"]]

    def _known(self, named: str) -> str:
        """As `_image_id`, without a word of what is wrong."""
        before = len(self.mistakes)
        id = self._image_id(named, ())
        del self.mistakes[before:]
        return id

    def _name_of(self, id: str) -> str:
        found = (e for e in self._images if e["id"] == id.partition("@")[0])
        return next((e.get("reference") or e["id"] for e in found), id)

    def _wrong(self, message: str, path: tuple[str | int, ...]) -> None:
        self.mistakes.append(Mistake(message, path))


def _key(prebuild: dict[str, Any]) -> tuple[str, str, str]:
    return prebuild["image"], prebuild["git"]["url"], prebuild["git"]["ref"]


def _repository(url: str, ref: str) -> str:
    return f"{url} ({ref})" if ref else url


def _window(policy: dict[str, Any]) -> str:
    window = policy["maintenance"]
    if window is None:
        return "none"
    return f"{window['day']} {window['hour']}:00, {window['hours']} h, {window['time_zone']}"


def _said(value: Any) -> str:
    """A value in a line of the plan."""
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    text = str(value) or "nothing"
    return text[:12] + "…" if len(text) == 64 and text.isalnum() else text  # a digest
