"""Files over REST: conditions, ranges, odd names, limits, open files, archives."""

from __future__ import annotations

import builtins
import hashlib
import io
import tarfile
import zipfile
from collections.abc import AsyncIterator
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
from peer import Peer
from server import ADMIN_TOKEN, Server, serving

MIB = 1024 * 1024


@pytest.fixture(scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with limits that a test can reach."""
    data = tmp_path_factory.mktemp("small") / "data"
    limits = {"editable_limit": 4096, "upload_limit": MIB, "unpack_limit": 2 * MIB}
    async with serving(data, unpack_entries=100, **limits) as server:
        yield server


@pytest.fixture(scope="module")
async def workspace(small: Server) -> str:
    return await small.api.create("files")


@pytest.fixture
def root(workspace: str) -> str:
    return f"/api/v1/workspaces/{workspace}"


def etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


async def test_conditions(small: Server, root: str) -> None:
    file = f"{root}/files/src/conditions.txt"
    ask = small.api.request
    made = await ask("PUT", file, content=b"one", headers={"If-None-Match": "*"})
    assert (made.status_code, made.headers["etag"]) == (201, etag(b"one"))
    again = await ask("PUT", file, content=b"two", headers={"If-None-Match": "*"})
    assert again.status_code == 412
    got = await ask("GET", file)
    assert (got.content, got.headers["etag"]) == (b"one", etag(b"one"))
    assert got.headers["content-type"] == "application/octet-stream"
    assert "attachment" in got.headers["content-disposition"]
    same = await ask("GET", file, headers={"If-None-Match": got.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    stale = await ask("PUT", file, content=b"two", headers={"If-Match": etag(b"zero")})
    assert stale.status_code == 412
    assert stale.headers["content-type"] == "application/problem+json"
    right = await ask("PUT", file, content=b"two", headers={"If-Match": etag(b"one")})
    assert (right.status_code, right.headers["etag"]) == (200, etag(b"two"))
    odd = await ask("PUT", file, content=b"x", headers={"If-Match": 'W/"abc"'})
    assert odd.status_code == 412
    assert (await ask("GET", file)).content == b"two"


@pytest.mark.parametrize("size", [26, 10_000])  # below and above the editing limit
@pytest.mark.parametrize(
    ("range", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=20-", 20, None),
        ("bytes=-3", -3, None),
        ("bytes=0-99999", 0, None),
    ],
)
async def test_ranges(
    small: Server, root: str, size: int, range: str, start: int, end: int | None
) -> None:
    content = bytes(number % 251 for number in builtins.range(size))
    file = f"{root}/files/range-{size}"
    await small.api.put(file, content=content)
    got = await small.api.request("GET", file, headers={"Range": range})
    assert got.status_code == 206
    assert got.content == content[start:end]
    first = start if start >= 0 else size + start
    assert got.headers["content-range"] == f"bytes {first}-{first + len(got.content) - 1}/{size}"


@pytest.mark.parametrize("range", ["bytes=a-b", "bytes=0-1,3-4", "lines=1-2", "bytes=9-5"])
async def test_a_range_that_is_none_is_everything(small: Server, root: str, range: str) -> None:
    await small.api.put(f"{root}/files/whole", content=b"0123456789")
    got = await small.api.request("GET", f"{root}/files/whole", headers={"Range": range})
    assert (got.status_code, got.content) == (200, b"0123456789")


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "quote'and\"double",
        "emoji 👩‍💻.txt",
        "100%",
        "%41",
        "a#b?c&d=e",
        "new\nline",
        "-rf",
        "$(touch x)",
        "back\\slash",
        "日本語/файл.txt",
        "e\u0301",
        "..dots",
        " leading",
        "x" * 255,
    ],
)
async def test_odd_names(small: Server, workspace: str, root: str, name: str) -> None:
    file = f"{root}/files/odd/{quote(name)}"
    content = name.encode()
    await small.api.put(file, content=content)
    assert (await small.api.request("GET", file)).content == content
    tree = await small.api.get(f"{root}/tree", params={"path": "odd", "depth": "3"})
    assert f"odd/{name}" in [entry["path"] for entry in tree["entries"]]
    url = f"{small.url}{root}/collab/odd/{quote(name)}"
    async with Peer(url, additional_headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as peer:
        await peer.until(lambda: str(peer) == name)
    body = {"from": f"odd/{name}", "to": "odd/moved"}
    await small.api.post(f"{root}/move", json=body)
    assert (await small.api.request("GET", file)).status_code == 404
    await small.api.delete(f"{root}/files/odd/moved")


@pytest.mark.parametrize(
    "path",
    [
        "..%2Fetc/passwd",
        "a/..%2F..%2Fetc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "a//b",
        "nul%00",
        "x" * 5000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_paths_that_lead_elsewhere(small: Server, root: str, method: str, path: str) -> None:
    response = await small.api.request(method, f"{root}/files/{path}")
    assert response.status_code in (400, 404)
    assert response.headers["content-type"] == "application/problem+json"


async def test_links_that_lead_elsewhere(small: Server, workspace: str, root: str) -> None:
    exit, _ = await small.api.run(
        workspace, "sh", "-c", "cd /workspace; ln -s /etc/passwd out; ln -s / up"
    )
    assert exit == {"code": 0}
    for path in ("out", "up/etc/passwd"):
        for method in ("GET", "PUT"):
            response = await small.api.request(method, f"{root}/files/{path}", content=b"x")
            if (method, path) != ("PUT", "out"):  # there the link itself is replaced
                assert response.status_code in (400, 403), (method, path, response.text)
    exit, output = await small.api.run(workspace, "head", "-c5", "/etc/passwd")
    assert (exit, output) == ({"code": 0}, "root:")


async def test_a_body_over_the_limit_leaves_nothing(small: Server, root: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 65536

    for content in (b"x" * (MIB + 1), body()):
        response = await small.api.request("PUT", f"{root}/files/huge", content=content)
        assert response.status_code == 413
        assert "limit" in response.json()["detail"]
    assert (await small.api.request("GET", f"{root}/files/huge")).status_code == 404


async def test_a_write_to_an_open_file_reaches_who_edits_it(
    small: Server, workspace: str, root: str
) -> None:
    await small.api.write(workspace, "open.txt", "one\n")
    url = f"{small.url}{root}/collab/open.txt"
    async with Peer(url, additional_headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as peer:
        await peer.until(lambda: str(peer) == "one\n")
        await peer.insert(0, "typed ")
        await peer.saved()
        got = await small.api.request("GET", f"{root}/files/open.txt")
        assert got.content == b"typed one\n"
        headers = {"If-Match": got.headers["etag"]}
        new = b"typed one\ntwo\n"
        put = await small.api.request("PUT", f"{root}/files/open.txt", content=new, headers=headers)
        assert (put.status_code, put.headers["etag"]) == (200, etag(new))
        await peer.until(lambda: str(peer) == new.decode())
        stale = await small.api.request(
            "PUT", f"{root}/files/open.txt", content=b"", headers=headers
        )
        assert stale.status_code == 412
        exit, output = await small.api.run(workspace, "cat", "/workspace/open.txt")
        assert (exit, output.replace("\r", "")) == ({"code": 0}, new.decode())
        binary = await small.api.request("PUT", f"{root}/files/open.txt", content=b"\0")
        assert binary.status_code == 415
        assert peer.close_code is None


async def test_directories(small: Server, root: str) -> None:
    await small.api.put(f"{root}/files/made/deep?type=directory")
    await small.api.put(f"{root}/files/made/deep/a", content=b"x")
    ask = small.api.request
    assert (await ask("GET", f"{root}/files/made")).status_code == 400
    assert (await ask("DELETE", f"{root}/files/made")).status_code == 409
    assert (await ask("DELETE", f"{root}/files/made?recursive=true")).status_code == 204
    assert (await ask("GET", f"{root}/tree?path=made")).status_code == 404
    assert (await ask("GET", f"{root}/tree?depth=0")).status_code == 400
    await small.api.put(f"{root}/files/from", content=b"x")
    await small.api.put(f"{root}/files/to", content=b"y")
    body = {"from": "from", "to": "to"}
    assert (await ask("POST", f"{root}/move", json=body)).status_code == 409
    assert (await ask("GET", f"{root}/files/to")).content == b"y"


# ── archives ────────────────────────────────────────────────────────────────────────────────────


def tar(*entries: tuple[str, Any], mode: str = "w:gz") -> bytes:
    """A tar archive; an entry's value is its content, or a ready TarInfo's type and link."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode=mode) as archive:  # type: ignore[call-overload]
        for name, value in entries:
            info = tarfile.TarInfo(name)
            if isinstance(value, bytes):
                info.size = len(value)
                archive.addfile(info, io.BytesIO(value))
            else:
                info.type, info.linkname = value
                archive.addfile(info)
    return output.getvalue()


def zipped(*entries: tuple[str, bytes]) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return output.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        tar(("p/a.txt", b"one"), ("q/b/c.txt", b"two")),
        tar(("p/a.txt", b"one"), ("q/b/c.txt", b"two"), mode="w"),
        zipped(("p/a.txt", b"one"), ("q/b/c.txt", b"two")),
    ],
)
async def test_archives_are_unpacked(small: Server, root: str, archive: bytes) -> None:
    done = await small.api.put(f"{root}/archive", content=archive)
    assert done["bytes"] == 6
    assert (await small.api.request("GET", f"{root}/files/p/a.txt")).content == b"one"
    assert (await small.api.request("GET", f"{root}/files/q/b/c.txt")).content == b"two"
    for folder in "pq":
        await small.api.delete(f"{root}/files/{folder}?recursive=true")


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive at all",
        b"\x1f\x8b" + b"broken" * 100,
        b"PK\x03\x04" + b"broken" * 100,
        tar(("bad/a", b"x" * 1000))[:-40],
        tar(("bad/a", b"x"), ("../escaped", b"x")),
        tar(("bad/a", b"x"), ("bad/../../escaped", b"x")),
        tar(("bad/a", b"x"), ("/tmp/escaped", b"x")),
        tar(("bad/link", (tarfile.SYMTYPE, "/etc")), ("bad/link/escaped", b"x")),
        tar(("bad/link", (tarfile.SYMTYPE, "../..")), ("bad/link/escaped", b"x")),
        tar(("bad/hard", (tarfile.LNKTYPE, "/etc/passwd"))),
        tar(("bad/device", (tarfile.CHRTYPE, ""))),
        zipped(("bad/a", b"x"), ("../escaped", b"x")),
        zipped(("bad/a", b"x"), ("/tmp/escaped", b"x")),
        zipped(("bad/zeros", bytes(3 * MIB))),
        tar(("bad/zeros", bytes(3 * MIB))),
        tar(*((f"bad/{number}", b"") for number in range(101))),
        bytes(MIB + 1),
    ],
    ids=count(),  # what they hold tells when they were made
)
async def test_bad_archives_are_refused_and_leave_nothing(
    small: Server, workspace: str, root: str, archive: bytes
) -> None:
    before = await small.api.get(f"{root}/tree?depth=3")
    response = await small.api.request("PUT", f"{root}/archive", content=archive)
    assert response.status_code in (400, 403, 413), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.json()["detail"]) > 10
    after = await small.api.get(f"{root}/tree?depth=3")
    assert [each["path"] for each in after["entries"]] == [
        each["path"] for each in before["entries"]
    ]
