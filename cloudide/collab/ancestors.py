"""What a file on disk may have been made from: the last states that the room wrote there.

A program that read the file, took its time and wrote it back (`sed -i`, a formatter) did not mean
to undo what the room wrote meanwhile. Taken as a change of the latest state it would look as if
people's last words had been deleted; taken as a change of the state that the program read, it
merges.
"""

from __future__ import annotations

import time
from collections import deque

import msgspec
from pycrdt import Text

from cloudide.collab.records import Agreement, Former, RoomRecord
from cloudide.collab.text import CONTENT, diff, is_stale

# A program may take so long between reading and writing (a formatter takes about a second).
SECONDS = 10.0
STATES = 16
BYTES = 4 * 1024 * 1024


class Ancestor(msgspec.Struct, frozen=True):
    """What was agreed with the disk until `until` (seconds since the epoch)."""

    until: float
    agreement: Agreement
    text: str
    state: bytes


class Ancestors:
    """The former agreements of one room, bounded in number and size; the journal has them too."""

    def __init__(self, record: RoomRecord) -> None:
        # Built when a file is found changed, which needs them.
        self._known: deque[Ancestor | Former] = deque(record.former, maxlen=STATES)
        self._record = record if record.former else None

    def remember(self, agreement: Agreement, text: str, state: bytes) -> None:
        """This is agreed no longer."""
        if len(state) > BYTES:
            return
        self._known.append(Ancestor(time.time(), agreement, text, state))
        while sum(len(each.state) for each in self._known if isinstance(each, Ancestor)) > BYTES:
            self._known.popleft()

    def since(self, upto: int) -> dict[int, bytes]:
        """Forget what was agreed before update `upto`, but for the last seconds; returns the states
        of those, by their number."""
        earliest = time.time() - SECONDS
        kept = [
            each for each in self._known if each.agreement.upto >= upto or each.until >= earliest
        ]
        self._known = deque(kept, maxlen=STATES)
        return {
            each.agreement.upto: self._built(each).state
            for each in kept
            if each.agreement.upto < upto
        }

    def forget(self) -> None:
        self._record = None
        self._known.clear()

    def of(self, hash: str, disk: str, agreed: str, written: float) -> Ancestor | None:
        """The state that `disk` was made from, if it is an earlier one than the `agreed` text.

        `written` is when the file was written; only what was agreed shortly before that counts, and
        the server may have been down in between. A content that was agreed before, unchanged, is a
        change back on purpose.
        """
        earliest = min(time.time(), written) - SECONDS
        known = [each for each in self._known if each.until >= earliest]
        if any(each.agreement.hash == hash for each in known):
            return None
        recent = [self._built(each) for each in known]
        stale = [ancestor for ancestor in recent if is_stale(ancestor.text, agreed, disk)]
        if not stale:
            return None
        nearest = min(stale, key=lambda ancestor: distance(ancestor.text, disk))
        return nearest if distance(nearest.text, disk) < distance(agreed, disk) else None

    def _built(self, former: Ancestor | Former) -> Ancestor:
        if isinstance(former, Ancestor):
            return former
        assert self._record is not None
        agreement = former.agreement
        document = self._record.state_at(agreement.upto, agreement.extras)
        text = str(document.get(CONTENT, type=Text))
        built = Ancestor(former.until, agreement, text, document.get_update())
        self._known[self._known.index(former)] = built
        return built


def distance(one: str, other: str) -> int:
    """How many characters a change from one text to the other touches."""
    return sum(hunk.end - hunk.start + len(hunk.text) for hunk in diff(one, other))
