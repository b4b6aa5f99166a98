"""What Git in this workspace is given by the environment: hooks, an identity, hands.

All of it lies in a folder of the agent's own, and is named by variables, so that neither an image
nor anybody's configuration has to be changed:

    hooks/       `core.hooksPath`: each runs the repository's own hook of that name, and those that
                 are ours do their part after it
    terminals/   who types in a terminal, as configuration that its Git reads (`include.path`)
    exec/        `GIT_EXEC_PATH` of terminals: Git's own programs, and in place of those that speak
                 HTTP ours, which asks for a sign-in where there would be none (`git_remote`)
    socket       where these ask the agent

Whoever says `git -c core.hooksPath=…`, or unsets the variables, is without.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cloudide.agent.failures import Refused
from cloudide.agent.user import User, find_program
from cloudide.protocol.questions import KnowTypist

# Those of githooks(5) that Git runs in the repository of whoever calls it. Whether there is one
# changes nothing but for these names not listed: push-to-checkout and proc-receive.
HOOKS = (
    "applypatch-msg",
    "commit-msg",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-rewrite",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "prepare-commit-msg",
    "reference-transaction",
    "sendemail-validate",
)
OURS = ("prepare-commit-msg", "commit-msg")
HTTP = ("git-remote-http", "git-remote-https")
SOCKET = "socket"
TIMEOUT = 5.0  # seconds that Git has to say where its programs are

log = logging.getLogger("cloudide.agent")

# A hook of the repository is found where Git would look without us: the last `core.hooksPath` that
# is not ours, else the repository's folder. Its standard input is passed on untouched.
_HOOK = """#!/bin/sh
ours={folder}
name=${{0##*/}}
folder=$(git config --type=path --get-all core.hooksPath 2>/dev/null \\
    | grep -Fvx -- "$ours" | tail -n 1)
[ -n "$folder" ] || folder=$(git rev-parse --git-common-dir 2>/dev/null)/hooks
if [ -x "$folder/$name" ]; then
    {run}
fi
{after}
"""
_CREDENTIAL = """#!/bin/sh
# Asked by Git when nobody else knew a sign-in: see git_remote.py.
[ "$1" = get ] || exit 0
[ -n "$CLOUDIDE_GIT_MARK" ] || exit 0
cat > "$CLOUDIDE_GIT_MARK"
echo quit=1
"""


class GitEnvironment:
    """`folder` is None where none can be made; then Git is as it is without us."""

    def __init__(self, user: User, root: str) -> None:
        self._user = user
        self._prepared = False
        try:
            self.folder: Path | None = Path(tempfile.mkdtemp(prefix="cloudide-git-"))
        except OSError as error:
            log.warning("Git is without our hooks: %s", error)
            self.folder = None
            return
        program = shlex.join(_command("git_hook"))
        hooks = self.folder / "hooks"
        hooks.mkdir()
        (self.folder / "terminals").mkdir()
        for name in HOOKS:
            ours = name in OURS
            text = _HOOK.format(
                folder=shlex.quote(str(hooks)),
                run='"$folder/$name" "$@" || exit $?' if ours else 'exec "$folder/$name" "$@"',
                after=f'exec {program} {name} "$@"' if ours else "exit 0",
            )
            _write_program(hooks / name, text)
        _write_program(self.folder / "credential", _CREDENTIAL)
        user.environment |= self._configured(user.environment, [("core.hooksPath", str(hooks))])
        user.environment |= {"CLOUDIDE_GIT": str(self.folder), "CLOUDIDE_GIT_ROOT": root}

    @property
    def socket(self) -> str:
        return str(self.folder / SOCKET) if self.folder is not None else ""

    def of_terminal(self, id: str) -> dict[str, str]:
        """What the programs of a terminal get besides."""
        if self.folder is None or not id.isalnum():
            return {}
        self._prepare()
        identity = self.folder / "terminals" / id
        environment = self._configured(self._user.environment, [("include.path", str(identity))])
        environment |= {
            "CLOUDIDE_TERMINAL": id,
            "GIT_CONFIG_SYSTEM": f"{identity}.system",
        }
        if not identity.exists():  # or else somebody is known to type there
            self._write_identity(id, "", "")
        if (programs := self.folder / "exec").is_dir():
            environment["GIT_EXEC_PATH"] = str(programs)
        return environment

    def know_typist(self, typist: KnowTypist) -> None:
        """From the next Git on, commits of this terminal are this person's."""
        if self.folder is None or not typist.terminal.isalnum():
            return
        user = f"[user]\n\tname = {_quoted(typist.name)}\n\temail = {_quoted(typist.email)}\n"
        self._write_identity(
            typist.terminal, "" if typist.usual else user, user if typist.usual else ""
        )

    def forget_terminal(self, id: str) -> None:
        if self.folder is not None and id.isalnum():
            for name in (id, f"{id}.system"):
                (self.folder / "terminals" / name).unlink(missing_ok=True)

    def close(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write_identity(self, id: str, always: str, usual: str) -> None:
        assert self.folder is not None
        former = self._user.environment.get("GIT_CONFIG_SYSTEM", "/etc/gitconfig")
        system = f"{usual}[include]\n\tpath = {_quoted(former)}\n"
        for name, text in ((id, always), (f"{id}.system", system)):
            path = self.folder / "terminals" / name
            part = path.with_name(f"{name}.part")
            part.write_text(text)
            part.rename(path)  # a Git that reads meanwhile sees one or the other

    def _configured(
        self, environment: Mapping[str, str], pairs: list[tuple[str, str]]
    ) -> dict[str, str]:
        """What to add to an environment for more configuration (git-config(1))."""
        count = environment.get("GIT_CONFIG_COUNT", "0")
        first = int(count) if count.isascii() and count.isdigit() else 0
        configured = {"GIT_CONFIG_COUNT": str(first + len(pairs))}
        for number, (key, value) in enumerate(pairs, first):
            configured[f"GIT_CONFIG_KEY_{number}"] = key
            configured[f"GIT_CONFIG_VALUE_{number}"] = value
        return configured

    def _prepare(self) -> None:
        """Make `exec` once there is a Git; it is looked for at each terminal until then."""
        if self._prepared or self.folder is None:
            return
        try:
            git = find_program("git", self._user.environment["PATH"])
            said = subprocess.run(
                [git, "--exec-path"],
                env=self._user.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=True,
            )
        except (Refused, OSError, subprocess.SubprocessError):
            return
        self._prepared = True
        real = Path(said.stdout.strip())
        if not all(os.access(real / name, os.X_OK) for name in HTTP):
            return
        folder = self.folder / "exec.part"
        folder.mkdir()
        for name in os.listdir(real):
            if name not in HTTP:
                (folder / name).symlink_to(real / name)
        program = shlex.join([*_command("git_remote"), str(real)])
        for name in HTTP:
            _write_program(folder / name, f'#!/bin/sh\nexec {program} {name} "$@"\n')
        folder.rename(self.folder / "exec")


def _command(module: str) -> list[str]:
    """How to run a module of ours with the very interpreter that runs the agent."""
    arguments = Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    own = [argument.decode() for argument in arguments]
    start = own[: own.index("-m")] if "-m" in own else own[:1]
    if not os.path.isabs(start[0]):
        start[0] = shutil.which(start[0]) or start[0]
    return [*start, "-m", f"cloudide.agent.{module}"]


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _quoted(value: str) -> str:
    """A value of a configuration file (git-config(1), Syntax)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char for char in escaped if char.isprintable()) + '"'
