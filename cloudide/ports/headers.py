"""What of a request's headers a previewed program gets to see, and what of its answer we pass on.

Names are lower case in requests (as ASGI has them) and are compared so in answers. Order and
repetition are kept. See RFC 9110 section 7.6.1 for the headers that end at each hop.
"""

from __future__ import annotations

from functools import lru_cache

from cloudide.errors import InvalidInput

Headers = list[tuple[bytes, bytes]]

CACHED_LIMIT = 4096  # bytes of a value for which what was found is kept

_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-authentication-info",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"upgrade",
}
# Ours to say; what a client claims about how it came here is not passed on.
_FORWARDED = {
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-proto",
    b"x-forwarded-server",
    b"x-real-ip",
}
# The expectation is answered here, when the body is first read (RFC 9110 section 10.1.1).
_ANSWERED_HERE = {b"expect"}
# Our server says when it answered; a program cannot send the browser to another address.
_NOT_THEIRS = {b"alt-svc", b"date", b"transfer-encoding"}
_NOT_PASSED_ON = _HOP | _FORWARDED | _ANSWERED_HERE
_NOT_PASSED_BACK = _HOP | _NOT_THEIRS
# Nobody gets to drop what the exchange needs, or its end would not be where we think it is.
_NEEDED = {b"host", b"content-length", b"transfer-encoding", b"cookie", b"authorization"}


def outgoing(
    headers: Headers,
    *,
    own_cookies: frozenset[str],
    own_authorization: bool,
    forwarded: Headers,
) -> Headers:
    """The headers of a request, as the program gets them.

    `own_cookies` names the cookies that are ours; `own_authorization` says that the Authorization
    header is.
    """
    named = _named_by_connection(headers)
    kept: Headers = []
    for name, value in headers:
        if name in _NOT_PASSED_ON or name in named:
            continue
        if name == b"cookie":
            without = _without_known_cookies if len(value) <= CACHED_LIMIT else _without_cookies
            value = without(value, own_cookies)
            if not value:
                continue
        elif own_authorization and name == b"authorization":
            continue
        kept.append((name, value))
    return kept + forwarded


def incoming(headers: Headers, own_cookies: frozenset[str]) -> Headers:
    """The headers of an answer, as the browser gets them."""
    headers = [(name.lower(), value) for name, value in headers]
    named = _named_by_connection(headers)
    kept: Headers = []
    for name, value in headers:
        if name in _NOT_PASSED_BACK or name in named:
            continue
        if name == b"set-cookie":
            kept_cookie = _host_only(value, own_cookies)
            if kept_cookie is None:
                continue
            value = kept_cookie
        kept.append((name, value))
    return kept


def lines(headers: Headers) -> bytes:
    """Headers as they are sent. Raises: InvalidInput: they would be others than meant."""
    block = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
    number = len(headers)
    if block.count(b"\n") != number or block.count(b"\r") != number or b"\0" in block:
        raise InvalidInput("A header has a line break or a NUL in it.")
    return block


def cookies(headers: Headers, name: str) -> list[str]:
    """All values of a cookie: a sibling site may have set another of the same name."""
    wanted = name.encode()
    return [
        value.strip().decode("latin-1")
        for header, line in headers
        if header == b"cookie"
        for key, separator, value in (pair.partition(b"=") for pair in line.split(b";"))
        if separator and key.strip() == wanted
    ]


def _named_by_connection(headers: Headers) -> set[bytes]:
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(each.strip().lower() for each in value.split(b","))
    return named - _NEEDED if named else named


def _without_cookies(line: bytes, names: frozenset[str]) -> bytes:
    pairs = [pair.strip() for pair in line.split(b";")]
    return b"; ".join(
        pair
        for pair in pairs
        if pair and pair.partition(b"=")[0].strip().decode("latin-1") not in names
    )


# A browser sends the same ones again and again.
_without_known_cookies = lru_cache(1024)(_without_cookies)


def _host_only(cookie: bytes, own_cookies: frozenset[str]) -> bytes | None:
    """A Set-Cookie without its Domain (RFC 6265 section 5.2.3); None: it has the name of ours."""
    pair, *attributes = cookie.split(b";")
    if pair.partition(b"=")[0].strip().decode("latin-1") in own_cookies:
        return None
    kept = [each for each in attributes if each.partition(b"=")[0].strip().lower() != b"domain"]
    return b";".join([pair, *kept])
