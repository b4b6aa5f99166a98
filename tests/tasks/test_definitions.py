"""`cloudide.toml`, the tasks a project brings, and what they depend on."""

from __future__ import annotations

import re

import pytest

from cloudide.errors import InvalidInput, NotFound, TooMany
from cloudide.tasks.definitions import FILE, Problem, Task, parse
from cloudide.tasks.found import make_targets, package_scripts, python_scripts
from cloudide.tasks.graph import steps


def test_a_whole_task() -> None:
    tasks, problems = parse(
        b'[tasks.dev]\ncommand = "vite"\ncwd = "web"\nenv = { A = "1" }\ndepends_on = ["db"]\n'
        b"background = true\nready_when = 5173\n"
        b'[tasks.test]\ncommand = ["pytest", "-q"]\ninputs = ["src/**/*.py"]\n'
        b'[tasks."build:all"]\ncommand = "make"\n'
    )
    assert problems == []
    assert tasks == [
        Task(
            name="dev",
            source=FILE,
            command="vite",
            cwd="web",
            env={"A": "1"},
            depends_on=["db"],
            background=True,
            ready_when=5173,
        ),
        Task(name="test", source=FILE, command=["pytest", "-q"], inputs=["src/**/*.py"]),
        Task(name="build:all", source=FILE, command="make"),
    ]


@pytest.mark.parametrize(
    ("lines", "message", "line"),
    [
        ("comand = 'x'", "no key 'comand'", 2),
        ("command = 'x'\ncolour = 1", "no key 'colour'", 3),
        ("", "The key command is missing", 1),
        ("command = 1", "command: ", 2),
        ("command = ''", "command is empty", 2),
        ("command = []", "command is empty", 2),
        ("command = 'x'\ncwd = '../up'", "cwd is a folder", 3),
        ("command = 'x'\ncwd = '/abs'", "cwd is a folder", 3),
        ("command = 'x'\nenv = { A = 1 }", "env.A: ", 3),
        ("command = 'x'\nenv = { 'A=B' = '1' }", "not the name of a variable", 3),
        ("command = 'x'\ninputs = ['/etc/*']", "'/etc/\\*' is not a path", 3),
        ("command = 'x'\nbackground = 1", "background: ", 3),
        ("command = 'x'\nready_when = 'up'", "is for background tasks", 3),
        ("command = 'x'\nbackground = true\nready_when = '('", "not a regular expression", 4),
        ("command = 'x'\nbackground = true\nready_when = 0", "from 1 to 65535", 4),
        ("command = 'x'\nbackground = true\ninputs = ['a']", "never skipped", 4),
        ("command = 'x\\u0000'", "NUL", 2),
    ],
)
def test_one_wrong_task_is_named_and_leaves_the_others(lines: str, message: str, line: int) -> None:
    content = f"[tasks.bad]\n{lines}\n[tasks.good]\ncommand = 'true'\n"
    content = content.replace("'x\\u0000'", '"x\\u0000"')
    tasks, problems = parse(content.encode())
    assert [task.name for task in tasks] == ["good"]
    assert all("[tasks.bad]" in problem.message for problem in problems)
    assert line in [problem.line for problem in problems if re.search(message, problem.message)]


def test_what_is_no_toml_is_told_with_its_line() -> None:
    tasks, problems = parse(b"[tasks.a]\ncommand = 'x'\nwhat\n")
    assert tasks == []
    assert problems[0].line == 3
    assert "This is not TOML" in problems[0].message


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"x" * 100_000,
        b"tasks = 1",
        b"a = " + b"[" * 50_000,
        b"[languages.a]\nsettings." + b"a." * 20_000 + b"b = 1",
        b"[languages." + b"a." * 20_000 + b"b]\n",
        b"x = " + b"9" * 5000,
        b"[other]\n",
        b"[tasks]\nx = 1\n",
        b"[tasks.'a b']\ncommand = 'x'\n",
    ],
)
def test_odd_files_are_problems(content: bytes) -> None:
    tasks, problems = parse(content)
    assert tasks == []
    assert problems
    assert all(isinstance(problem, Problem) for problem in problems)


