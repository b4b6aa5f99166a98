"""Who a provider says that somebody is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloudide.errors import Denied

SUBJECT_LIMIT = 255  # characters; OpenID Connect Core section 2


class Claims(msgspec.Struct, frozen=True):
    """`issuer` and `subject` name somebody for ever; `email` is "" unless it was verified there."""

    issuer: str
    subject: str
    name: str = ""
    email: str = ""


class NotVouched(Denied):
    """The provider's answer is not one that may sign anybody in."""

    title = "Signing in did not work"


def require_domain(label: str, email: str, domains: Sequence[str]) -> None:
    """Raises: NotVouched: the address is not of one of these domains, where there are any."""
    if domains and email.rpartition("@")[2].casefold() not in {each.casefold() for each in domains}:
        raise NotVouched(
            f"This server takes people from {label} whose verified email address ends with "
            f"{' or '.join(f'@{each}' for each in domains)}; yours does not. Use another account."
        )


def refusal(label: str, error: str) -> NotVouched:
    """What a provider's error code (RFC 6749 section 4.1.2.1) means for somebody."""
    if error == "access_denied":
        return NotVouched(f"{label} says that you did not agree. Begin again if you meant to.")
    return NotVouched(
        f"{label} did not sign you in ({_plain(error)}). Begin again; if that does not help, tell "
        "whoever runs this server."
    )


def _plain(error: str) -> str:
    """An error code, as far as it is one: letters of RFC 6749's, not a text of somebody's."""
    return (
        error if error.isascii() and error.replace("_", "").isalnum() and len(error) <= 64 else "?"
    )
