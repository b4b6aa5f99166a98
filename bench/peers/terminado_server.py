"""A terminado server: one terminal for each websocket; the program is given as arguments."""

# Installed for the benchmarks alone.
# pyright: reportMissingImports=false

from __future__ import annotations

import os
import sys

from terminado.management import UniqueTermManager
from terminado.websocket import TermSocket
from tornado.ioloop import IOLoop
from tornado.web import Application


def main() -> None:
    manager = UniqueTermManager(shell_command=sys.argv[1:])
    application = Application([("/terminal", TermSocket, {"term_manager": manager})])
    application.listen(int(os.environ["PORT"]), os.environ["HOST"])
    IOLoop.current().start()


main()
