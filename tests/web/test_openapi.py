"""The interface does what its description says, whatever it is sent: schemathesis looks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from promises.record import record
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from site_of_people import People

from cloudide.web import openapi, routes

SEED = 20260101
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# They last until the client goes; tests of their own read them.
STREAMS = {"GET /api/v1/events", "GET /api/v1/workspaces/{workspace}/events"}
# These end what all else here is tried with: the caller's session, the workspace's container.
ENDING = {
    "DELETE /api/v1/session",
    "POST /api/v1/workspaces/{workspace}/stop",
    "POST /api/v1/workspaces/{workspace}/restart",
}
DOCUMENT = openapi.build(list(routes.ENDPOINTS))


def test_every_route_is_described() -> None:
    assert openapi.undescribed(routes.ENDPOINTS) == []
    described = {
        f"{method.upper()} {path}" for path, each in DOCUMENT["paths"].items() for method in each
    }
    assert len(described) == len(routes.ENDPOINTS)
    ids = [
        operation["operationId"]
        for path in DOCUMENT["paths"].values()
        for operation in path.values()
    ]
    assert len(set(ids)) == len(ids)


def test_the_schemas_are_schemas() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_answers_are_as_described(people: People, soak: Callable[[int, int], int]) -> None:
    """Each request is sent by nobody, and by an editor."""
    api = people["editor"]
    await people["owner"].write(people.workspace, "there.txt", "text")
    served = await api.get("/api/openapi.json")
    assert served == DOCUMENT
    cookies = dict(api.http.cookies.items())
    wrong: list[str] = []
    tries: Counter[str] = Counter()
    examples = {
        GenerationMode.POSITIVE: soak(50, 3),
        GenerationMode.NEGATIVE: soak(50, 2),
    }

    def look(operation: Any) -> None:
        for mode in GenerationMode:

            @seed(SEED)
            @settings(
                max_examples=examples[mode],
                deadline=None,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=[
                    HealthCheck.too_slow,
                    HealthCheck.filter_too_much,
                    HealthCheck.data_too_large,
                ],
            )
            @given(operation.as_strategy(generation_mode=mode))
            def tried(case: Any) -> None:
                tries[operation.label] += 1
                if "workspace" in case.path_parameters:
                    case.path_parameters["workspace"] = people.workspace
                case.headers = {
                    **{
                        name: value
                        for name, value in (case.headers or {}).items()
                        if name.lower() not in ("cookie", "authorization", "origin")
                    },
                    "Origin": people.server.url,
                }
                for case.cookies in ({}, cookies):
                    response = case.call(
                        base_url=people.server.url, allow_redirects=False, timeout=60
                    )
                    case.validate_response(response, checks=CHECKS)

            try:
                tried()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE  # nothing can be wrong where nothing is sent
            except (Failure, FailureGroup, ExceptionGroup) as error:
                wrong.append(f"{operation.label} ({mode.value}): {_short(error)}")

    def all_of_them() -> None:
        schema = schemathesis.openapi.from_dict(DOCUMENT)
        for result in schema.get_all_operations():
            operation = cast(Any, result).ok()
            if operation.label not in STREAMS | ENDING:
                look(operation)

    await asyncio.to_thread(all_of_them)
    assert wrong == []
    # Some take nothing that could be varied: what there is to try was tried.
    full = sum(count >= 100 for count in tries.values())
    record(
        14,
        f"{tries.total():,} requests to {len(tries)} operations, by nobody and by an editor each; "
        f"{full} of them had 100 or more, the others all that can be varied: as described, no 5xx.",
    )


def _short(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_short(each) for each in error.exceptions)
    return " ".join(str(error).split())[:600]
