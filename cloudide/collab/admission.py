"""Whether a document can take an update that is well-formed and builds on what it has.

Beyond its shape (`protocol/updates.py`), an update may do what the CRDT library cannot: part a
character of two UTF-16 units in two, or carry structures with which it damages a document. And two
documents that share a client id may say different things about the same clocks.
"""

from __future__ import annotations

import asyncio

import structlog
from pycrdt import Doc, Text

from cloudide.collab.text import document_of
from cloudide.protocol.collisions import contradicts
from cloudide.protocol.structs import Id, boundaries, second_halves
from cloudide.protocol.sync import SyncUpdate
from cloudide.protocol.updates import (
    Clocks,
    UpdateShape,
    advance,
    read_state_vector,
    read_update,
    write_state_vector,
)

_log = structlog.get_logger(__name__)


class Admission:
    """What is known of one document to judge updates by. `emitted` keeps it up to date."""

    def __init__(self, doc: Doc[Text], text: Text) -> None:
        self.clocks: Clocks = read_state_vector(doc.get_state())
        self._doc = doc
        # The second halves of the text's characters that take two clocks; most texts have none.
        self._second_halves: set[Id] = set()
        content = str(text)
        if len(content.encode("utf-16-le")) > 2 * len(content):
            self._second_halves.update(second_halves(doc.get_update()))

    def emitted(self, update: bytes, shape: UpdateShape) -> None:
        """The document has changed by `update`."""
        advance(self.clocks, shape.ends)
        if shape.wide:
            self._second_halves.update(second_halves(update))

    def refusal(self, message: SyncUpdate) -> str:
        """Why the document cannot take an update that builds on nothing but what it has, or ""."""
        shape, update = message.shape, message.update
        if (self._second_halves or shape.wide) and self._cuts(update, shape.wide):
            return "The update parts a character in two; it was not taken."
        if shape.rich and not self._bears(update):
            return "The update could not be applied; it was not taken."
        return ""

    def contradicts(self, message: SyncUpdate) -> bool:
        """Whether an update gives clocks that the document has already to other changes."""
        since = dict(self.clocks)
        for client, start in message.shape.starts.items():
            if client in since:
                since[client] = min(start, since[client])
        return contradicts(message.update, self._doc.get_update(write_state_vector(since)))

    def _cuts(self, update: bytes, wide: bool) -> bool:
        """Whether an update parts a character in two, which JavaScript can do and the CRDT library
        cannot: it would hand out nonsense from then on."""
        cuts = set(boundaries(update))
        if not cuts.isdisjoint(self._second_halves):
            return True
        return wide and not cuts.isdisjoint(second_halves(update))

    def _bears(self, update: bytes) -> bool:
        """Whether a copy of the document can take an update, and others can read what it emits.

        Only for what is more than text, of which no editor here makes any, and with which an update
        can be well-formed and still break a document.
        """
        copy, text = document_of(self._doc.get_update())
        emitted: list[bytes] = []
        subscription = copy.observe(lambda event: emitted.append(event.update))
        try:
            copy.apply_update(update)
            for each in emitted:
                read_update(each)
            _, told = document_of(copy.get_update())
            return str(text) == str(told)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the CRDT library is no Exception
            _log.info("room.update_refused", error=repr(error))
            return False
        finally:
            copy.unobserve(subscription)
