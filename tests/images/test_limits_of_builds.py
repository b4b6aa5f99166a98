"""Builds that go on too long or say too much, what they are given, and existing images."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from imagery import begin, built, define, ended, log_of, upload
from server import Api, Server, serving

from cloudide.images.definitions import Definition, Kind, Source, Updates
from cloudide.images.releases import Binding, choose

BASE = "FROM cloudide/base\n"
LOG = 32 * 1024  # bytes
MARK = "# the bundle of this test"


def known_authorities() -> str:
    """What this machine trusts; its network may need it."""
    known = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return Path(known).read_text() if known else ""


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("strict")
    bundle = folder / "bundle.pem"
    bundle.write_text(f"{known_authorities()}\n{MARK}\n")
    settings = {
        "build_log": LOG,
        "image_references": "cloudide/base:*",
        "image_look_hours": 0,
        "ca_bundle": bundle,
    }
    async with serving(folder / "data", **settings) as server:
        yield server


@pytest.fixture
def api(site: Server) -> Api:
    return site.api


async def test_one_that_does_not_end_is_ended(site: Server) -> None:
    """The others need more time than this allows."""
    api, settings = site.api, site._settings
    await site.stop()
    site._settings = {**settings, "build_minutes": 0.1}
    await site.start()
    try:
        image = await define(api, "endless")
        # In words of its own: others look on the engine for what they began.
        await upload(api, image, BASE + "RUN echo endless; while :; do sleep 1; done\n")
        build = await ended(api, (await begin(api, image))["id"])
    finally:
        await site.stop()
        site._settings = settings
        await site.start()
    assert build["state"] == "failed"
    assert "it took longer than 0.1 minutes, which is the limit" in build["error"]
    assert "endless" in await log_of(api, build["id"])


async def test_of_one_that_says_too_much_the_log_is_cut_and_says_so(api: Api) -> None:
    image = await define(api, "talkative")
    talk = "RUN yes 'a line of this build' | head -n 20000\nRUN echo the last step\n"
    build = await built(api, image, BASE + talk)
    log = await log_of(api, build["id"])
    assert "a line of this build" in log
    assert len(log) <= LOG + 1000
    assert "the last step" not in log
    assert log.rstrip().splitlines()[-1] != "a line of this build", log[-300:]


async def test_the_servers_ca_bundle_is_in_the_context_and_not_in_the_image(api: Api) -> None:
    image = await define(api, "trusting")
    dockerfile = (
        f"{BASE.rstrip()} AS fetching\nCOPY .ca/bundle.pem /tmp/\nRUN tail -n1 /tmp/bundle.pem\n"
        f"{BASE}RUN test ! -e /tmp/bundle.pem && test ! -e .ca && echo it is clean\n"
    )
    # A stage that nothing is taken from need not be built: the second takes from it.
    dockerfile += "COPY --from=fetching /etc/hostname /was\n"
    build = await built(api, image, dockerfile)
    log = await log_of(api, build["id"])
    assert MARK in log
    assert "it is clean" in log


async def test_an_existing_image_is_a_version_when_it_may_be(api: Api) -> None:
    async def refer(name: str, reference: str) -> str:
        body = {"name": name, "kind": "reference", "source": {"reference": reference}}
        return (await api.post("/api/v1/images", json=body))["id"]

    image = await refer("existing", "cloudide/base:latest")
    build = await ended(api, (await begin(api, image))["id"])
    assert build["state"] == "succeeded", build["error"]
    [version] = (await api.get(f"/api/v1/images/{image}/versions"))["versions"]
    assert (version["state"], version["made_from"]["reference"]) == (
        "checked",
        "cloudide/base:latest",
    )
    again = await ended(api, (await begin(api, image))["id"])
    assert (again["version"], again["reused"]) == (1, True)

    denied = await refer("denied", "debian:bookworm-slim")
    build = await ended(api, (await begin(api, denied))["id"])
    assert build["state"] == "failed"
    assert "not among the images that may be used here" in build["error"]
    gone = await refer("gone", "cloudide/base:none")
    build = await ended(api, (await begin(api, gone))["id"])
    assert build["state"] == "failed"
    assert "could not be pulled" in build["error"]


def test_a_share_of_new_workspaces_is_that_share_and_stays() -> None:
    definition = Definition(
        *("img_1", "", "", "tools", "Tools", "", Kind.DOCKERFILE, Source(), "", Updates.RESTART),
        *(1, None, 2, 10, 0.0, "u1", 1),
    )
    ids = [f"w{number:012x}" for number in range(5000)]
    chosen = [choose(definition, id, None, None) for id in ids]
    assert 420 <= chosen.count(2) <= 580
    assert chosen == [choose(definition, id, None, None) for id in ids]
    # Whoever has one keeps it when the share grows or ends.
    had = Binding(ids[0], "img_1", 2, False, False)
    assert choose(definition, ids[0], had, None) == 2
