"""The directory that a workspace's container sees: listening sockets and the token for them.

The directory is mounted, not the socket: a restarted server binds a new inode under the same name.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from pathlib import Path

from cloudide.protocol.agent import TOKEN_NAME

BACKLOG = 128
TOKEN_BYTES = 32


class LinkDirectory:
    """`<run>/<workspace>/`, readable by every uid a container may run as.

    The run directory above it is the server's own (0700), so that nobody else on the host gets
    in; a mounted directory is reached without passing through its parents.
    """

    def __init__(self, run_directory: Path, workspace_id: str) -> None:
        self.path = run_directory / workspace_id
        run_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_directory.chmod(0o700)
        self.path.mkdir(mode=0o755, exist_ok=True)
        self.path.chmod(0o755)  # mkdir's mode passes the umask
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        # Paths through the descriptor stay short: a socket's name has at most 107 bytes (unix(7)).
        self._through = Path(f"/proc/self/fd/{self._descriptor}")

    def token(self) -> str:
        """The workspace's token; made once, so that a server's restart cuts no agent off."""
        path = self._through / TOKEN_NAME
        try:
            if token := path.read_text():
                return token
        except FileNotFoundError:
            pass
        return self.new_token()

    def new_token(self) -> str:
        """Another token in the place of the former, which opens nothing from now on."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        part = self._through / f".{TOKEN_NAME}.part"
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o444)
        part.rename(self._through / TOKEN_NAME)
        return token

    def bind(self, name: str) -> socket.socket:
        """A listening socket that takes the place of a former server's in one step."""
        part = self._through / f".{name}.part"
        part.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(str(part))
            part.chmod(0o666)
            listener.listen(BACKLOG)
            part.rename(self._through / name)
        except BaseException:
            listener.close()
            raise
        return listener

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)
