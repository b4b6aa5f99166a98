"""`cloudide login`: a program is signed in by somebody's browser, and profiles keep what it got."""

from __future__ import annotations

import asyncio
import re
import stat
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cli.running import Ran, begin, run
from promises.uncontained import Uncontained, uncontained
from server import Api

from cloudide.cli import profiles
from cloudide.cli.remote import Remote
from cloudide.errors import InvalidInput, NotFound
from cloudide.identity.accounts import Accounts
from cloudide.storage.database import Database


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Uncontained]:
    folder = tmp_path_factory.mktemp("login") / "site"
    folder.mkdir()
    async with uncontained(folder) as server:
        yield server


@pytest.fixture(scope="module")
async def ada(site: Uncontained) -> AsyncIterator[Api]:
    api = Api(site.url, headers={"Origin": site.url})
    token = site.sign_in_url.partition("token=")[2]
    await api.post("/api/v1/session", json={"token": token, "name": "Ada"})
    yield api
    await api.close()


async def login(
    site: Uncontained, ada: Api, answer: dict[str, object], *arguments: str, home: Path
) -> Ran:
    """Run it, and answer as a person does who reads its code."""
    process = await begin(
        *("login", "--url", site.url, "--no-browser", *arguments),
        environment={"XDG_CONFIG_HOME": str(home)},
    )
    assert process.stderr is not None
    line = (await process.stderr.readline()).decode()
    found = re.search(r"Open (\S+)/device and type ([A-Z]{4}-[A-Z]{4})$", line.strip())
    assert found, line
    assert found[1] == site.url
    request = await ada.get(f"/api/v1/device/requests/{found[2].lower()}")
    assert request["client"].startswith("cloudide on ")
    assert (request["address"], request["here"]) == ("127.0.0.1", True)
    await ada.request("POST", f"/api/v1/device/requests/{found[2]}", json=answer)
    output, errors = await process.communicate()
    return Ran(process.returncode or 0, output.decode(), errors.decode())


@pytest.mark.timeout(120)
async def test_a_program_is_signed_in_or_refused(
    site: Uncontained, ada: Api, tmp_path: Path
) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    yes = {"allow": True, "name": "laptop", "scopes": ["read", "admin"], "days": 30}
    allowed, refused = await asyncio.gather(
        login(site, ada, yes, "--profile", "work", home=home),
        login(site, ada, {"allow": False}, home=other),
    )
    assert (allowed.code, allowed.output) == (
        0,
        f"Signed in to {site.url} as Ada (profile work).\n",
    )
    assert (refused.code, "refused in the browser" in refused.errors) == (1, True)
    assert not (other / "cloudide" / "config.toml").exists()

    file = home / "cloudide" / "config.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    kept = tomllib.loads(file.read_text())
    assert kept["current"] == "work"
    assert kept["profiles"]["work"]["url"] == site.url
    token = kept["profiles"]["work"]["token"]
    [made] = (await ada.get("/api/v1/tokens"))["tokens"]
    assert (made["name"], made["scopes"]) == ("laptop", ["admin", "read"])

    environment = {"XDG_CONFIG_HOME": str(home)}
    listed = await run("workspace", "list", "-o", "json", environment=environment)
    assert (listed.code, '"name": "promises"' in listed.output) == (0, True)
    listed = await run("profile", "list", environment=environment)
    assert re.search(rf"^yes +work +{re.escape(site.url)}$", listed.output, re.MULTILINE)
    # A profile's token is for its own server: another one that is named does not get it.
    foreign = await run("workspace", "list", "--url", "http://127.0.0.1:1", environment=environment)
    assert (foreign.code, "Nobody is signed in to http://127.0.0.1:1" in foreign.errors) == (
        1,
        True,
    )
    # The environment goes before the profile.
    wrong = {"CLOUDIDE_URL": site.url, "CLOUDIDE_TOKEN": "wrong", **environment}
    assert "not valid" in (await run("workspace", "list", environment=wrong)).errors

    ended = await run("logout", environment=environment)
    assert (ended.code, ended.errors) == (0, "")
    assert (await ada.get("/api/v1/tokens"))["tokens"] == []
    assert token not in file.read_text()
    assert "signed in nowhere" in (await run("logout", environment=environment)).errors
    records = (await site.api.get("/api/v1/audit?limit=4"))["records"]
    actions = [each["action"] for each in records]
    assert actions == ["token.revoke", "token.create", "device.answer", "device.answer"]
    assert {each["name"] for each in records} == {"Ada"}


