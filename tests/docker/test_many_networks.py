"""As many workspaces as a server may have: each gets a /28 of its own from a real engine."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from cloudide.workspaces.engine import Engine
from cloudide.workspaces.networks import Networks

pytest_plugins = ["engine"]

POOL = "10.214.0.0/16"  # nobody else's, so that what is made can be counted


@pytest.mark.timeout(600)
async def test_two_hundred_networks_at_once(
    engine: Engine, soak: Callable[[int, int], int]
) -> None:
    """Asked for side by side, as many as the engine takes at a time; none overlaps another."""
    instance = f"test{secrets.token_hex(3)}"
    labels = {"cloudide.instance": instance}
    names = [f"cloudide-{instance}-{number}" for number in range(soak(200, 4))]
    networks = Networks(POOL)

    def listed(client: Any) -> list[dict[str, Any]]:
        return client.networks(filters={"label": f"cloudide.instance={instance}"})

    try:
        made = await asyncio.gather(
            *(
                engine.call(lambda client, name=name: networks.ensure(client, name, labels))
                for name in names
            )
        )
        assert made == [True] * len(names)
        found = await engine.call(listed)
        assert sorted(each["Name"] for each in found) == sorted(names)
        subnets = [ipaddress.IPv4Network(each["IPAM"]["Config"][0]["Subnet"]) for each in found]
        assert {net.prefixlen for net in subnets} == {28}
        assert len(set(subnets)) == len(names)
        assert all(net.subnet_of(ipaddress.IPv4Network(POOL)) for net in subnets)
    finally:
        for each in await engine.call(listed):
            await engine.call(lambda client, id=each["Id"]: client.remove_network(id))
    assert await engine.call(listed) == []
