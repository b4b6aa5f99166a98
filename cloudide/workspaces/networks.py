"""One small bridge network for each workspace, cut from a pool of our own.

The engine's default pool runs out at the thirtieth network, so subnets are chosen here: the first
/28 of the pool that no network of the engine overlaps. Bridges are named `cide-…`, which is how the
firewall knows them.
"""

from __future__ import annotations

import hashlib
import ipaddress
import threading
from typing import TYPE_CHECKING

import structlog

from cloudide.errors import EngineUnavailable

if TYPE_CHECKING:
    from docker.api.client import APIClient

log = structlog.get_logger()

BRIDGE_PREFIX = "cide-"
PREFIX_LENGTH = 28
ATTEMPTS = 8  # another server on the same engine may take a subnet between looking and asking


class Networks:
    """Creates and removes networks; its functions block and may be called from several threads."""

    def __init__(self, pool: str) -> None:
        self._pool = ipaddress.IPv4Network(pool)
        self._lock = threading.Lock()
        self._promised: set[ipaddress.IPv4Network] = set()

    def ensure(self, client: APIClient, name: str, labels: dict[str, str]) -> bool:
        """Make the network unless it exists; whether it was made.

        Raises:
            EngineUnavailable: the pool is used up.
        """
        import docker.errors
        from docker.types import IPAMConfig, IPAMPool

        present = client.networks(names=[name])
        if any(network["Name"] == name for network in present):  # the filter matches substrings
            return False
        refused: set[ipaddress.IPv4Network] = set()
        for _ in range(ATTEMPTS):
            subnet = self._choose(client, refused)
            try:
                client.create_network(
                    name,
                    driver="bridge",
                    options={
                        "com.docker.network.bridge.name": bridge_name(name),
                        # Between a workspace and its own services; no other is on it.
                        "com.docker.network.bridge.enable_icc": "true",
                    },
                    ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))]),
                    check_duplicate=True,
                    labels=labels,
                )
                return True
            except docker.errors.APIError as error:
                if error.status_code == 409:
                    return False  # Made by somebody else since we looked.
                if "overlap" not in str(error.explanation):
                    raise
                # The engine lists a network when it is made, and refuses its subnet before that.
                refused.add(subnet)
                log.info("network.subnet_taken", subnet=str(subnet))
            finally:
                with self._lock:
                    self._promised.discard(subnet)
        raise EngineUnavailable("No free network could be found for the workspace; try again.")

    def _choose(
        self, client: APIClient, refused: set[ipaddress.IPv4Network]
    ) -> ipaddress.IPv4Network:
        with self._lock:
            # Looking and choosing are one step: what another thread makes meanwhile is promised
            # until this has chosen.
            used = [
                ipaddress.ip_network(config["Subnet"])
                for network in client.networks()
                for config in (network.get("IPAM") or {}).get("Config") or []
                if config.get("Subnet")
            ]
            taken = [net for net in used if isinstance(net, ipaddress.IPv4Network)]
            taken = [net for net in taken if net.overlaps(self._pool)]
            exact = {net for net in taken if net.prefixlen == PREFIX_LENGTH} | refused
            others = [net for net in taken if net.prefixlen != PREFIX_LENGTH]
            for subnet in self._pool.subnets(new_prefix=PREFIX_LENGTH):
                if subnet in exact or subnet in self._promised:
                    continue
                if any(subnet.overlaps(other) for other in others):
                    continue
                self._promised.add(subnet)
                return subnet
        raise EngineUnavailable(
            f"All workspace networks of the pool {self._pool} are in use. Delete workspaces, or "
            "set a larger network_pool."
        )


def bridge_name(network: str) -> str:
    """The interface's name: at most 15 characters (IFNAMSIZ), the same for the same network."""
    return BRIDGE_PREFIX + hashlib.sha256(network.encode()).hexdigest()[:10]
