"""Accounts, one-time tokens, sessions and names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from cloudide.errors import InvalidInput, NotSignedIn
from cloudide.identity.accounts import AUTOMATION, Accounts, NameNeeded
from cloudide.identity.users import clean_name
from cloudide.storage.database import Database
from cloudide.storage.tables import sessions, sign_in_tokens, users


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    yield database
    await database.close()


@pytest.fixture
async def accounts(database: Database) -> Accounts:
    accounts = Accounts(database, "preset", 30)
    await accounts.start()
    return accounts


async def test_the_first_sign_in_makes_the_owner_and_needs_a_name(accounts: Accounts) -> None:
    token = await accounts.create_sign_in_token()
    with pytest.raises(NameNeeded):
        await accounts.sign_in(token, None)
    with pytest.raises(InvalidInput):
        await accounts.sign_in(token, "\x07")
    user, secret = await accounts.sign_in(token, " Ada ")
    assert (user.name, user.admin) == ("Ada", True)
    assert await accounts.by_session(secret) == user
    assert await accounts.get(user.id) == user


async def test_later_tokens_sign_the_same_owner_in(accounts: Accounts) -> None:
    ada, _ = await accounts.sign_in(await accounts.create_sign_in_token(), "Ada")
    again, _ = await accounts.sign_in(await accounts.create_sign_in_token(), "Somebody else")
    assert again == ada


async def test_a_token_works_once(accounts: Accounts) -> None:
    token = await accounts.create_sign_in_token()
    await accounts.sign_in(token, "Ada")
    with pytest.raises(NotSignedIn):
        await accounts.sign_in(token, "Ada")


async def test_a_token_works_once_however_many_ask_at_the_same_moment(
    accounts: Accounts, database: Database
) -> None:
    for _ in range(5):
        token = await accounts.create_sign_in_token()
        attempts = [accounts.sign_in(token, f"Ada {number}") for number in range(8)]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(outcome, tuple) for outcome in outcomes) == 1, outcomes
        assert sum(isinstance(outcome, NotSignedIn) for outcome in outcomes) == 7, outcomes
    async with database.begin() as db:
        owners = (await db.execute(select(users.c.id).where(users.c.id != AUTOMATION))).all()
    assert len(owners) == 1


async def test_a_new_token_ends_the_former_one(accounts: Accounts) -> None:
    former = await accounts.create_sign_in_token()
    await accounts.create_sign_in_token()
    with pytest.raises(NotSignedIn):
        await accounts.sign_in(former, "Ada")


async def test_tokens_and_sessions_expire(accounts: Accounts, database: Database) -> None:
    token = await accounts.create_sign_in_token()
    async with database.begin() as db:
        await db.execute(update(sign_in_tokens).values(expires_at=1.0))
    with pytest.raises(NotSignedIn):
        await accounts.sign_in(token, "Ada")
    guest = await accounts.create("Bob", guest=True)
    secret = await accounts.sessions.create(guest.id)
    assert await accounts.by_session(secret) == guest
    async with database.begin() as db:
        await db.execute(update(sessions).values(used_at=1.0))
    assert await accounts.by_session(secret) is None


async def test_use_keeps_a_session_alive(accounts: Accounts, database: Database) -> None:
    guest = await accounts.create("Bob", guest=True)
    secret = await accounts.sessions.create(guest.id)
    async with database.begin() as db:
        used = (await db.execute(select(sessions.c.used_at))).scalar_one()
        await db.execute(update(sessions).values(used_at=used - 29 * 86400))
    assert await accounts.by_session(secret) == guest
    async with database.begin() as db:
        assert (await db.execute(select(sessions.c.used_at))).scalar_one() >= used


async def test_a_session_ends(accounts: Accounts) -> None:
    guest = await accounts.create("Bob", guest=True)
    secret, other = [await accounts.sessions.create(guest.id) for _ in range(2)]
    await accounts.sessions.end(secret)
    assert await accounts.by_session(secret) is None
    assert await accounts.by_session(other) == guest


async def test_the_preset_token_is_automation_and_owns_no_sign_in(accounts: Accounts) -> None:
    user = await accounts.by_token("preset")
    assert user is not None
    assert (user.id, user.admin) == (AUTOMATION, True)
    for wrong in ("", "preset ", "Preset", "presett"):
        assert await accounts.by_token(wrong) is None
    with pytest.raises(NameNeeded):
        await accounts.sign_in(await accounts.create_sign_in_token(), None)


async def test_without_a_preset_token_no_token_is_good(database: Database) -> None:
    accounts = Accounts(database, "", 30)
    await accounts.start()
    assert await accounts.by_token("") is None
    assert await accounts.get(AUTOMATION) is None


async def test_no_secret_is_stored(accounts: Accounts, tmp_path: Path) -> None:
    token = await accounts.create_sign_in_token()
    _, secret = await accounts.sign_in(token, "Ada")
    later = await accounts.create_sign_in_token()
    content = (tmp_path / "cloudide.sqlite").read_bytes()
    for each in (token, secret, later, "preset"):
        assert each.encode() not in content


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "x" * 65,
        "a\x00b",
        "a\nb",
        "a\x7fb",
        "a\u202eb",  # right-to-left override
        "a\u200bb",  # zero width space
        "a\u2028b",
        "a\u2066b",
        "\ufeffa",
        "\ud800",
        "\u200d",
    ],
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        clean_name(name)


@pytest.mark.parametrize(
    ("given_", "cleaned"),
    [
        ("  Ada  ", "Ada"),
        ("x" * 64, "x" * 64),
        ("e\u0301", "\u00e9"),
        ("日本語 <b>", "日本語 <b>"),
        ("O'Neil; --", "O'Neil; --"),
        ("👩", "👩"),
    ],
)
def test_names_that_are_taken(given_: str, cleaned: str) -> None:
    assert clean_name(given_) == cleaned


@given(st.text(max_size=80))
def test_a_name_is_clean_or_refused(name: str) -> None:
    try:
        cleaned = clean_name(name)
    except InvalidInput:
        return
    assert clean_name(cleaned) == cleaned
    assert 1 <= len(cleaned) <= 64
    assert "\n" not in cleaned
