from __future__ import annotations

import base64
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
    old, first = former.seal(b"old", "x"), former.newest
    add_key(tmp_path)
    sealing = Sealing.start(tmp_path)
    assert sealing.open(old, "x") == b"old"
    assert key_of(old) == first != sealing.newest
    assert key_of(sealing.seal(b"new", "x")) == sealing.newest
    # A server that runs meanwhile goes on with it.
    assert key_of(former.seal(b"new", "x")) == sealing.newest
    (tmp_path / KEY_FILE).write_text((tmp_path / KEY_FILE).read_text().splitlines()[1] + "\n")
    with pytest.raises(Unsealable, match=first.hex()):
        Sealing.start(tmp_path).open(old, "x")


@pytest.mark.parametrize("content", ["", "nonsense", "00112233 c2hvcnQ=\n"], ids=["e", "n", "s"])
def test_a_file_without_keys_is_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / KEY_FILE).write_text(content)
    with pytest.raises(Unsealable, match="not a file of keys"):
        Sealing.start(tmp_path)
    with pytest.raises(Unsealable):
        add_key(tmp_path)
    assert (tmp_path / KEY_FILE).read_text() == content


def test_keys_that_are_given(tmp_path: Path) -> None:
    one, two = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    old = Sealing.start(tmp_path, given=one).seal(b"old", "x")
    both = Sealing.start(tmp_path, given=f"{one}, {two}")
    assert both.open(old, "x") == b"old"
    assert key_of(both.seal(b"new", "x")) != key_of(old)
    assert not (tmp_path / KEY_FILE).exists()
    for wrong in ("x", ",", base64.b64encode(b"short").decode()):
        with pytest.raises(Unsealable) as refused:
            Sealing.start(tmp_path, given=wrong)
        assert wrong == "," or wrong not in refused.value.message


def test_a_file_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "mounted"
    Sealing.start(tmp_path, file=str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / KEY_FILE).exists()