async def test_a_program_that_is_no_browser_of_somebodys(site: Uncontained, ada: Api) -> None:
    program = Api(site.url)
    form = {"client_id": "toaster", "scope": "read"}
    codes = await program.post("/api/v1/device/authorize", data=form)
    assert codes["verification_uri_complete"] == f"{site.url}/device#{codes['user_code']}"
    assert (codes["expires_in"], codes["interval"]) == (600, 5)
    grant = "urn:ietf:params:oauth:grant-type:device_code"
    ask = {"grant_type": grant, "device_code": codes["device_code"]}
    for said in ("authorization_pending", "slow_down"):
        answer = await program.request("POST", "/api/v1/device/token", data=ask)
        assert (answer.status_code, answer.json()["error"]) == (400, said)
    for wrong, error in (
        ({**ask, "grant_type": "password"}, "unsupported_grant_type"),
        ({**ask, "device_code": codes["user_code"]}, "expired_token"),
        ({**ask, "device_code": ""}, "expired_token"),
    ):
        answer = await program.request("POST", "/api/v1/device/token", data=wrong)
        assert (answer.status_code, answer.json()["error"]) == (400, error)
    bad = await program.request("POST", "/api/v1/device/authorize", data={"scope": "root"})
    assert bad.json()["error"] == "invalid_scope"
    path = f"/api/v1/device/requests/{codes['user_code']}"
    assert (await program.request("GET", path)).status_code == 401
    assert (await site.api.request("GET", path)).status_code == 403  # a token is no person
    for answer, status in (
        ({"allow": True, "name": "x", "scopes": []}, 400),
        ({"allow": True, "name": "x", "scopes": ["read"], "days": 0}, 400),
        ({"allow": True, "name": "x", "scopes": ["read"], "workspace": "missing"}, 404),
    ):
        assert (await ada.request("POST", path, json=answer)).status_code == status
    assert (await ada.get(path))["client"] == "toaster"  # it still waits
    # A page of another site cannot begin this for somebody.
    form_of_theirs = {"Origin": "https://evil.example"}
    refused = await program.request("POST", "/api/v1/device/token", headers=form_of_theirs)
    assert refused.status_code == 403
    await program.close()


async def test_codes_are_not_to_be_guessed(site: Uncontained) -> None:
    database = Database(site.data_dir / "cloudide.sqlite")
    accounts = Accounts(database, "", 1)
    secret = await accounts.sessions.create((await accounts.create("Guesser", guest=False)).id)
    await database.close()
    guest = Api(site.url, headers={"Origin": site.url}, cookies={"cloudide": secret})
    statuses = [
        (await guest.request("GET", f"/api/v1/device/requests/BBBB-BBB{letter}")).status_code
        for letter in "BCDFGHJKLMN"
    ]
    assert statuses == [404] * 10 + [429]
    await guest.close()


# ── tokens of the command line ──────────────────────────────────────────────────────────────────


async def test_a_token_for_all_manages_tokens_that_end_before_it(
    site: Uncontained, ada: Api
) -> None:
    made = await ada.post("/api/v1/tokens", json={"name": "a", "scopes": ["admin"], "days": 10})
    environment = {"CLOUDIDE_URL": site.url, "CLOUDIDE_TOKEN": made["token"]}
    for days in ("0", "90"):
        refused = await run("token", "create", "b", "--days", days, environment=environment)
        assert (refused.code, "ends before it does" in refused.errors) == (1, True)
    created = await run(
        *("token", "create", "b", "--days", "5", "--scope", "read", "--scope", "exec"),
        environment=environment,
    )
    secret = re.search(r"cide_\w+", created.output)
    assert created.code == 0
    assert secret
    listed = await run("token", "list", environment=environment)
    assert re.search(r"^\w{16} +b +exec,read +-", listed.output, re.MULTILINE)
    weaker = {**environment, "CLOUDIDE_TOKEN": secret[0]}
    for command in (("token", "list"), ("session", "list"), ("token", "create", "c")):
        refused = await run(*command, environment=weaker)
        assert (refused.code, "scope admin" in refused.errors) == (1, True)
    id = listed.output.splitlines()[1].split()[0]
    assert (await run("token", "revoke", id, environment=environment)).code == 0
    sessions = await run("session", "list", "-o", "json", environment=environment)
    assert '"current": false' in sessions.output
    ended = await run("session", "end", "nothing", environment=environment)
    assert (ended.code, "no such session" in ended.errors) == (1, True)
    await ada.delete(f"/api/v1/tokens/{made['id']}")


async def test_the_preset_token_does_not_end(site: Uncontained) -> None:
    response = await site.api.request("DELETE", "/api/v1/session")
    assert (response.status_code, "preset" in response.json()["detail"]) == (403, True)


# ── profiles ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("CLOUDIDE_URL", "CLOUDIDE_TOKEN", "CLOUDIDE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_what_goes_before_what(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="cloudide login"):
        Remote(None, None)
    one, two = profiles.Profile("http://one", "1"), profiles.Profile("http://two", "2")
    profiles.save(profiles.Profiles("one", {"one": one, "two": two}))

    def found(url: str | None = None, token: str | None = None, profile: str | None = None):
        remote = Remote(url, token, profile)
        return remote.url, remote.token

    assert found() == ("http://one", "1")
    assert found(profile="two") == ("http://two", "2")
    assert found(url="http://two/", profile="two") == ("http://two", "2")
    assert found(token="3") == ("http://one", "3")
    with pytest.raises(InvalidInput):
        found(url="http://evil")
    with pytest.raises(NotFound, match="one, two"):
        found(profile="three")
    monkeypatch.setenv("CLOUDIDE_PROFILE", "two")
    assert found() == ("http://two", "2")
    monkeypatch.setenv("CLOUDIDE_TOKEN", "4")
    assert found() == ("http://two", "4")
    monkeypatch.setenv("CLOUDIDE_URL", "http://five")
    assert found() == ("http://five", "4")
    assert found("http://six", "6") == ("http://six", "6")


def test_a_file_that_is_not_as_it_should_be_is_named(home: Path) -> None:
    file = profiles.path()
    file.parent.mkdir()
    for content in ("not toml", "profiles = 1", '[profiles.x]\ntoken = "1"\n'):
        file.write_text(content)
        with pytest.raises(InvalidInput, match=r"config\.toml"):
            profiles.load()
    for name in ("", "../x", "a b", "-x", "x" * 65):
        with pytest.raises(InvalidInput):
            profiles.checked(name)
