"""A Git repository as a build context: fetched by Git in a container, never by the server.

What a repository holds is a stranger's; and the address is fetched from where the build's own steps
could fetch it as well, behind the firewall of workspaces.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cloudide.images.builder import Builder, Telling
from cloudide.images.containers import SECRETS, InMemory, Run, put
from cloudide.images.stock import PASSED_ON, StockImages

IMAGE = "base"
COMMIT, FILES = "/tmp/commit", "/tmp/src"  # noqa: S108
TOKEN = "GIT_TOKEN"  # noqa: S105

# "$1" is the address, "$2" the reference; what is printed is the build's log.
_SCRIPT = f"""
set -eu
export HOME=/tmp
mkdir {FILES} && cd {FILES}
git -c init.defaultBranch=main init --quiet
git config http.followRedirects false
git config core.symlinks true
if [ -r {SECRETS}/{TOKEN} ]; then
  helper='!f() {{ echo username=token; echo "password=$(cat {SECRETS}/{TOKEN})"; }}; f'
  git config credential.helper "$helper"
fi
git fetch --quiet --depth 1 -- "$1" "${{2:-HEAD}}"
git -c advice.detachedHead=false checkout --quiet FETCH_HEAD
git rev-parse HEAD > {COMMIT}
rm -rf .git
"""


async def fetch(
    builder: Builder,
    stock: StockImages,
    *,
    build: str,
    url: str,
    ref: str,
    secrets: Mapping[str, bytes],
    ca_bundle: Path | None,
    folder: Path,
    tell: Telling,
) -> tuple[str, Path]:
    """The commit, and a tar in `folder` whose folder `src` has the files; the caller collects
    what lies there.

    Raises:
        BuildFailed: Git's own words say why.
    """
    image = await stock.ensure(IMAGE)
    environment = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:http:git:ssh"}
    environment |= {key: os.environ[key] for key in PASSED_ON if os.environ.get(key)}
    binds: list[str] = []
    if ca_bundle:
        binds.append(f"{ca_bundle}:/etc/cloudide-ca.pem:ro")
        environment["GIT_SSL_CAINFO"] = "/etc/cloudide-ca.pem"
    with InMemory(builder.instance) as memory:
        if TOKEN in secrets:
            put(memory / "secrets" / TOKEN, secrets[TOKEN])
            binds.append(f"{memory / 'secrets'}:{SECRETS}:ro")
        async with builder.fenced(build, tell) as network:
            ran = await builder.run(
                Run(
                    image=image,
                    command=_SCRIPT,
                    words=["fetch", url, ref],
                    binds=binds,
                    network=network,
                    memory=builder.limits.memory,
                    cpus=builder.limits.cpus,
                    labels=builder.labels(build),
                    environment=environment,
                ),
                tell.output,
            )
            try:
                if ran.status:
                    raise tell.failed(f"returned a non-zero code: {ran.status}")
                commit = await builder.engine.call(lambda client: ran.file(client, COMMIT))
                handle, name = tempfile.mkstemp(dir=folder, prefix="fetched-")
                os.close(handle)
                archive = Path(name)
                await builder.engine.call(lambda client: ran.save(client, FILES, archive))
                return commit.decode().strip(), archive
            finally:
                await builder.engine.call(ran.remove)
