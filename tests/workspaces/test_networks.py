"""Allocation of workspaces' networks, beside an engine that others use too."""

from __future__ import annotations

import ipaddress
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from docker.errors import APIError

from cloudide.errors import EngineUnavailable
from cloudide.workspaces.networks import Networks


class Client:
    """An engine's client, as far as networks go."""

    def __init__(self, taken: list[str], *, coming: list[str] | None = None) -> None:
        self.coming = coming or []  # being made by another server: refused, and not yet listed
        self.made = [{"Name": net, "IPAM": {"Config": [{"Subnet": net}]}} for net in taken]

    def networks(self, names: list[str] | None = None) -> list[dict[str, Any]]:
        return [net for net in [*self.made] if names is None or net["Name"] in names]

    def create_network(self, name: str, *, ipam: dict[str, Any], **_: object) -> None:
        if ipam["Config"][0]["Subnet"] in self.coming:
            answer = requests.Response()
            answer.status_code = 403
            raise APIError("refused", answer, "Pool overlaps with other one on this address space")
        self.made.append({"Name": name, "IPAM": {"Config": ipam["Config"]}})

    def subnets(self) -> list[ipaddress.IPv4Network]:
        return [ipaddress.IPv4Network(net["IPAM"]["Config"][0]["Subnet"]) for net in self.made]


def test_two_hundred_at_once_have_room_for_services_and_overlap_nothing() -> None:
    """From several threads, as the engine's pool has; somebody else has a part of the pool."""
    client = Client(["10.213.4.0/22", "172.17.0.0/16", "10.213.0.32/28"])
    networks = Networks("10.213.0.0/16")
    names = [f"cloudide-{secrets.token_hex(4)}" for _ in range(200)]
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda name: networks.ensure(client, name, {}), names))  # type: ignore[arg-type]
    assert all(made)
    subnets = client.subnets()
    assert len(subnets) == 203
    ours = subnets[3:]
    assert {net.prefixlen for net in ours} == {28}
    for index, net in enumerate(subnets):
        assert not any(net.overlaps(other) for other in subnets[index + 1 :])


def test_what_another_server_is_making_now_is_passed_over() -> None:
    """However long it takes there: asking for the same one again would use up all attempts."""
    client = Client([], coming=["10.213.0.0/28", "10.213.0.16/28"])
    assert Networks("10.213.0.0/16").ensure(client, "one", {})  # type: ignore[arg-type]
    assert client.subnets() == [ipaddress.IPv4Network("10.213.0.32/28")]


def test_a_pool_that_is_used_up_says_so() -> None:
    client = Client([])
    networks = Networks("10.213.0.0/27")
    for name in ("one", "two"):
        assert networks.ensure(client, name, {})  # type: ignore[arg-type]
    assert not networks.ensure(client, "two", {})  # type: ignore[arg-type]
    with pytest.raises(EngineUnavailable, match="set a larger network_pool"):
        networks.ensure(client, "three", {})  # type: ignore[arg-type]
