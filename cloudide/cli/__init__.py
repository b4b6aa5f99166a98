"""The command line: `cloudide serve` and what administrators need beside it."""

from cloudide.cli.main import main

__all__ = ["main"]
