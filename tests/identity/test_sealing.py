from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cloudide.identity.sealing import KEY_FILE, Sealing, Unsealable, add_key, key_of


def test_a_value_opens_where_it_belongs_and_nowhere_else(tmp_path: Path) -> None:
    sealing = Sealing.start(tmp_path)
    sealed = sealing.seal(b"hunter2", "git-credential a")
    assert b"hunter2" not in sealed
    assert sealed != sealing.seal(b"hunter2", "git-credential a")
    assert Sealing.start(tmp_path).open(sealed, "git-credential a") == b"hunter2"
    with pytest.raises(Unsealable, match="moved"):
        sealing.open(sealed, "git-credential b")
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


def test_every_changed_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    sealing = Sealing.start(tmp_path)
    sealed = sealing.seal(b"secret", "x")
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        for damaged in (bytes(changed), sealed[:at]):
            with pytest.raises(Unsealable):
                sealing.open(damaged, "x")


def test_a_new_key_seals_and_the_former_still_opens(tmp_path: Path) -> None:
    former = Sealing.start(tmp_path)
    old = former.seal(b"old", "x")
    add_key(tmp_path)
    sealing = Sealing.start(tmp_path)
    assert sealing.open(old, "x") == b"old"
    assert key_of(old) == former.newest != sealing.newest
    assert key_of(sealing.seal(b"new", "x")) == sealing.newest
    (tmp_path / KEY_FILE).write_text((tmp_path / KEY_FILE).read_text().splitlines()[1] + "\n")
    with pytest.raises(Unsealable, match=former.newest.hex()):
        Sealing.start(tmp_path).open(old, "x")


@pytest.mark.parametrize("content", ["", "nonsense", "00112233 c2hvcnQ=\n"], ids=["e", "n", "s"])
def test_a_file_without_keys_is_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / KEY_FILE).write_text(content)
    with pytest.raises(Unsealable, match="not a file of keys"):
        Sealing.start(tmp_path)
    with pytest.raises(Unsealable):
        add_key(tmp_path)
    assert (tmp_path / KEY_FILE).read_text() == content
