"""Each route that takes a body is sent malformed, oversized, foreign and misspelt ones: it says
where they are wrong, and nothing in the database has changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from server import Api
from site_of_people import People

from cloudide.web import openapi, routes
from cloudide.web.bodies import JSON_LIMIT

JSON = {"Content-Type": "application/json"}
TAKING = [each for each in routes.ENDPOINTS if openapi.body_of(each) is not None]
LABELS = [f"{each.method} {each.path}" for each in TAKING]
# What is noted of everybody who asks for anything, and what refusals are recorded in.
NOTED = {"audit", "audit_head", "sessions", "api_tokens"}
# Whose body is looked at only after something that these tests do not have is found.
FOUND_FIRST = (401, 403, 404, 409)


def content_of(folder: Path) -> dict[str, list[Any]]:
    """All rows of the database, by table."""
    with sqlite3.connect(f"file:{folder / 'cloudide.sqlite'}?mode=ro", uri=True) as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        found = {
            name: db.execute(f'SELECT * FROM "{name}" ORDER BY rowid').fetchall()  # noqa: S608
            for name in names
            if name not in NOTED and not name.startswith("sqlite_")
        }
    db.close()
    return found


def bad_bodies(kind: Any) -> Iterator[tuple[str, bytes, dict[str, str], int, str | None]]:
    """What is wrong, the body, its headers, the status it gets, and where `errors` points to."""
    yield "malformed", b'{"', JSON, 400, ""
    yield "no text", b'{"name": "\xff\xfe"}', JSON, 400, None
    yield "half a character", b'{"name": "\\ud800"}', JSON, 400, None
    yield "empty", b"", JSON, 400, ""
    for content in (b"[]", b'"text"', b"1", b"null"):
        yield f"not an object: {content!r}", content, JSON, 400, ""
    yield "nested", b"[" * 30_000, JSON, 400, ""
    yield "oversized", b'{"a": "' + b"x" * JSON_LIMIT + b'"}', JSON, 413, None
    for foreign in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"):
        yield f"foreign: {foreign}", b"{}", {"Content-Type": foreign}, 415, None
    fields = msgspec.structs.fields(kind)
    whole = {each.encode_name: None for each in fields if each.required}
    yield "misspelt", json.dumps({**whole, "zzz~/": 1}).encode(), JSON, 400, None
    for field in fields:
        for wrong in ({"no": "such"}, [[1]], 1.5):
            body = json.dumps({field.encode_name: wrong}).encode()
            try:
                msgspec.json.decode(body, type=kind)
            except msgspec.ValidationError as error:
                if "missing required" not in str(error):
                    yield f"{field.name} is {wrong}", body, JSON, 400, f"/{field.encode_name}"


@pytest.mark.parametrize("label", LABELS)
async def test_bad_bodies(people: People, label: str) -> None:
    endpoint = TAKING[LABELS.index(label)]
    api: Api = people["owner"]
    target = endpoint.path.replace("{workspace}", people.workspace)
    for part in target.split("/"):
        if part.startswith("{"):
            target = target.replace(part, "3000" if part == "{port}" else "missing")
    before = content_of(people.server.data_dir)
    wrong: list[str] = []
    for what, body, headers, status, pointer in bad_bodies(openapi.body_of(endpoint)):
        response = await api.request(endpoint.method, target, content=body, headers=headers)
        if response.status_code in FOUND_FIRST and "missing" in target:
            continue
        if response.status_code != status:
            wrong.append(f"{what}: {response.status_code} {response.text[:200]}")
            continue
        if response.headers["content-type"] != "application/problem+json":
            wrong.append(f"{what}: {response.headers['content-type']}")
            continue
        errors = response.json().get("errors", [])
        if pointer is not None and not (errors and errors[0]["pointer"].startswith(pointer)):
            wrong.append(f"{what}: {response.text[:200]}")
    assert wrong == []
    assert content_of(people.server.data_dir) == before


async def test_a_misspelt_field_is_named(people: People) -> None:
    body = {"name": "x", "scopes": ["read"], "days~/": 3}
    response = await people["owner"].request("POST", "/api/v1/tokens", json=body)
    assert response.status_code == 400
    assert response.json()["errors"] == [
        {
            "pointer": "/days~0~1",
            "detail": "The body has a field 'days~/', which means nothing here.",
        }
    ]
    body = {"name": "x", "image": "base", "git": {"url": 5}}
    response = await people["owner"].request("POST", "/api/v1/workspaces", json=body)
    assert response.json()["errors"][0]["pointer"] == "/git/url"


async def test_what_may_be_used_once(people: People) -> None:
    used = people.server.sign_in_url.partition("token=")[2]
    nobody = people.nobody()
    response = await nobody.request("POST", "/api/v1/session", json={"token": used, "name": "Eve"})
    assert response.status_code == 401
    await nobody.close()
