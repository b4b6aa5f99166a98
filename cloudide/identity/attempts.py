"""Attempts to sign in: how often, from where and as whom."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from cloudide.errors import TooMany

PERIOD = 900.0  # seconds in which failures count
# Failures in that time: of one account from one address, from one address, of one account. The last
# is the limit of NIST SP 800-63B section 3.2.2; a lower one would let anybody lock anybody out.
OF_BOTH, OF_ADDRESS, OF_ACCOUNT = 10, 50, 100
KEYS = 10_000  # that are remembered; the oldest go first


class Attempts:
    """Failures of the last quarter of an hour. `clock` is in seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, account: str, address: str) -> None:
        """Raises: TooMany: there were too many failures for this account or from this address."""
        for key, limit in _keys(account, address):
            failures = self._recent(key)
            if len(failures) >= limit:
                minutes = math.ceil((failures[0] + PERIOD - self._clock()) / 60)
                raise TooMany(
                    f"There were too many attempts to sign in. Try again in {minutes} min, or use "
                    "a sign-in link."
                )

    def failed(self, account: str, address: str) -> None:
        for key, limit in _keys(account, address):
            failures = self._failures.setdefault(key, deque(maxlen=limit))
            failures.append(self._clock())
            self._failures.move_to_end(key)
        while len(self._failures) > KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, account: str, address: str) -> None:
        key, _ = _keys(account, address)[0]
        self._failures.pop(key, None)

    def _recent(self, key: str) -> deque[float]:
        failures = self._failures.get(key, deque[float]())
        while failures and failures[0] <= self._clock() - PERIOD:
            failures.popleft()
        return failures


def _keys(account: str, address: str) -> list[tuple[str, int]]:
    return [
        (f"both {address} {account}", OF_BOTH),
        (f"address {address}", OF_ADDRESS),
        (f"account {account}", OF_ACCOUNT),
    ]
