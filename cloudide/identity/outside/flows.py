"""Sign-ins under way: what was sent with a browser to a provider, until it comes back.

Each is used once, by the browser that began it: that one has a cookie with a secret of its own, so
that nobody can be made to finish what somebody else began (RFC 9700 section 4.7).
"""

from __future__ import annotations

import hmac
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

import msgspec

from cloudide.errors import InvalidInput
from cloudide.identity.credentials import digest, new_secret

SECONDS = 600.0  # in which somebody signs in at the provider
LIMIT, OF_ADDRESS = 10_000, 100  # under way; from one address. The oldest are given up.


class Flow(msgspec.Struct, frozen=True):
    """`user` and `session` are there when an account is being linked: whose, and in which session
    (its digest). `path` is where to go afterwards. `verifier` is PKCE's (RFC 7636)."""

    provider: str
    state: str
    nonce: str
    verifier: str
    browser: str
    address: str
    path: str
    user: str
    session: str
    ends_at: float


class NoFlow(InvalidInput):
    """An answer to nothing that was asked, or to what somebody else asked."""

    title = "Signing in did not work"


class Flows:
    """`clock` is in seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._flows: OrderedDict[str, Flow] = OrderedDict()
        self._addresses: Counter[str] = Counter()

    def begin(
        self, provider: str, *, address: str, path: str = "/", user: str = "", session: str = ""
    ) -> tuple[Flow, str]:
        """A new flow, and the secret for the browser's cookie."""
        self._expire()
        if self._addresses[address] >= OF_ADDRESS:
            self._drop(next(s for s, each in self._flows.items() if each.address == address))
        elif len(self._flows) >= LIMIT:
            self._drop(next(iter(self._flows)))
        browser = new_secret()
        flow = Flow(
            provider=provider,
            state=new_secret(),
            nonce=new_secret(),
            verifier=new_secret(),
            browser=digest(browser),
            address=address,
            path=path,
            user=user,
            session=session,
            ends_at=self._clock() + SECONDS,
        )
        self._flows[digest(flow.state)] = flow
        self._addresses[address] += 1
        return flow, browser

    def end(self, provider: str, state: str, browser: str) -> Flow:
        """Take the flow that a browser comes back from; it is over, whatever follows.

        Raises:
            NoFlow: there is none, it is another provider's, or another browser's.
        """
        self._expire()
        flow = self._flows.get(digest(state))
        # Only whose it is may end it: a foreign browser that learnt a state changes nothing.
        if (
            flow is None
            or flow.provider != provider
            or not hmac.compare_digest(flow.browser, digest(browser))
        ):
            raise NoFlow(
                "This sign-in was not begun in this browser, was used already, or took longer than "
                f"{SECONDS / 60:.0f} minutes. Begin again."
            )
        self._drop(digest(state))
        return flow

    def _expire(self) -> None:
        now = self._clock()
        while self._flows and next(iter(self._flows.values())).ends_at <= now:
            self._drop(next(iter(self._flows)))

    def _drop(self, key: str) -> None:
        address = self._flows.pop(key).address
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def __len__(self) -> int:
        return len(self._flows)
