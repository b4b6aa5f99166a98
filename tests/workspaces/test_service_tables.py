"""What `cloudide.toml` may say of services, and what is wrong with the rest."""

from __future__ import annotations

import pytest

from cloudide.project import configuration

GOOD = """
[services.db]
image = "registry.example.org:5000/team/postgres:17@sha256:0123"
command = ["postgres", "-c", "fsync=off"]
env = { POSTGRES_PASSWORD = "dev" }
ports = [5432]
volume = "/var/lib/postgresql/data"
health = { command = "pg_isready", interval = 0.5 }
depends_on = ["cache"]
resources = { cpus = 0.5, memory = "512m", processes = 100 }
[services.cache]
image = "redis"
"""


def read(text: str) -> tuple[list[str], list[tuple[str, int, int]]]:
    """The names of good services, and each mistake with its line and column."""
    text, document, mistakes = configuration.load(text.encode())
    tables, wrong = configuration.services(document)
    problems = configuration.problems(text, [*mistakes, *wrong])
    return list(tables), [(each.message, each.line, each.column) for each in problems]


def test_what_is_right_is_taken() -> None:
    good, problems = read(GOOD.replace("0.5 }", "1 }"))
    assert (good, problems) == (["db", "cache"], [])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('image = "a b"', "image is not the name of an image"),
        ('image = "x"\ncommand = "\'"', "command is not a command line"),
        ('image = "x"\nvolume = "data"', "volume is an absolute path"),
        ('image = "x"\nvolume = "/a/../etc"', "volume is an absolute path"),
        ('image = "x"\nports = [0]', "a port is a number from 1 to 65535"),
        ('image = "x"\nenv = { "A B" = "" }', "is not the name of a variable"),
        ('image = "x"\nhealth = { command = "x", interval = 0 }', "interval is 1 to 3600 seconds"),
        ('image = "x"\nhealth = { command = "x", retries = "3" }', "Expected `int`, got `str`"),
        ('image = "x"\nhealth = { interval = 3 }', "The key command is missing"),
        ('image = "x"\nresources = { memory = "1k" }', "memory is 6m or more"),
        ('image = "x"\nresources = { memory = "lots" }', "memory is 6m or more"),
        ('image = "x"\nresources = { cpus = 0 }', "cpus is a number"),
        ('image = "x"\nprivileged = true', "There is no key 'privileged'"),
        ('command = "x"', "The key image is missing"),
    ],
    ids=range(14),
)
def test_one_that_is_wrong_is_left_out_and_the_others_are_not(line: str, said: str) -> None:
    good, problems = read(f'[services.good]\nimage = "redis"\n[services.bad]\n{line}\n')
    assert good == ["good"]
    [(message, at, column)] = problems
    assert said in message
    assert 3 <= at <= 5
    assert column >= 1


def test_circles_and_missing_ones_are_found_where_they_are_written() -> None:
    text = (
        '[services.a]\nimage = "x"\ndepends_on = ["b"]\n'
        '[services.b]\nimage = "x"\ndepends_on = ["c", "a"]\n'
        '[services.c]\nimage = "x"\ndepends_on = ["c"]\n'
        '[services.d]\nimage = "x"\ndepends_on = ["nobody"]\n'
    )
    good, problems = read(text)
    assert good == []
    assert [(line, column) for _, line, column in problems] == [(3, 15), (6, 20), (9, 15), (12, 15)]
    assert "a → b → a" in problems[0][0]
    assert "c → c" in problems[2][0]
    assert "no service 'nobody'" in problems[3][0]


@pytest.mark.parametrize("name", ["workspace", "localhost", "-a", "A", "a.b", "x" * 31])
def test_names_are_those_of_hosts(name: str) -> None:
    good, [(message, line, _)] = read(f'[services."{name}"]\nimage = "x"\n')
    assert good == []
    assert "A name is a host's" in message
    assert line == 1


def test_there_are_not_more_than_fit_into_the_network() -> None:
    good, problems = read("".join(f'[services.s{n}]\nimage = "x"\n' for n in range(11)))
    assert good == []
    assert "up to 10 services" in problems[0][0]
