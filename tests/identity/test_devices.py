"""The device authorization grant (RFC 8628), without a server."""

from __future__ import annotations

import re

import pytest

from cloudide.errors import Conflict, NotFound, TooMany
from cloudide.identity.devices import (
    ALPHABET,
    INTERVAL,
    LIMIT,
    OF_ADDRESS,
    SECONDS,
    Choice,
    DeviceError,
    Devices,
)
from cloudide.identity.permissions import Scope

CHOICE = Choice("ada", "laptop", [Scope.READ], "", 30)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def devices(clock: Clock) -> Devices:
    return Devices(clock)


def test_a_program_is_allowed_once(devices: Devices, clock: Clock) -> None:
    secret, code = devices.begin("cloudide", "1.2.3.4", [Scope.READ])
    assert re.fullmatch(f"[{ALPHABET}]{{4}}-[{ALPHABET}]{{4}}", code)
    assert devices.ask(secret) is DeviceError.PENDING
    clock.now += 60
    asked = devices.find(code.lower().replace("-", " "))  # as people type
    assert (asked.code, asked.client, asked.address, asked.age) == (code, "cloudide", "1.2.3.4", 60)
    devices.allow(code, CHOICE)
    with pytest.raises(Conflict):
        devices.deny(code)
    assert devices.ask(secret) == CHOICE
    assert devices.ask(secret) is DeviceError.EXPIRED
    with pytest.raises(NotFound):
        devices.find(code)


def test_a_refusal_is_told_once(devices: Devices) -> None:
    secret, code = devices.begin("cloudide", "1.2.3.4", [])
    devices.deny(code)
    with pytest.raises(Conflict):
        devices.allow(code, CHOICE)
    assert devices.ask(secret) is DeviceError.DENIED
    assert devices.ask(secret) is DeviceError.EXPIRED


def test_who_asks_too_fast_waits_longer_each_time(devices: Devices, clock: Clock) -> None:
    secret, code = devices.begin("cloudide", "1.2.3.4", [])
    devices.allow(code, CHOICE)
    other, _ = devices.begin("other", "1.2.3.4", [])
    assert devices.ask(other) is DeviceError.PENDING
    clock.now += INTERVAL - 1
    assert devices.ask(other) is DeviceError.SLOW_DOWN
    clock.now += INTERVAL + 1  # enough before, but not any more
    assert devices.ask(other) is DeviceError.SLOW_DOWN
    clock.now += 3 * INTERVAL
    assert devices.ask(other) is DeviceError.PENDING
    assert devices.ask(secret) == CHOICE  # somebody else's haste is nobody's


def test_codes_end(devices: Devices, clock: Clock) -> None:
    secret, code = devices.begin("cloudide", "1.2.3.4", [])
    devices.allow(code, CHOICE)
    clock.now += SECONDS
    assert devices.ask(secret) is DeviceError.EXPIRED
    with pytest.raises(NotFound):
        devices.find(code)


def test_there_are_not_many_at_a_time(devices: Devices, clock: Clock) -> None:
    for _ in range(OF_ADDRESS):
        devices.begin("cloudide", "1.2.3.4", [])
    with pytest.raises(TooMany):
        devices.begin("cloudide", "1.2.3.4", [])
    for number in range(LIMIT - OF_ADDRESS):
        devices.begin("cloudide", f"address {number}", [])
    with pytest.raises(TooMany):
        devices.begin("cloudide", "5.6.7.8", [])
    clock.now += SECONDS
    devices.begin("cloudide", "1.2.3.4", [])


def test_a_name_does_not_deceive(devices: Devices) -> None:
    for given, shown in (
        ("", "A program"),
        ("\u202egnp.exe\x07", "gnp.exe"),
        ("x" * 100, "x" * 64),
    ):
        _, code = devices.begin(given, "1.2.3.4", [])
        assert devices.find(code).client == shown
