"""What an editor may add to LSP on `WS …/lsp/{language}`; one that adds nothing is served as well.

The socket carries plain LSP 3.17, one JSON-RPC message in each text frame (a binary one is taken as
UTF-8). Documents are those of the collab rooms: `didOpen` and `didClose` say which ones an editor
wants to hear of, and the text in them, and in `didChange`, only shows which version it has.

*Capability.* An editor that says `capabilities.experimental.cloudide` with `{"edits": true}` at
`initialize` joins the rooms itself. It is told `textDocumentSync.change: 0` and sends no changes,
and the capability `experimental.cloudide: {"root": "file:///workspace"}`.

*Positions while people type.* It adds to the parameters of a request a member `cloudide`:

    {"client": 1234, "updates": 17, "anchor": "AAUCAA==", "end": "AAUHAA=="}

`client` is the Yjs client id that its awareness has in the document's room, and `updates` how many
update messages it has sent on that document's collab connection, the answer to step 1 included: the
number that `ack` counts to. (A state vector would not do: deletions are not in it.) The request
waits until the room has taken as many, at most `WAIT` seconds. `anchor` is the place of `position`,
or of the start of `range`, as a Yjs relative position (`Y.encodeRelativePosition`) in base64, and
`end` that of the end of `range`. They are found in the newest text, which is what the server is
asked about; the plain positions beside them are taken where they are absent or cannot be found.
The answer speaks of the text as it is when it is sent.

*Edits.* What an answer would change (`textDocument/rename`, `formatting`, `rangeFormatting`,
`onTypeFormatting`) is done here, in the rooms and in files that nobody has open, all or nothing.
The result is an `Edited`, or null where there is nothing to change. Two more requests do the same:

    cloudide/applyEdit        {"label": "…", "edit": WorkspaceEdit}      → Edited | null
    cloudide/applyCodeAction  a CodeAction: it is resolved, its edit applied, its command executed
                                                                          → Edited | null

What a server does by itself while it executes a command of this editor is told by a notification
`cloudide/edited` with an `Edited`. Who made an edit takes it back, as one step, with
`POST /api/v1/workspaces/{id}/edits/{edit}/undo`.
"""

from __future__ import annotations

import msgspec

WAIT = 0.25  # seconds
ANCHOR_LIMIT = 256  # characters
APPLY_EDIT = "cloudide/applyEdit"
APPLY_CODE_ACTION = "cloudide/applyCodeAction"
EDITED = "cloudide/edited"


class Typing(msgspec.Struct, frozen=True):
    """What an editor has sent on a document's collab connection, and where in the text it is."""

    client: int = 0
    updates: int = 0
    anchor: str = ""
    end: str = ""


class Edited(msgspec.Struct, frozen=True):
    """An edit that was applied: what undoes it, what it was, and the files it changed (paths)."""

    id: str
    label: str
    files: list[str]
    edits: int
