"""Passwords, attempts and API tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from cloudide.errors import Conflict, Denied, InvalidInput, NotFound, NotSignedIn, TooMany
from cloudide.identity import passwords as passwords_
from cloudide.identity.accounts import Accounts
from cloudide.identity.attempts import OF_ACCOUNT, OF_ADDRESS, OF_BOTH, PERIOD, Attempts
from cloudide.identity.passwords import checked
from cloudide.identity.permissions import Action, Grant, Person, Role, Scope
from cloudide.identity.tokens import TOKENS_LIMIT, is_token, new_token
from cloudide.storage.database import Database
from cloudide.storage.tables import api_tokens, users

GOOD = "correct horse battery staple"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    yield database
    await database.close()


@pytest.fixture
async def accounts(database: Database) -> Accounts:
    return Accounts(database, "", 30)


# ── passwords ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "password",
    [
        "",
        "too short",
        "x" * 257,
        "a" * 20,
        "abababababababab",
        "0123456789abcdefghijklmnop"[:10] * 2,
        "0123456789:;<=>?@ABC",
        "ada.lovelace@example.org",
        "Ada Lovelace Ada",
        "cloudidecloudide!",
    ],
)
def test_easily_guessed_passwords_are_refused(password: str) -> None:
    with pytest.raises(InvalidInput):
        checked(password, "Ada Lovelace", "ada.lovelace@example.org")


@pytest.mark.parametrize(
    "password", [GOOD, "日本語のパスワードはとても長いですよね", "pppp aßéx1 🐍 zq wv"]
)
def test_any_characters_will_do(password: str) -> None:
    assert checked(password, "Ada", "ada@example.org")


async def test_a_password_signs_in_and_its_kept_form_tells_nothing(
    accounts: Accounts, database: Database
) -> None:
    ada = await accounts.create("Ada", guest=True)
    await accounts.set_password(ada.id, " Ada@Example.ORG ", GOOD, "")
    assert await accounts.profile(ada.id) == type(await accounts.profile(ada.id))(
        "Ada", "ada@example.org", True
    )
    user, secret = await accounts.sign_in_with_password("ADA@example.org", GOOD, "1.2.3.4")
    assert user == ada
    assert await accounts.by_session(secret) == ada
    async with database.begin() as db:
        kept = (await db.execute(select(users.c.password).where(users.c.id == ada.id))).scalar()
    assert kept is not None
    assert kept.startswith("$argon2id$v=19$")
    assert GOOD not in kept
    for email, password in (("ada@example.org", GOOD + "r"), ("eve@example.org", GOOD), ("", "")):
        with pytest.raises(NotSignedIn, match="email address and password"):
            await accounts.sign_in_with_password(email, password, "1.2.3.4")


async def test_a_weaker_hash_is_made_anew(accounts: Accounts, database: Database) -> None:
    from argon2 import PasswordHasher

    ada = await accounts.create("Ada", guest=True)
    await accounts.set_password(ada.id, "ada@example.org", GOOD, "")
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(GOOD)
    async with database.begin() as db:
        await db.execute(update(users).where(users.c.id == ada.id).values(password=weak))
    await accounts.sign_in_with_password("ada@example.org", GOOD, "")
    async with database.begin() as db:
        kept = (await db.execute(select(users.c.password).where(users.c.id == ada.id))).scalar()
    assert kept is not None
    assert "m=65536" in kept


async def test_changing_it_needs_the_present_one(accounts: Accounts) -> None:
    ada, eve = await accounts.create("Ada", guest=True), await accounts.create("Eve", guest=True)
    await accounts.set_password(ada.id, "ada@example.org", GOOD, "")
    with pytest.raises(Denied):
        await accounts.set_password(ada.id, "ada@example.org", "another long password", "wrong")
    with pytest.raises(Conflict):
        await accounts.set_password(eve.id, "ada@example.org", "eve has a long one", "")
    assert not (await accounts.profile(eve.id)).has_password
    await accounts.set_password(ada.id, "ada@example.org", "another long phrase", GOOD)
    with pytest.raises(NotSignedIn):
        await accounts.sign_in_with_password("ada@example.org", GOOD, "")
    for email in (
        "",
        "ada",
        "ada@",
        "@example.org",
        "a b@example.org",
        "a@b",
        "x" * 250 + "@e.org",
    ):
        with pytest.raises(InvalidInput):
            await accounts.set_password(ada.id, email, GOOD, "another long phrase")


async def test_who_is_deactivated_is_out(accounts: Accounts) -> None:
    token = await accounts.create_sign_in_token()
    owner, _ = await accounts.sign_in(token, "Owner")
    ada = await accounts.create("Ada", guest=True)
    await accounts.set_password(ada.id, "ada@example.org", GOOD, "")
    _, session = await accounts.sign_in_with_password("ada@example.org", GOOD, "")
    _, key = await accounts.tokens.create(ada.id, "ci", [Scope.READ], "", None)
    assert (await accounts.change(ada.id, admin=None, active=False)).active is False
    assert await accounts.by_session(session) is None
    assert await accounts.by_token(key) is None
    with pytest.raises(NotSignedIn):
        await accounts.sign_in_with_password("ada@example.org", GOOD, "")
    await accounts.change(ada.id, admin=None, active=True)
    assert await accounts.by_token(key) is not None
    assert await accounts.by_session(session) is None  # ended is ended
    for change in ({"admin": False, "active": None}, {"admin": None, "active": False}):
        with pytest.raises(Conflict, match="administrator"):
            await accounts.change(owner.id, **change)
    assert (await accounts.get(owner.id)) == owner
    with pytest.raises(NotFound):
        await accounts.change("nobody", admin=True, active=None)


# ── attempts ────────────────────────────────────────────────────────────────────────────────────


def test_failures_are_counted_by_address_and_account_and_forgotten() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    for _ in range(OF_BOTH):
        attempts.check("ada", "1")
        attempts.failed("ada", "1")
    with pytest.raises(TooMany, match="15 min"):
        attempts.check("ada", "1")
    attempts.check("ada", "2")  # her own browser is not locked out by somebody else's
    for number in range(OF_ADDRESS - OF_BOTH):
        attempts.failed(f"somebody {number}", "1")
    with pytest.raises(TooMany):
        attempts.check("nobody", "1")
    for number in range(OF_ACCOUNT):
        attempts.failed("eve", f"address {number}")
    with pytest.raises(TooMany):
        attempts.check("eve", "yet another")
    now = PERIOD + 1
    for account, address in (("ada", "1"), ("nobody", "1"), ("eve", "3")):
        attempts.check(account, address)


async def test_too_many_guesses_stop_being_looked_at(accounts: Accounts) -> None:
    ada = await accounts.create("Ada", guest=True)
    await accounts.set_password(ada.id, "ada@example.org", GOOD, "")
    for _ in range(OF_BOTH):
        with pytest.raises(NotSignedIn):
            await accounts.sign_in_with_password("ada@example.org", "wrong", "6.6.6.6")
    with pytest.raises(TooMany):
        await accounts.sign_in_with_password("ada@example.org", GOOD, "6.6.6.6")
    await accounts.sign_in_with_password("ada@example.org", GOOD, "7.7.7.7")


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


@given(st.data())
def test_a_token_with_another_character_is_none(data: st.DataObject) -> None:
    token = new_token()
    assert is_token(token)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters())
    assert is_token(token[:at] + other + token[at + 1 :]) == (other == token[at])


@given(st.text())
def test_other_texts_are_no_tokens(text: str) -> None:
    assert not is_token(text)
    assert not is_token("cide_" + text)


async def test_a_token_narrows_what_its_owner_may_do(accounts: Accounts) -> None:
    sign_in = await accounts.create_sign_in_token()
    owner, _ = await accounts.sign_in(sign_in, "Owner")
    allowed = {
        Scope.READ: {Action.READ},
        Scope.WRITE: {Action.READ, Action.WRITE},
        Scope.EXEC: {Action.READ, Action.EXECUTE, Action.OPERATE},
        Scope.ADMIN: set(Action),
    }
    for scope, actions in allowed.items():
        token, secret = await accounts.tokens.create(owner.id, scope, [scope], "", 1)
        user = await accounts.by_token(secret)
        assert user is not None
        assert (user.id, user.admin) == (owner.id, scope is Scope.ADMIN)
        for role in Role:
            grant = Grant(Person("", "", ""), "w", role, user.limit)
            whole = Grant(Person("", "", ""), "w", role)
            for action in Action:
                assert grant.allows(action) == (action in actions and whole.allows(action))
        assert secret not in str(await accounts.tokens.list(owner.id))
        await accounts.tokens.revoke(owner.id, token.id)
        assert await accounts.by_token(secret) is None


async def test_tokens_expire_and_are_counted(accounts: Accounts, database: Database) -> None:
    ada, eve = await accounts.create("Ada", guest=True), await accounts.create("Eve", guest=True)
    token, secret = await accounts.tokens.create(ada.id, "ci", [Scope.READ], "", 1)
    assert (await accounts.tokens.list(ada.id))[0].used_at is None
    assert await accounts.by_token(secret)
    assert (await accounts.tokens.list(ada.id))[0].used_at is not None
    with pytest.raises(NotFound):
        await accounts.tokens.revoke(eve.id, token.id)
    async with database.begin() as db:
        await db.execute(update(api_tokens).values(expires_at=1))
    assert await accounts.by_token(secret) is None
    for name, scopes, days in (("", [Scope.READ], 1), ("x", [], 1), ("x", [Scope.READ], 0)):
        with pytest.raises(InvalidInput):
            await accounts.tokens.create(ada.id, name, scopes, "", days)
    await asyncio.gather(
        *(accounts.tokens.create(eve.id, "x", [Scope.READ], "", None) for _ in range(TOKENS_LIMIT))
    )
    with pytest.raises(TooMany):
        await accounts.tokens.create(eve.id, "x", [Scope.READ], "", None)


# ── what a failure costs ────────────────────────────────────────────────────────────────────────


class CountedHasher:
    """Counts what takes time, which nobody may learn from."""

    def __init__(self, hasher: PasswordHasher) -> None:
        self._hasher = hasher
        self.operations = 0

    def hash(self, password: str) -> str:
        self.operations += 1
        return self._hasher.hash(password)

    def verify(self, kept: str, password: str) -> bool:
        self.operations += 1
        return self._hasher.verify(kept, password)

    def check_needs_rehash(self, kept: str) -> bool:
        return self._hasher.check_needs_rehash(kept)


async def test_a_failure_costs_the_same_whether_there_is_an_account_or_not(
    accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("Ada", "Bo", "Cy")
    ada, former, vouched = [await accounts.create(each, guest=False) for each in names]
    await accounts.sign_in(await accounts.create_sign_in_token(), "Owner")
    await accounts.set_password(ada.id, "ada@example.org", GOOD, "")
    await accounts.set_password(former.id, "bo@example.org", GOOD, "")
    await accounts.change(former.id, admin=None, active=False)
    async with database.begin() as db:
        # Known by a provider: an address may stand there, but no password.
        values = {"email": "cy@example.org"}
        await db.execute(update(users).where(users.c.id == vouched.id).values(**values))
    counted = CountedHasher(passwords_._hasher)
    monkeypatch.setattr(passwords_, "_hasher", counted)
    for email in (
        *("ada@example.org", "bo@example.org", "cy@example.org", "nobody@example.org"),
        *("", "not an address", "x" * 10_000),
    ):
        for password in ("wrong", "", "x" * 10_000):
            counted.operations = 0
            with pytest.raises(NotSignedIn):
                await accounts.sign_in_with_password(email, password, email[:9])
            assert counted.operations == 1, (email, password[:10])
    counted.operations = 0
    await accounts.sign_in_with_password("ada@example.org", GOOD, "1.2.3.4")
    assert counted.operations == 1
