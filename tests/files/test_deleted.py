"""What was deleted comes back as it was, once, for a while, and never over something else."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from linked import Linked, linked

from cloudide.errors import Conflict, NotFound
from cloudide.files import deleted as module
from cloudide.files.archive import packed
from cloudide.files.deleted import Deleted


@pytest.fixture(scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Linked]:
    async with linked(tmp_path_factory.mktemp("deleted")) as both:
        yield both


def folder(root: Path, name: str) -> Path:
    made = root / name / "a b"
    made.mkdir(parents=True)
    (made / "é.txt").write_text("text\n")
    (made / "run").write_bytes(bytes(range(256)))
    (made / "run").chmod(0o755)
    return made


async def delete(kept: Deleted, both: Linked, path: str) -> str:
    archive = await kept.pack(both.agent, path)
    await both.agent.delete(path, recursive=True)
    return "" if archive is None else kept.add("one", path, archive)


async def test_a_folder_is_there_again_with_all_in_it(both: Linked) -> None:
    kept = Deleted()
    made = folder(both.root, "outer")
    id = await delete(kept, both, "outer/a b")
    assert not made.exists()
    with pytest.raises(NotFound):
        await kept.restore("another", both.agent, id)
    made.parent.rmdir()  # even when the folder that it was in has gone since
    assert await kept.restore("one", both.agent, id) == "outer/a b"
    assert (made / "é.txt").read_text() == "text\n"
    assert (made / "run").stat().st_mode & 0o111
    with pytest.raises(NotFound):
        await kept.restore("one", both.agent, id)


async def test_nothing_that_is_there_is_replaced(both: Linked) -> None:
    kept = Deleted()
    (both.root / "mine").write_text("old")
    id = await delete(kept, both, "mine")
    (both.root / "mine").write_text("new")
    with pytest.raises(Conflict):
        await kept.restore("one", both.agent, id)
    assert (both.root / "mine").read_text() == "new"
    (both.root / "mine").unlink()
    await kept.restore("one", both.agent, id)
    assert (both.root / "mine").read_text() == "old"


async def test_what_is_too_large_is_not_kept_and_the_oldest_goes_first(
    both: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EACH_BYTES", 100)
    (both.root / "large").write_bytes(bytes(range(256)) * 8)
    kept = Deleted()
    assert await delete(kept, both, "large") == ""
    monkeypatch.setattr(module, "KEPT_BYTES", 25)
    first, second = (kept.add("one", name, b"x" * 10) for name in "ab")
    third = kept.add("one", "c", b"x" * 10)
    with pytest.raises(NotFound):
        await kept.restore("one", both.agent, first)
    kept.forget("one")
    for id in (second, third):
        with pytest.raises(NotFound):
            await kept.restore("one", both.agent, id)


async def test_a_folder_is_packed_as_it_is_read(both: Linked) -> None:
    folder(both.root, "down")
    content = b"".join([part async for part in packed(both.agent, "down")])
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = archive.getnames()
    assert "./down/a b/é.txt" in names
    with pytest.raises(NotFound, match="nothing-there"):
        _ = [part async for part in packed(both.agent, "nothing-there")]
