"""Fences workspaces off from the engine's host, with iptables.

The engine's own rules keep workspace networks apart. They leave two ways open, closed here:

* from a container to the host itself (any service that listens there, the server included);
* from a container to the link-local metadata address of a cloud machine (169.254.169.254).

Replies to what the host asked for pass. The internet, through the engine's NAT, stays reachable.
Rules lie in two chains of ours, so applying them again changes nothing and nobody else's are
touched.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cloudide.workspaces.networks import BRIDGE_PREFIX

INPUT_CHAIN = "CLOUDIDE-INPUT"
FORWARD_CHAIN = "CLOUDIDE-FORWARD"
BRIDGES = f"{BRIDGE_PREFIX}+"  # iptables' wildcard
LINK_LOCAL = {"iptables": "169.254.0.0/16", "ip6tables": "fe80::/10"}
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 10  # seconds, the wait for other users of iptables included


def apply(engine_host: str) -> list[str]:
    """Put the rules in place, blocking; answer a sentence for each thing that stays open."""
    if engine_host and not engine_host.startswith("unix:"):
        return [
            "The engine is on another machine, so its firewall was left alone: workspaces may "
            "reach that machine's own services and its cloud's metadata address."
        ]
    warnings: list[str] = []
    tools = ["iptables"]
    if Path("/proc/sys/net/ipv6").exists():
        tools.append("ip6tables")
    for tool in tools:
        try:
            _apply(tool)
        except (OSError, subprocess.SubprocessError) as error:
            output = getattr(error, "stderr", None) or str(error)
            family = "IPv4" if tool == "iptables" else "IPv6"
            warnings.append(
                f"The {family} firewall could not be set ({' '.join(str(output).split())}): "
                "workspaces may reach this machine's own services and its cloud's metadata "
                "address. Run the server as root with iptables installed to close this."
            )
    return warnings


def _apply(tool: str) -> None:
    program = shutil.which(tool, path=SEARCH_PATH)
    if program is None:
        raise FileNotFoundError(f"{tool} is not installed")
    rules = [
        "*filter",
        f":{INPUT_CHAIN} - [0:0]",  # declaring a chain of ours empties it
        f":{FORWARD_CHAIN} - [0:0]",
        f"-A {INPUT_CHAIN} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        f"-A {INPUT_CHAIN} -j DROP",
        f"-A {FORWARD_CHAIN} -o {BRIDGES} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
        # What stays on one bridge is between a workspace and its own services. (Kernels that do
        # not show such packets to iptables let them pass anyway.)
        f"-A {FORWARD_CHAIN} -m physdev --physdev-is-bridged -j RETURN",
        f"-A {FORWARD_CHAIN} -o {BRIDGES} -j DROP",
        f"-A {FORWARD_CHAIN} -d {LINK_LOCAL[tool]} -j DROP",
        "COMMIT",
        "",
    ]
    _run(f"{program}-restore", "--wait", "5", "--noflush", input="\n".join(rules))
    _jump(program, "INPUT", INPUT_CHAIN)
    # The engine keeps DOCKER-USER first in FORWARD however often it rewrites its own rules.
    forward = "DOCKER-USER" if _succeeds(program, "-n", "-L", "DOCKER-USER") else "FORWARD"
    _jump(program, forward, FORWARD_CHAIN)


def _jump(program: str, chain: str, target: str) -> None:
    rule = [chain, "-i", BRIDGES, "-j", target]
    if not _succeeds(program, "-C", *rule):
        _run(program, "--wait", "5", "-I", *rule)


def _run(*command: str, input: str | None = None) -> None:
    subprocess.run(
        command, input=input, check=True, capture_output=True, text=True, timeout=TIMEOUT
    )


def _succeeds(program: str, *arguments: str) -> bool:
    command = [program, "--wait", "5", *arguments]
    return not subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT).returncode
