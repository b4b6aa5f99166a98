"""`/api/v1/workspaces/{id}/git`: Git of a workspace, with the caller's own hands."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.agents.link import Agent
from cloudide.errors import Denied
from cloudide.git.actions import Kind, Order, State, View
from cloudide.git.asking import Question, Reply
from cloudide.git.status import Status, diff, stage, status
from cloudide.identity.permissions import Grant, Person
from cloudide.web.access import Caller
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.files import clean_path
from cloudide.web.openapi import describe
from cloudide.web.services import services


class NewAction(msgspec.Struct):
    """What to do with the repository in the folder `directory` of the workspace.

    `url` is the address of `remote` as you saw it; the action fails if it is another by now. A push
    sets `branch` to `commit` there, and nothing else; `force`: also where that loses commits,
    unless somebody has pushed since the last fetch.
    """

    kind: Kind
    remote: str
    url: str
    branch: str = ""
    commit: str = ""
    directory: str = ""
    force: bool = False


class ActionView(msgspec.Struct):
    """`lines`: the end of what Git printed, a line of progress for each kind of it."""

    id: str
    kind: Kind
    person: Person
    repository: str
    state: State
    started_at: datetime
    lines: list[str]
    error: str


class ActionList(msgspec.Struct):
    actions: list[ActionView]


@describe(tag="git", HTTP_200=ActionList)
async def actions(request: Request) -> Response:
    """Fetches, pulls and pushes that run, and the last ones that ran."""
    grant: Grant = request.state.grant
    found = services(request).git.actions.list(grant.workspace)
    return json_response(ActionList([_view(each) for each in found]))


@describe(tag="git", body=NewAction, HTTP_202=ActionView)
async def begin(request: Request) -> Response:
    """Fetch, pull or push in your name.

    Your Git credentials are used by the server, if any fit, and only when you are signed in
    yourself: by an API token a repository is reached as by anybody.
    """
    body = await json_body(request, NewAction)
    grant: Grant = request.state.grant
    caller: Caller = request.state.caller
    order = Order(
        kind=body.kind,
        directory=clean_path(body.directory),
        remote=body.remote,
        url=body.url,
        branch=body.branch,
        commit=body.commit,
        force=body.force,
    )
    request.state.audit |= {"kind": body.kind, "repository": body.url, "branch": body.branch}
    view = services(request).git.actions.begin(
        grant.workspace, grant.person, order, signs_in=bool(caller.session)
    )
    return json_response(_view(view), 202)


@describe(tag="git", HTTP_200=ActionView)
async def cancel(request: Request) -> Response:
    """End one that runs; what Git has done until then stays."""
    grant: Grant = request.state.grant
    view = services(request).git.actions.cancel(grant.workspace, request.path_params["action"])
    return json_response(_view(view))


class SignatureView(msgspec.Struct):
    name: str
    email: str


class CoAuthorsView(msgspec.Struct):
    """Those whose edits are staged, you left out."""

    co_authors: list[SignatureView]


class NewCommit(msgspec.Struct):
    """A commit of what is staged. `amend`: in place of the last one; "" keeps its message."""

    message: str
    directory: str = ""
    amend: bool = False


class CommitView(msgspec.Struct):
    id: str
    message: str


@describe(
    tag="git",
    query={"directory": "the repository's folder; default: the root", "amend": "`true`"},
    HTTP_200=CoAuthorsView,
)
async def co_authors(request: Request) -> Response:
    """Who besides you typed what is staged in the repository in `directory`.

    `amend=true`: as part of the last commit. They are named in the commit's message.
    """
    grant: Grant = request.state.grant
    query = request.query_params
    found = await services(request).git.commits.co_authors(
        grant.workspace,
        grant.person,
        clean_path(query.get("directory", "")),
        amend=query.get("amend") == "true",
    )
    return json_response(CoAuthorsView([SignatureView(each.name, each.email) for each in found]))


@describe(tag="git", body=NewCommit, HTTP_201=CommitView)
async def commit(request: Request) -> Response:
    """Commit what is staged, in your name; those who typed it with you are co-authors."""
    body = await json_body(request, NewCommit)
    grant: Grant = request.state.grant
    made = await services(request).git.commits.commit(
        grant.workspace,
        grant.person,
        clean_path(body.directory),
        body.message,
        amend=body.amend,
    )
    request.state.audit |= {"commit": made.id}
    return json_response(CommitView(made.id, made.message), 201)


class QuestionList(msgspec.Struct):
    questions: list[Question]


class NewAnswer(msgspec.Struct):
    """`allow`: with your credentials. `here`: you type a password in the terminal instead.
    `owner`: ask the workspace's owner. Else `deny`."""

    answer: Reply


@describe(tag="git", HTTP_200=QuestionList)
async def questions(request: Request) -> Response:
    """What Git in a terminal of yours, or a guest's, asks you now."""
    grant: Grant = request.state.grant
    asking = services(request).git.asking
    return json_response(QuestionList(asking.pending(grant.workspace, grant.person.id)))


@describe(tag="git", body=NewAnswer, HTTP_204=None)
async def answer(request: Request) -> Response:
    """Answer a question that you are asked; each is for one fetch or push."""
    body = await json_body(request, NewAnswer)
    grant: Grant = request.state.grant
    caller: Caller = request.state.caller
    if not caller.session:
        raise Denied("An API token cannot do this; sign in to the IDE.")
    question = services(request).git.asking.answer(
        grant.workspace, grant.person.id, request.path_params["question"], body.answer
    )
    request.state.audit |= {
        "answer": body.answer,
        "repository": question.repository,
        "service": question.service,
        "asker": question.asker.id,
    }
    return no_content()


class Staging(msgspec.Struct):
    """`paths` are from the repository's top. `staged` false: take them out of the index again."""

    paths: list[str]
    staged: bool
    directory: str = ""


@describe(tag="git", HTTP_200=Status)
async def show_status(request: Request) -> Response:
    """Branch, changed files and remotes of the repository in `directory`."""
    agent, directory = await _repository(request)
    return json_response(await status(agent, directory))


@describe(tag="git", HTTP_200=None)
async def show_diff(request: Request) -> Response:
    """What has changed in the file `path`; `staged=true`: what is staged of it."""
    agent, directory = await _repository(request)
    query = request.query_params
    content = await diff(
        agent, directory, clean_path(query.get("path", "")), staged=query.get("staged") == "true"
    )
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    return Response(content, headers=headers)


@describe(tag="git", body=Staging, HTTP_204=None)
async def set_staged(request: Request) -> Response:
    """Stage whole files, with what is in open editors, or unstage them."""
    body = await json_body(request, Staging)
    agent, _ = await _repository(request)
    await stage(agent, clean_path(body.directory), body.paths, staged=body.staged)
    return no_content()


async def _repository(request: Request) -> tuple[Agent, str]:
    """The agent, once what people have typed is in the files; and the folder that is asked for."""
    grant: Grant = request.state.grant
    agent = services(request).agents.agent(grant.workspace)
    await services(request).rooms.flush_quietly(grant.workspace)
    return agent, clean_path(request.query_params.get("directory", ""))


def _view(view: View) -> ActionView:
    return ActionView(
        view.id,
        view.kind,
        view.person,
        view.repository,
        view.state,
        datetime.fromtimestamp(view.started_at, UTC),
        view.lines,
        view.error,
    )
