"""What is believed of a project's dependencies: names and versions of registries, nothing else."""

from __future__ import annotations

import json

import pytest

from cloudide.workspaces.packages import Packages, of_go, of_npm, of_python

BASE = "/workspace/.venv/lib/python3.11/site-packages/"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (f"{BASE}requests-2.32.3.dist-info", ["requests==2.32.3"]),
        (f"{BASE}Zope.Interface-6.0.post1.dist-info", ["zope.interface==6.0.post1"]),
        (f"{BASE}local-1.0+cu121.dist-info", ["local==1.0+cu121"]),
        (f"{BASE}a-1; rm -rf .dist-info", []),
        (f"{BASE}--index-url=x-1.dist-info", []),
        (f"{BASE}-r-1.dist-info", []),
        (f"{BASE}a-$(id).dist-info", []),
        (f"{BASE}a-1.dist-info/x", []),
        (f"{BASE}{'a' * 300}-1.dist-info", []),
    ],
    ids=range(9),
)
def test_python_is_what_is_installed(path: str, found: list[str]) -> None:
    assert of_python([path, path]) == found


@pytest.mark.parametrize(
    ("path", "about", "found"),
    [
        ("node_modules/a", {"version": "1.2.3", "integrity": "sha512-x"}, ["a@1.2.3"]),
        ("node_modules/b/node_modules/@s/c", {"version": "1.0.0-rc.1", "integrity": "x"},
         ["@s/c@1.0.0-rc.1"]),
        ("node_modules/x", {"name": "y", "version": "1.0.0", "integrity": "x"}, ["y@1.0.0"]),
        ("", {"version": "1.0.0"}, []),
        ("node_modules/link", {"link": True, "resolved": "packages/link"}, []),
        ("node_modules/a", {"version": "file:../up", "integrity": "x"}, []),
        ("node_modules/a", {"version": "1.0.0 --registry=x", "integrity": "x"}, []),
        ("node_modules/../../a", {"version": "1.0.0", "integrity": "x"}, []),
        ("node_modules/a", {"name": ["a"], "version": "1.0.0", "integrity": "x"}, []),
        ("node_modules/a", [], []),
    ],
    ids=range(10),
)  # fmt: skip
def test_npm_is_what_is_locked_at_a_registry(path: str, about: object, found: list[str]) -> None:
    assert of_npm(json.dumps({"packages": {path: about}}).encode()) == found


@pytest.mark.parametrize("lock", [b"", b"\xff", b"[]", b'{"packages": []}', b"[" * 99999])
def test_what_is_no_lock_file_has_none(lock: bytes) -> None:
    assert of_npm(lock) == []


def test_go_is_what_has_a_sum() -> None:
    sums = (
        "golang.org/x/text v0.14.0 h1:abc+/=\n"
        "golang.org/x/text v0.14.0/go.mod h1:abc=\n"
        "github.com/a/b/v2 v2.0.1 h1:x=\n"
        "evil;id v1.0.0 h1:x=\n-x.y v1.0.0 h1:x=\n"
    )
    assert of_go(sums) == ["golang.org/x/text@v0.14.0", "github.com/a/b/v2@v2.0.1"]


def test_of_too_many_the_newest_stay() -> None:
    old, new = Packages(["a==1", "b==1", "c==1"]), Packages(["a==1", "d==1"])
    assert old.with_(new, 3) == Packages(["c==1", "a==1", "d==1"])
    assert new.without(old) == Packages(["d==1"])
    assert not old.without(old)
