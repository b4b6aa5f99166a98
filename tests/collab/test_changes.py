"""What has changed since a moment, from a journal that was written by hand."""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec

from cloudide.collab.changes import changes
from cloudide.collab.history import Name
from cloudide.collab.journal import Journal

MINUTE = 60


async def test_files_people_and_what_to_compare_with(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    await journal.start()

    def write(db: apsw.Connection) -> None:
        def room(id: int, path: str, *rows: tuple[int, str]) -> None:
            db.execute(
                "INSERT INTO rooms(id, workspace, path, epoch, format, created, agreed_hash,"
                " agreed_upto, agreed_extras) VALUES (?, 'w', ?, ?, '{}', 0, '', 0, x'')",
                (id, path, str(id)),
            )
            for seq, (minute, author) in enumerate(rows):
                db.execute(
                    "INSERT INTO updates VALUES (?, ?, ?, ?, x'')",
                    (id, seq, author, minute * MINUTE + 1.5),
                )

        room(1, "edited", (10, "ada"), (20, "ada"), (22, "bo"), (25, "ada"))
        room(2, "old", (10, "bo"))
        room(3, "opened", (21, "disk"))
        room(6, "new", (21, "disk"), (21, "bo"))
        room(4, "formatted", (9, "bo"), (21, "disk"))
        room(5, "folded", (24, "ada"))
        for last, minute, names in ((1, 12, ["cy"]), (2, 23, ["bo", "cy"])):
            db.execute(
                "INSERT INTO history(room, last, minute, authors, delta) VALUES (5, ?, ?, ?, x'')",
                (last, minute, msgspec.json.encode(names)),
            )

    await journal.transact(write)
    try:
        found, truncated = await changes(journal, "w", 20 * MINUTE + 59)
        assert not truncated
        assert [(each.path, each.authors, each.before) for each in found] == [
            ("edited", {"ada": 25, "bo": 22}, Name(1, 10)),
            ("folded", {"bo": 23, "cy": 23, "ada": 24}, Name(5, 12)),
            ("formatted", {"disk": 21}, Name(4, 9)),
            ("new", {"bo": 21}, None),
        ]
        assert await changes(journal, "other", 0) == ([], False)
    finally:
        await journal.close()
