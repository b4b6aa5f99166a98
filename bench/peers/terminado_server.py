"""A terminado server: one terminal for each websocket, or with `--shared` one for all.

The program is given as arguments.
"""

# Installed for the benchmarks alone.
# pyright: reportMissingImports=false

from __future__ import annotations

import os
import sys

from terminado.management import SingleTermManager, UniqueTermManager
from terminado.websocket import TermSocket
from tornado.ioloop import IOLoop
from tornado.web import Application


def main() -> None:
    command = sys.argv[1:]
    if command[0] == "--shared":
        manager = SingleTermManager(shell_command=command[1:])
    else:
        manager = UniqueTermManager(shell_command=command)
    application = Application([("/terminal", TermSocket, {"term_manager": manager})])
    application.listen(int(os.environ["PORT"]), os.environ["HOST"])
    IOLoop.current().start()


main()
