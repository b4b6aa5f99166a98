"""Images that are defined, built, promoted, tried out, rolled back, collected: on a real engine."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from imagery import begin, built, define, ended, follow, log_of, upload
from server import Api, Server, serving

from cloudide.workspaces.engine import Engine

BASE = "FROM cloudide/base\n"


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server of its own, so that what its builds leave on the engine can be counted."""
    folder: Path = tmp_path_factory.mktemp("images") / "data"
    kept = {"image_versions_kept": 0, "build_cache_hours": 0, "image_look_hours": 0}
    async with serving(folder, build_disk=384 * 1024 * 1024, **kept) as server:
        yield server


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture
def api(site: Server) -> Api:
    return site.api


def name() -> str:
    return "image-" + secrets.token_hex(4)


async def test_from_a_dockerfile_to_a_workspace(api: Api) -> None:
    """Built, promoted, used; a newer version is offered, and taken at a start of its own."""
    image = await define(api, name(), arguments={"WORD": "given"})
    dockerfile = BASE + "ARG WORD=default\nRUN echo one $WORD\nCOPY extra /\n"
    first = await built(api, image, dockerfile, extra="text")
    assert [step["title"] for step in first["steps"]][:2] == [
        "FROM cloudide/base",
        "ARG WORD=default",
    ]
    assert all(step["seconds"] is not None for step in first["steps"])
    assert "one given" in await log_of(api, first["id"])

    view = await api.get(f"/api/v1/images/{image}")
    response = await api.request(
        "POST", "/api/v1/workspaces", json={"name": "early", "image": view["reference"]}
    )
    assert response.status_code == 404
    assert "promote" in response.json()["detail"]
    await api.post(f"/api/v1/images/{image}/versions/1/promote", json={})
    workspace = await api.create("made of it", image=view["reference"])
    shown = await api.get(f"/api/v1/workspaces/{workspace}")
    assert (shown["image"], shown["image_version"]) == (view["reference"], 1)
    assert (await api.run(workspace, "cat", "/extra"))[1].split() == ["text"]

    second = await built(api, image, dockerfile.replace("one", "two"), extra="text")
    assert second["version"] == 2
    await api.post(f"/api/v1/images/{image}/versions/2/promote", json={})
    shown = await api.get(f"/api/v1/workspaces/{workspace}")
    assert shown["update"] == {"version": 2, "at_start": True}
    assert shown["image_version"] == 1
    await api.post(f"/api/v1/workspaces/{workspace}/update", json={"restart": True})
    await api.until(workspace, "creating")
    await api.until(workspace, "running")
    shown = await api.get(f"/api/v1/workspaces/{workspace}")
    assert shown["image_version"] == 2
    assert "update" not in shown or shown["update"] is None
    await api.remove(workspace)


async def test_nothing_is_built_twice(api: Api) -> None:
    image = await define(api, name())
    dockerfile = BASE + "ENV WORD=once\n"
    first = await built(api, image, dockerfile)
    again = await begin(api, image)
    assert (again["state"], again["reused"], again["version"]) == ("succeeded", True, 1)
    # The same files, packed by somebody else in another order, are the same inputs.
    await upload(api, image, dockerfile)
    assert (await begin(api, image))["reused"]
    fresh = await ended(api, (await begin(api, image, fresh=True))["id"])
    assert (fresh["reused"], fresh["version"]) == (False, first["version"] + 1)


async def test_two_who_ask_at_once_get_one_build(api: Api) -> None:
    image = await define(api, name())
    await upload(api, image, BASE + "RUN sleep 1\n")
    asked = await asyncio.gather(*(begin(api, image) for _ in range(5)))
    assert len({each["id"] for each in asked}) == 1
    assert (await ended(api, asked[0]["id"]))["version"] == 1
    assert len((await api.get(f"/api/v1/images/{image}/builds"))["builds"]) == 1


