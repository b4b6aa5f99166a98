"""`cloudide apply`: what a file declares of a team, planned, done, and done only once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli.running import Ran, run
from server import ADMIN_TOKEN, Server

from cloudide.project import team

FILE = """
team = "Declared"

[policy]
maintenance = { day = "sunday", hour = 3, hours = 2, time_zone = "Europe/Berlin" }

[images.tools]
title = "Tools"
context = "tools"

[pools]
base = 1

[[prebuilds]]
url = "https://example.invalid/none.git"
image = "tools"
every_hours = 24
"""


async def applied(server: Server, file: Path, *arguments: str) -> Ran:
    environment = {"CLOUDIDE_URL": server.url, "CLOUDIDE_TOKEN": ADMIN_TOKEN}
    return await run("apply", "-f", str(file), *arguments, environment=environment)


async def plan(server: Server, file: Path) -> list[tuple[str, str]]:
    ran = await applied(server, file, "--plan", "-o", "json")
    assert ran.code == 0, ran.errors
    return [(each["action"], each["what"]) for each in json.loads(ran.output)["plan"]]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[pools]", "[pools", "11:7: This is not TOML"),
        ('team = "Declared"', "", "The key team is missing"),
        ("base = 1", 'base = "1"', "Expected `int`, got `str`"),
        ("base = 1", "base = 0", "12:8: A pool holds 1 to 100"),
        ('context = "tools"', 'context = "tools"\nreference = "x"', "say one of context, git"),
        (
            'context = "tools"',
            'reference = "x"\ntarget = "x"',
            "10:10: [images.tools]: target means",
        ),
        ("every_hours = 24", "every_hours = 0.01", "every_hours is 0.1 to 8760"),
        ("hour = 3", "hour = 30", "5:40: hour is a number from 0 to 23"),
        ('day = "sunday"', 'day = "someday"', "Invalid enum value 'someday'"),
        ("[policy]", "[policies]", "There is no key 'policies'"),
    ],
    ids=range(10),
)
def test_a_wrong_file_is_told_where(old: str, new: str, said: str) -> None:
    assert FILE.count(old) == 1
    file, text, mistakes = team.read(FILE.replace(old, new).encode())
    assert file is None
    found = team.problems("team.toml", text, mistakes)
    assert any(said in f"{each.line}:{each.column}: {each.message}" for each in found), found


async def test_a_team_is_as_its_file_says(server: Server, tmp_path: Path) -> None:
    api = server.api
    id = (await api.post("/api/v1/teams", json={"name": "Declared"}))["id"]
    file, tools = tmp_path / "team.toml", tmp_path / "tools"
    file.write_text(FILE)
    tools.mkdir()
    (tools / "Dockerfile").write_text("FROM cloudide/base\n")
    assert await plan(server, file) == [
        ("create", "image tools"),
        ("build", "image tools"),
        ("change", "policy"),
        ("create", "pool of base"),
        ("create", "prebuild of https://example.invalid/none.git"),
    ]

    refused = await applied(server, file)  # nobody says yes
    assert refused.code == 1
    assert "+ create image tools" in refused.output
    assert (await api.get(f"/api/v1/pools?team={id}"))["pools"] == []

    done = await applied(server, file, "--yes")
    assert done.code == 0, done.errors
    [image] = [e for e in (await api.get("/api/v1/images"))["images"] if e.get("team") == id]
    assert (image["title"], image["active"]) == ("Tools", 1)
    again = await applied(server, file, "--yes")
    assert again.output == "Nothing to do.\n"

    # A change of a file in the context is one of the image; what is left out goes.
    (tools / "Dockerfile").write_text("FROM cloudide/base\nENV A=1\n")
    changed = FILE.partition("[[prebuilds]]")[0].replace("base = 1", "python = 2")
    file.write_text(f"prebuilds = []\n{changed}")
    wanted = [
        ("change", "image tools"),
        ("build", "image tools"),
        ("delete", "pool of base"),
        ("delete", "prebuild of https://example.invalid/none.git"),
        ("create", "pool of python"),
    ]
    assert await plan(server, file) == wanted
    file.write_text('team = "Declared"\nprebuilds = []\n[images]\n[pools]\n')
    cleared = await applied(server, file, "--yes", "-o", "json")
    assert cleared.code == 0, cleared.errors
    found: list[dict[str, Any]] = json.loads(cleared.output)["plan"]
    assert {each["action"] for each in found} == {"delete"}
    assert len(found) == 3
    assert await plan(server, file) == []
    # A section that is missing is left as it is.
    policy = await api.get(f"/api/v1/teams/{id}/policy")
    assert policy["maintenance"]["day"] == "sunday"


async def test_what_cannot_be_changes_nothing(server: Server, tmp_path: Path) -> None:
    api = server.api
    id = (await api.post("/api/v1/teams", json={"name": "Refused"}))["id"]
    file = tmp_path / "team.toml"
    file.write_text(
        'team = "Refused"\n[policy]\n'
        'maintenance = { day = "monday", hour = 1, time_zone = "Mars" }\n'
        '[images.a]\ncontext = "missing"\n[pools]\nbase = 50\nnone = 1\n'
        '[[prebuilds]]\nurl = "/etc"\n'
    )
    refused = await applied(server, file, "--yes")
    assert refused.code == 1
    said = refused.errors.replace(str(file), "team.toml")
    for line in (
        "Nothing is changed.",
        "team.toml:3:55: [policy]: 'Mars' is no time zone",
        "team.toml:4:2: [images.a]: ",
        "team.toml:8:8: There is no image none",
        "team.toml:6:2: The pools of a team hold up to 4",
        "[[prebuilds]]: The Git URL is not one",
    ):
        assert line in said, said
    assert (await api.get(f"/api/v1/teams/{id}/policy"))["maintenance"] is None
    assert (await api.get(f"/api/v1/pools?team={id}"))["pools"] == []