def test_no_more_tasks_than_the_limit() -> None:
    tasks, problems = parse(b"".join(b"[tasks.t%d]\ncommand='x'\n" % n for n in range(201)))
    assert len(tasks) == 200
    assert "first 200" in problems[0].message


@pytest.mark.parametrize(
    ("names", "package", "command"),
    [
        (["package-lock.json"], "{}", "npm"),
        ([], "{}", "npm"),
        (["pnpm-lock.yaml", "package-lock.json"], "{}", "pnpm"),
        (["yarn.lock"], "{}", "yarn"),
        (["bun.lock"], "{}", "bun"),
        (["package-lock.json"], '{"packageManager": "pnpm@9.1.0"}', "pnpm"),
        ([], '{"packageManager": "../evil@1"}', "npm"),
    ],
)
def test_the_package_manager_is_told_by_its_lock(
    names: list[str], package: str, command: str
) -> None:
    content = package.replace("{", '{"scripts": {"dev": "vite", "": "x", "-rf": "y"}, ', 1)
    content = content.replace(", }", "}")
    tasks, problems = package_scripts(content.encode(), names)
    assert problems == []
    assert [(task.name, task.command) for task in tasks] == [
        (f"{command}:dev", [command, "run", "dev"]),
    ]


def test_a_broken_package_is_a_problem() -> None:
    for content in (b"{", b"[]", b'{"scripts": {"a": 1}}', b"\xff"):
        tasks, problems = package_scripts(content, [])
        assert tasks == []
        assert problems[0].file == "package.json"


def test_make_targets() -> None:
    plain = b"VAR := x\nall: a.o\n\tcc\na.o: a.c\n%.x: %.y\nclean test::\n\trm\n.SUFFIXES:\n"
    names = [task.name for task in make_targets("Makefile", plain)[0]]
    assert names == ["make:all", "make:clean", "make:test"]
    phony = b".PHONY: test \\\n  lint\nbuild: x\ntest: build\n\tx\nlint:\n"
    tasks, _ = make_targets("Makefile", phony)
    assert [task.command for task in tasks] == [["make", "test"], ["make", "lint"]]


def test_python_scripts() -> None:
    content = (
        b'[project.scripts]\nserve = "a:b"\n[tool.poe.tasks]\ntest = "pytest"\n_hidden = "x"\n'
        b'[tool.hatch.envs.default.scripts]\nlint = "ruff"\n'
    )
    tasks, _ = python_scripts(content, ["uv.lock"])
    assert {task.name: task.command for task in tasks} == {
        "script:serve": ["uv", "run", "serve"],
        "poe:test": ["poe", "test"],
        "hatch:lint": ["hatch", "run", "lint"],
    }
    assert python_scripts(b"[project.scripts]\na = 'b'\n", [])[0][0].command == ["a"]
    for odd in (b"what", b"\xff", b"x = " + b"9" * 5000, b"a." * 200_000 + b"b = 1"):
        assert python_scripts(odd, [])[1][0].file == "pyproject.toml"
    assert python_scripts(b"project = 1\n", []) == ([], [])


def tasks_of(**needs: list[str]) -> dict[str, Task]:
    return {
        name: Task(name=name, source=FILE, command="x", depends_on=list(depends_on))
        for name, depends_on in needs.items()
    }


def test_dependencies_come_first_and_once() -> None:
    tasks = tasks_of(a=["b", "c"], b=["d"], c=["d"], d=[], e=["a"])
    assert [task.name for task in steps(tasks, "a")] == ["d", "b", "c", "a"]


def test_a_circle_is_told_with_its_way() -> None:
    tasks = tasks_of(start=["a"], a=["b"], b=["c"], c=["a"])
    with pytest.raises(InvalidInput, match="a → b → c → a"):
        steps(tasks, "start")
    with pytest.raises(InvalidInput, match="self → self"):
        steps(tasks_of(self=["self"]), "self")


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput, match="'a' depends on 'missing'"):
        steps(tasks_of(a=["missing"]), "a")
    with pytest.raises(NotFound, match="'b'"):
        steps(tasks_of(a=[]), "b")


def test_a_chain_has_a_limit() -> None:
    chain = {f"t{n}": [f"t{n + 1}"] for n in range(100)} | {"t100": []}
    with pytest.raises(TooMany):
        steps(tasks_of(**chain), "t0")