async def test_a_step_that_fails_is_explained(api: Api) -> None:
    image = await define(api, name())
    await upload(api, image, BASE + "\n# Comment\nRUN echo the reason >&2; \\\n  exit 3\n")
    build = await ended(api, (await begin(api, image))["id"])
    assert build["state"] == "failed"
    assert build["error"].startswith("Line 4 (RUN echo the reason >&2;")
    assert build["error"].endswith("ended with exit code 3: the reason")
    assert build["steps"][-1]["failed"]
    version = (await api.get(f"/api/v1/images/{image}/versions"))["versions"][0]
    assert (version["state"], version["image_id"]) == ("draft", "")
    refused = await api.request("POST", f"/api/v1/images/{image}/versions/1/promote", json={})
    assert refused.status_code == 409


async def test_a_log_is_resumed_where_it_was(api: Api) -> None:
    """What came is not sent again, and nothing is left out, by offset and by Last-Event-ID."""
    image = await define(api, name())
    count = "RUN for n in 1 2 3 4 5 6; do echo line $n é; sleep 0.2; done\n"
    await upload(api, image, BASE + count)
    build = (await begin(api, image))["id"]
    seen, last = "", ""
    async with aclosing(follow(api, build)) as events:
        async for event, data, id in events:
            if event == "log":
                seen, last = seen + data, id
                if "line 2" in seen:
                    break  # the client leaves; the build goes on
    async with aclosing(follow(api, build, **{"Last-Event-ID": last})) as events:
        async for event, data, _ in events:
            seen += data if event == "log" else ""
    whole = await log_of(api, build)
    assert seen == whole
    assert [f"line {n} é" in whole for n in range(1, 7)] == [True] * 6
    rest = await api.request("GET", f"/api/v1/builds/{build}/log?offset={last}")
    assert rest.content == whole.encode()[int(last) :]
    assert rest.headers["log-offset"] == str(len(whole.encode()))


async def test_a_build_is_cancelled(api: Api, engine: Engine, site: Server) -> None:
    image = await define(api, name())
    await upload(api, image, BASE + "RUN echo begun; sleep 600\n")
    build = (await begin(api, image))["id"]
    await until_said(api, build, "begun")
    await api.post(f"/api/v1/builds/{build}/cancel")
    assert (await api.get(f"/api/v1/builds/{build}"))["state"] == "cancelled"
    assert await left(engine, site) == []
    again = await api.request("POST", f"/api/v1/builds/{build}/cancel")
    assert again.status_code == 409


async def test_a_step_that_fills_the_disk_is_stopped(
    api: Api, engine: Engine, site: Server
) -> None:
    image = await define(api, name())
    fill = "RUN dd if=/dev/zero of=/tmp/fill bs=1M count=600 2>/dev/null && sleep 600\n"
    await upload(api, image, BASE + fill)
    build = await ended(api, (await begin(api, image))["id"])
    assert build["state"] == "failed"
    assert "it wrote more than a build may" in build["error"]
    assert await left(engine, site) == []


async def test_a_server_that_is_killed_leaves_nothing(site: Server, engine: Engine) -> None:
    """A build that ran is begun again by the next server; its containers are gone meanwhile."""
    api = site.api
    image = await define(api, name())
    await upload(api, image, BASE + "RUN echo begun $(cat /proc/sys/kernel/random/uuid); sleep 3\n")
    build = (await begin(api, image))["id"]
    await until_said(api, build, "begun")
    await site.kill()
    await site.start()
    done = await ended(api, build)
    assert (done["state"], done["attempts"], done["version"]) == ("succeeded", 2, 1)
    assert (await log_of(api, build)).count("begun ") == 2 + 2  # each with the line of its step
    assert await left(engine, site) == []

    # Nor do images between its steps stay, of either build, once that image has gone.
    def images(client: Any) -> list[str]:
        rows = client.images(all=True, filters={"label": f"cloudide.image={image}"})
        return [row["Id"] for row in rows]

    assert await engine.call(images) != []
    await api.delete(f"/api/v1/images/{image}")
    await api.post("/api/v1/images/collection")
    assert await engine.call(images) == []


