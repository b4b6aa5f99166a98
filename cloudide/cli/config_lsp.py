"""`cloudide config-lsp`: our language server for editors on a desktop."""

from __future__ import annotations

import logging
import sys

from cloudide.languages.config.server import create


def config_lsp() -> None:
    """Serve one client over standard input and output, until it ends."""
    # Standard output belongs to the protocol.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    create().start_io()
