"""A request that is sent again with its key does what it did once, and no more."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from server import Api
from site_of_people import People

SECRETS = "/api/v1/secrets"


async def create(api: Api, key: str, body: dict[str, Any]) -> httpx.Response:
    return await api.request("POST", SECRETS, json=body, headers={"Idempotency-Key": key})


async def names(people: People) -> list[str]:
    path = f"{SECRETS}?workspace={people.workspace}"
    return [each["name"] for each in (await people["owner"].get(path))["secrets"]]


def secret(people: People, name: str) -> dict[str, Any]:
    return {"name": name, "value": "canary-value", "workspace": people.workspace}


async def test_the_same_answer_again(people: People) -> None:
    owner = people["owner"]
    body = secret(people, "ONCE")
    first = await create(owner, "key one", body)
    again = await create(owner, "key one", body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["idempotent-replayed"] == "true"
    assert (await names(people)).count("ONCE") == 1
    other = await create(owner, "key one", secret(people, "TWICE"))
    assert other.status_code == 422
    assert other.headers["content-type"] == "application/problem+json"
    assert "TWICE" not in await names(people)
    # Without the key it is another request.
    assert (await owner.request("POST", SECRETS, json=body)).status_code == 409


async def test_a_key_is_ones_own(people: People) -> None:
    first = await create(people["owner"], "shared", {"name": "MINE", "value": "one"})
    other = await create(people["editor"], "shared", {"name": "MINE", "value": "two"})
    assert (first.status_code, other.status_code) == (201, 201)
    assert first.json()["id"] != other.json()["id"]


async def test_what_was_refused_may_be_sent_again(people: People) -> None:
    owner, body = people["owner"], secret(people, "LATER")
    assert (await create(owner, "refused", {**body, "name": "PATH"})).status_code == 400
    assert (await create(owner, "refused", body)).status_code == 201


async def test_at_the_same_moment(people: People) -> None:
    body = secret(people, "AT_ONCE")
    done = await asyncio.gather(*(create(people["owner"], "at once", body) for _ in range(8)))
    assert {each.status_code for each in done} <= {201, 409}
    assert (await names(people)).count("AT_ONCE") == 1
    assert (await create(people["owner"], "at once", body)).status_code == 201


async def test_a_secret_that_is_shown_once_is_shown_again_to_who_lost_it(people: People) -> None:
    owner = people["owner"]
    headers = {"Idempotency-Key": "a token"}
    body = {"name": "lost", "scopes": ["read"]}
    first = await owner.request("POST", "/api/v1/tokens", json=body, headers=headers)
    again = await owner.request("POST", "/api/v1/tokens", json=body, headers=headers)
    assert first.json()["token"] == again.json()["token"]
    # It lies sealed until then.
    token = first.json()["token"].encode()
    kept = [file.read_bytes() for file in people.server.data_dir.glob("cloudide.sqlite*")]
    assert not any(token in content for content in kept)


async def test_keys_that_are_none(people: People) -> None:
    for key in ("", "k" * 256, "tab\tin it"):
        refused = await create(people["owner"], key, secret(people, "NONE"))
        assert refused.status_code == 400
    assert "NONE" not in await names(people)