async def test_build_secrets_stay_nowhere(api: Api, engine: Engine, tmp_path: Path) -> None:
    """Not in the image, its layers, history or log; and the rest of the build goes on with what
    the command made."""
    image = await define(api, name(), arguments={"WORD": "argument"})
    value = "s3cret-" + secrets.token_hex(8)
    await api.request("PUT", f"/api/v1/images/{image}/secrets/TOKEN", json={"value": value})
    dockerfile = (
        "FROM debian:bookworm-slim AS made\nARG WORD\n"
        "RUN --mount=type=secret,id=TOKEN,required=true --mount=type=secret,id=ABSENT \\\n"
        "  sha256sum < /run/secrets/TOKEN > /digest; cat /run/secrets/TOKEN; echo $WORD > /word\n"
        'FROM made\nRUN cat /word\nCMD ["bash"]\n'
    )
    build = await built(api, image, dockerfile)
    log = await log_of(api, build["id"])
    assert value not in log
    assert "[secret TOKEN]" in log
    assert "\nargument\n" in log
    version = (await api.get(f"/api/v1/images/{image}/versions"))["versions"][0]

    def look(client: Any) -> tuple[str, bytes]:
        described = str(client.inspect_image(version["image_id"]))
        described += str(client.history(version["image_id"]))
        return described, b"".join(client.get_image(version["image_id"]))

    described, layers = await engine.call(look)
    assert value not in described
    assert value.encode() not in layers
    assert b"digest" in layers
    missing = await define(api, name())
    await upload(api, missing, dockerfile)
    failed = await ended(api, (await begin(api, missing))["id"])
    assert "needs the build secret TOKEN" in failed["error"]


async def test_a_share_of_the_new_gets_what_is_tried_out(api: Api) -> None:
    image = await define(api, name())
    for word in ("one", "two"):
        await built(api, image, BASE + f"ENV WORD={word}\n")
    versions = f"/api/v1/images/{image}/versions"
    early = await api.request("POST", f"{versions}/2/promote", json={"percent": 50})
    assert early.status_code == 409  # there is nothing for the others
    await api.post(f"{versions}/1/promote", json={})
    await api.post(f"{versions}/2/promote", json={"percent": 99})
    shares = {each["number"]: each["share"] for each in (await api.get(versions))["versions"]}
    assert shares == {1: 1, 2: 99}
    await api.post(f"{versions}/2/promote", json={})
    view = await api.get(f"/api/v1/images/{image}")
    assert (view["active"], view["previous"], view.get("canary")) == (2, 1, None)
    rolled = await api.post(f"/api/v1/images/{image}/rollback")
    assert (rolled["active"], rolled["previous"]) == (1, 2)


async def test_what_nothing_uses_is_collected(api: Api, engine: Engine, site: Server) -> None:
    """Never what a workspace has, or a roll-back needs."""
    image = await define(api, name())
    for word in ("one", "two", "three", "four"):
        await built(api, image, BASE + f"ENV WORD={word}\n")
    versions = f"/api/v1/images/{image}/versions"
    for number in (1, 2, 3, 4):
        await api.post(f"{versions}/{number}/promote", json={})
    used = await api.create("pinned", image=f"{image}@1")
    await api.post("/api/v1/images/collection")
    held = {
        each["number"]: bool(each["image_id"]) for each in (await api.get(versions))["versions"]
    }
    assert held == {1: True, 2: False, 3: True, 4: True}
    refused = await api.request("DELETE", f"/api/v1/images/{image}")
    assert refused.status_code == 409
    await api.remove(used)
    await api.delete(f"/api/v1/images/{image}")
    tags = await engine.call(
        lambda client: [tag for row in client.images() for tag in row["RepoTags"] or []]
    )
    assert not [tag for tag in tags if image.removeprefix("img_") in tag]


async def test_an_image_that_vanished_is_made_again(api: Api, engine: Engine) -> None:
    image = await define(api, name())
    await built(api, image, BASE + "ENV WORD=here\n")
    await api.post(f"/api/v1/images/{image}/versions/1/promote", json={})
    version = (await api.get(f"/api/v1/images/{image}/versions"))["versions"][0]
    await engine.call(lambda client: client.remove_image(version["image_id"], force=True))
    body = {"name": "without", "image": image}
    workspace = (await api.post("/api/v1/workspaces", json=body))["id"]
    async with aclosing(api.events(workspace)) as events:
        async for event, data in events:
            if event == "state" and data["workspace"].get("error"):
                assert "Build that image again" in data["workspace"]["error"]
                break
    again = await ended(api, (await begin(api, image))["id"])
    assert (again["state"], again["version"], again["reused"]) == ("succeeded", 1, False)
    await api.until(workspace, "running")
    await api.remove(workspace)


async def test_a_version_is_looked_into(api: Api) -> None:
    """Its packages and their pending updates are asked of the version itself."""
    image = await define(api, name())
    await built(api, image, BASE)
    version = f"/api/v1/images/{image}/versions/1"
    assert (await api.request("GET", f"{version}/sbom")).status_code == 404
    security = (await api.post(f"{version}/look"))["security"]
    assert security["verdict"] in ("good", "updates"), security["summary"]
    assert security["user"] == "dev"
    assert "/usr/bin/su" in security["setuid"]
    bill = await api.get(f"{version}/sbom")
    assert {"git", "bash", "ripgrep"} <= {package["name"] for package in bill["packages"]}


async def test_what_an_image_may_not_be_built_on(api: Api) -> None:
    """Another team's image, an id that is anybody's, and whatever needs another builder."""
    other = await define(api, name())
    await built(api, other, BASE)
    version = (await api.get(f"/api/v1/images/{other}/versions"))["versions"][0]
    image = await define(api, name())
    said: list[str] = []
    for dockerfile in (
        f"FROM cloudide-image/{other.removeprefix('img_')}:1\n",
        f"FROM {version['image_id'].removeprefix('sha256:')[:12]}\n",
        BASE + f"COPY --from=cloudide-image/{other.removeprefix('img_')}:1 / /\n",
        BASE + "RUN --mount=type=cache,target=/x true\n",
        BASE + "COPY missing /\n",
    ):
        await upload(api, image, dockerfile)
        build = await ended(api, (await begin(api, image))["id"])
        assert build["state"] == "failed"
        said.append(build["error"])
    assert "not for others to build on" in said[0]
    assert "is not the name of an image" in said[1]
    assert "not for others to build on" in said[2]
    assert "needs BuildKit" in said[3]
    assert said[4].startswith("Line 2 (COPY missing /) failed:")


async def until_said(api: Api, build: str, word: str) -> None:
    async with aclosing(follow(api, build)) as events:
        async for event, data, _ in events:
            if event == "log" and f"\n{word}" in f"\n{data}":
                return


async def left(engine: Engine, site: Server) -> list[str]:
    """What builds of a server left running, or have running."""
    instance = (site.data_dir / "instance").read_text()
    labels = {"label": [f"cloudide.instance={instance}", "cloudide.role=build"]}

    def ask(client: Any) -> list[str]:
        networks = [each["Name"] for each in client.networks(filters=labels)]
        containers = [each["Id"] for each in client.containers(all=True, filters=labels)]
        sleeping = [
            each["Id"]
            for each in client.containers(filters={"status": "running"})
            if "sleep 600" in each["Command"] or "echo begun" in each["Command"]
        ]
        return [*networks, *containers, *sleeping]

    return await engine.call(ask)
