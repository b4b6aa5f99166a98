"""The table of routes: method, path, who may, and the handler. A route cannot be without access."""

from __future__ import annotations

import functools
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from cloudide.errors import NotFound
from cloudide.identity.permissions import Action, TeamAction
from cloudide.protocol.sync import SUBPROTOCOL
from cloudide.web import (
    account,
    activity,
    audit,
    builds,
    collab,
    convert,
    devices,
    event_stream,
    events,
    files,
    git,
    git_credentials,
    guesses,
    health,
    history,
    hocuspocus,
    images,
    invites,
    languages,
    openapi,
    pages,
    people,
    policies,
    pools,
    ports,
    prebuilds,
    providers,
    relays,
    repository,
    search,
    secrets,
    session,
    setups,
    tasks,
    teams,
    terminals,
    together,
    users,
    versions,
    webhooks,
    workspace_services,
    workspaces,
)
from cloudide.web.access import (
    Access,
    InPerson,
    InTeam,
    InWorkspace,
    Own,
    Public,
    SignedIn,
    admit,
)
from cloudide.web.idempotency import HEADER
from cloudide.web.openapi import Handler
from cloudide.web.relays import relay
from cloudide.web.services import services
from cloudide.web.sockets import conversation

PUBLIC = Public()
SIGNED_IN = SignedIn()
IN_PERSON = InPerson()
OWN = Own()
READ = InWorkspace(Action.READ)
WRITE = InWorkspace(Action.WRITE)
EXECUTE = InWorkspace(Action.EXECUTE)
OPERATE = InWorkspace(Action.OPERATE)
SHARE = InWorkspace(Action.SHARE)
DELETE = InWorkspace(Action.DELETE)

API = "/api/v1"
TEAM = f"{API}/teams/{{team}}"
WORKSPACE = f"{API}/workspaces/{{workspace}}"
WEBHOOK = f"{API}/webhooks/{{webhook}}"
PREBUILD = f"{API}/prebuilds/{{prebuild}}"
SECRET = f"{API}/secrets/{{secret}}"
IMAGE = f"{API}/images/{{image}}"
VERSION = f"{IMAGE}/versions/{{version}}"
BUILD = f"{API}/builds/{{build}}"
RECORDING = f"{WORKSPACE}/terminals/{{terminal}}/recording"


class Endpoint(NamedTuple):
    """`records`: the action that the audit log calls it; "": what it does is not recorded."""

    method: str
    path: str
    access: Access
    handler: Handler
    records: str = ""


ENDPOINTS = [
    Endpoint("GET", "/healthz", PUBLIC, health.healthz),
    Endpoint("GET", "/readyz", PUBLIC, health.readyz),
    Endpoint("GET", "/metrics", PUBLIC, health.metrics),
    Endpoint("GET", "/api/openapi.json", PUBLIC, openapi.document),
    Endpoint("GET", f"{API}/session", PUBLIC, session.show),
    Endpoint("POST", f"{API}/session", PUBLIC, session.sign_in, audit.SIGN_IN),
    Endpoint("DELETE", f"{API}/session", PUBLIC, session.sign_out, "session.end"),
    Endpoint("GET", f"{API}/providers", PUBLIC, providers.show_all),
    Endpoint("POST", f"{API}/providers/{{provider}}/begin", PUBLIC, providers.begin),
    Endpoint(
        "GET",
        f"{API}/providers/{{provider}}/callback",
        PUBLIC,
        providers.come_back,
        audit.SIGN_IN,
    ),
    Endpoint("GET", f"{API}/identities", IN_PERSON, providers.identities),
    Endpoint(
        "DELETE",
        f"{API}/identities/{{identity}}",
        IN_PERSON,
        providers.unlink,
        "identity.unlink",
    ),
    Endpoint("POST", f"{API}/device/authorize", PUBLIC, devices.authorize),
    Endpoint("POST", f"{API}/device/token", PUBLIC, devices.token, "token.create"),
    Endpoint("GET", f"{API}/device/requests/{{code}}", IN_PERSON, devices.show),
    Endpoint("POST", f"{API}/device/requests/{{code}}", IN_PERSON, devices.answer, "device.answer"),
    Endpoint("GET", f"{API}/account", IN_PERSON, account.show),
    Endpoint("PATCH", f"{API}/account", IN_PERSON, account.change, "account.rename"),
    Endpoint("PUT", f"{API}/account/password", IN_PERSON, account.set_password, "account.password"),
    Endpoint("GET", f"{API}/sessions", OWN, account.sessions),
    Endpoint("DELETE", f"{API}/sessions", OWN, account.end_other_sessions, "session.end"),
    Endpoint("DELETE", f"{API}/sessions/{{session}}", OWN, account.end_session, "session.end"),
    Endpoint("GET", f"{API}/tokens", OWN, account.tokens),
    Endpoint("POST", f"{API}/tokens", OWN, account.create_token, "token.create"),
    Endpoint("DELETE", f"{API}/tokens/{{token}}", OWN, account.revoke_token, "token.revoke"),
    Endpoint("GET", f"{API}/git-profile", IN_PERSON, git_credentials.show_profile),
    Endpoint(
        "PUT", f"{API}/git-profile", IN_PERSON, git_credentials.set_profile, "git.profile.change"
    ),
    Endpoint("GET", f"{API}/git-credentials", IN_PERSON, git_credentials.show_all),
    Endpoint(
        "POST", f"{API}/git-credentials", IN_PERSON, git_credentials.add, "git.credential.add"
    ),
    Endpoint(
        "DELETE",
        f"{API}/git-credentials/{{credential}}",
        IN_PERSON,
        git_credentials.delete,
        "git.credential.delete",
    ),
    Endpoint("GET", f"{API}/audit", SIGNED_IN, audit.show),
    Endpoint("GET", f"{API}/users", SIGNED_IN, users.show_all),
    Endpoint("PATCH", f"{API}/users/{{user}}", SIGNED_IN, users.change, "user.change"),
    Endpoint("GET", f"{API}/events", SIGNED_IN, event_stream.stream),
    # Whose these are is named in the query, the body or the webhook; they check it themselves.
    Endpoint("GET", f"{API}/webhooks", SIGNED_IN, webhooks.show_all),
    Endpoint("POST", f"{API}/webhooks", SIGNED_IN, webhooks.create, "webhook.create"),
    Endpoint("GET", WEBHOOK, SIGNED_IN, webhooks.show),
    Endpoint("PATCH", WEBHOOK, SIGNED_IN, webhooks.change, "webhook.change"),
    Endpoint("DELETE", WEBHOOK, SIGNED_IN, webhooks.delete, "webhook.delete"),
    Endpoint("POST", f"{WEBHOOK}/secret", SIGNED_IN, webhooks.rotate, "webhook.rotate"),
    Endpoint("POST", f"{WEBHOOK}/test", SIGNED_IN, webhooks.test, "webhook.test"),
    Endpoint("GET", f"{WEBHOOK}/deliveries", SIGNED_IN, webhooks.deliveries),
    Endpoint("POST", f"{WEBHOOK}/replay", SIGNED_IN, webhooks.replay_since, "webhook.replay"),
    Endpoint(
        "POST",
        f"{WEBHOOK}/deliveries/{{delivery}}/replay",
        SIGNED_IN,
        webhooks.replay,
        "webhook.replay",
    ),
    Endpoint("GET", f"{API}/secrets", SIGNED_IN, secrets.show_all),
    Endpoint("POST", f"{API}/secrets", SIGNED_IN, secrets.create, "secret.create"),
    Endpoint("GET", SECRET, SIGNED_IN, secrets.show),
    Endpoint("PATCH", SECRET, SIGNED_IN, secrets.change, "secret.change"),
    Endpoint("DELETE", SECRET, SIGNED_IN, secrets.delete, "secret.delete"),
    Endpoint("POST", f"{SECRET}/versions", SIGNED_IN, secrets.add_version, "secret.add_version"),
    Endpoint(
        "DELETE",
        f"{SECRET}/versions/{{version}}",
        SIGNED_IN,
        secrets.delete_version,
        "secret.delete_version",
    ),
    Endpoint("GET", f"{SECRET}/uses", SIGNED_IN, secrets.uses),
    Endpoint("GET", f"{API}/teams", SIGNED_IN, teams.show_all),
    Endpoint("POST", f"{API}/teams", SIGNED_IN, teams.create, "team.create"),
    Endpoint("GET", TEAM, InTeam(TeamAction.SEE), teams.show),
    Endpoint("PATCH", TEAM, InTeam(TeamAction.CONFIGURE), teams.rename, "team.rename"),
    Endpoint("DELETE", TEAM, InTeam(TeamAction.DISBAND), teams.delete, "team.delete"),
    Endpoint("GET", f"{TEAM}/policy", InTeam(TeamAction.SEE), policies.show),
    Endpoint("PUT", f"{TEAM}/policy", InTeam(TeamAction.CONFIGURE), policies.change, "team.policy"),
    Endpoint("GET", f"{TEAM}/members", InTeam(TeamAction.SEE), teams.members),
    Endpoint(
        "PATCH",
        f"{TEAM}/members/{{user}}",
        InTeam(TeamAction.APPOINT),
        teams.appoint,
        "team.appoint",
    ),
    # Everybody may leave; who may remove others is the team's own rule.
    Endpoint(
        "DELETE", f"{TEAM}/members/{{user}}", InTeam(TeamAction.SEE), teams.remove, "team.remove"
    ),
    # Whose an image is, it says itself; its handlers ask what the caller may do in that team.
    Endpoint("GET", f"{API}/images", SIGNED_IN, images.show_all),
    # Whose these are is named in the query or the body; they check it themselves.
    Endpoint("GET", f"{API}/pools", SIGNED_IN, pools.show_all),
    Endpoint("PUT", f"{API}/pools", SIGNED_IN, pools.resize, "pool.resize"),
    Endpoint("POST", f"{API}/images", SIGNED_IN, images.create, "image.create"),
    Endpoint("POST", f"{API}/images/collection", SIGNED_IN, images.collect, "image.collect"),
    Endpoint("GET", IMAGE, SIGNED_IN, images.show),
    Endpoint("PATCH", IMAGE, SIGNED_IN, images.change, "image.change"),
    Endpoint("DELETE", IMAGE, SIGNED_IN, images.delete, "image.delete"),
    Endpoint("PUT", f"{IMAGE}/context", SIGNED_IN, images.upload, "image.upload"),
    Endpoint("GET", f"{IMAGE}/secrets", SIGNED_IN, images.secret_names),
    Endpoint("PUT", f"{IMAGE}/secrets/{{name}}", SIGNED_IN, images.set_secret, "image.set_secret"),
    Endpoint(
        "DELETE",
        f"{IMAGE}/secrets/{{name}}",
        SIGNED_IN,
        images.delete_secret,
        "image.delete_secret",
    ),
    Endpoint("GET", f"{IMAGE}/builds", SIGNED_IN, builds.show_all),
    Endpoint("POST", f"{IMAGE}/builds", SIGNED_IN, builds.request_build, "image.build"),
    Endpoint("GET", f"{IMAGE}/versions", SIGNED_IN, versions.show_all),
    Endpoint("GET", VERSION, SIGNED_IN, versions.show),
    Endpoint("POST", f"{VERSION}/promote", SIGNED_IN, versions.promote, "image.promote"),
    Endpoint("POST", f"{VERSION}/retire", SIGNED_IN, versions.retire, "image.retire"),
    Endpoint("POST", f"{VERSION}/look", SIGNED_IN, versions.look, "image.look"),
    Endpoint("GET", f"{VERSION}/sbom", SIGNED_IN, versions.bill_of_materials),
    Endpoint("POST", f"{IMAGE}/rollback", SIGNED_IN, versions.roll_back, "image.roll_back"),
    Endpoint("GET", BUILD, SIGNED_IN, builds.show),
    Endpoint("GET", f"{BUILD}/log", SIGNED_IN, builds.show_log),
    Endpoint("POST", f"{BUILD}/cancel", SIGNED_IN, builds.cancel, "image.build.cancel"),
    Endpoint("GET", f"{API}/prebuilds", SIGNED_IN, prebuilds.show_all),
    Endpoint("POST", f"{API}/prebuilds", SIGNED_IN, prebuilds.create, "prebuild.create"),
    Endpoint("GET", PREBUILD, SIGNED_IN, prebuilds.show),
    Endpoint("POST", f"{PREBUILD}/runs", SIGNED_IN, prebuilds.run, "prebuild.run"),
    Endpoint("DELETE", PREBUILD, SIGNED_IN, prebuilds.delete, "prebuild.delete"),
    Endpoint("GET", f"{PREBUILD}/log", SIGNED_IN, prebuilds.show_log),
    Endpoint("POST", f"{PREBUILD}/hook-secret", SIGNED_IN, prebuilds.new_hook, "prebuild.hook"),
    # Of a Git host, which signs what it sends.
    Endpoint("POST", f"{PREBUILD}/hook", PUBLIC, prebuilds.hear),
    Endpoint("GET", f"{API}/workspaces", SIGNED_IN, workspaces.show_all),
    Endpoint("POST", f"{API}/workspaces", SIGNED_IN, workspaces.create, "workspace.create"),
    Endpoint("GET", WORKSPACE, READ, workspaces.show),
    Endpoint("PATCH", WORKSPACE, SHARE, workspaces.change, "workspace.change"),
    Endpoint("DELETE", WORKSPACE, DELETE, workspaces.delete, "workspace.delete"),
    Endpoint("POST", f"{WORKSPACE}/start", OPERATE, workspaces.start, "workspace.start"),
    Endpoint("POST", f"{WORKSPACE}/stop", OPERATE, workspaces.stop, "workspace.stop"),
    Endpoint("POST", f"{WORKSPACE}/restart", OPERATE, workspaces.restart, "workspace.restart"),
    Endpoint("POST", f"{WORKSPACE}/update", OPERATE, versions.update_workspace, "workspace.update"),
    Endpoint("GET", f"{WORKSPACE}/events", READ, events.stream),
    Endpoint("GET", f"{WORKSPACE}/activity", READ, activity.show),
    Endpoint("POST", f"{WORKSPACE}/activity", OPERATE, activity.keep),
    Endpoint("GET", f"{WORKSPACE}/resources", READ, activity.show_resources),
    Endpoint("PUT", f"{WORKSPACE}/archive", WRITE, workspaces.unpack),
    Endpoint("GET", f"{WORKSPACE}/tree", READ, files.tree),
    Endpoint("POST", f"{WORKSPACE}/move", WRITE, files.move),
    Endpoint("GET", f"{WORKSPACE}/paths", READ, search.paths),
    Endpoint("POST", f"{WORKSPACE}/search", READ, search.search),
    Endpoint("POST", f"{WORKSPACE}/replace", WRITE, search.replace),
    Endpoint("POST", f"{WORKSPACE}/convert", WRITE, convert.convert_file),
    Endpoint("GET", f"{WORKSPACE}/files/{{path:path}}", READ, files.read),
    Endpoint("PUT", f"{WORKSPACE}/files/{{path:path}}", WRITE, files.write),
    Endpoint("DELETE", f"{WORKSPACE}/files/{{path:path}}", WRITE, files.delete),
    Endpoint("GET", f"{WORKSPACE}/folders/{{path:path}}", READ, files.download_folder),
    Endpoint("POST", f"{WORKSPACE}/deleted/{{deleted}}/restore", WRITE, files.restore_deleted),
    Endpoint("GET", f"{WORKSPACE}/chat", READ, together.show_chat),
    Endpoint("POST", f"{WORKSPACE}/chat", READ, together.say),
    Endpoint("POST", f"{WORKSPACE}/gather", READ, together.gather),
    Endpoint("GET", f"{WORKSPACE}/comments", READ, together.show_comments),
    Endpoint("POST", f"{WORKSPACE}/comments", WRITE, together.comment),
    Endpoint("POST", f"{WORKSPACE}/comments/{{comment}}/replies", WRITE, together.reply),
    Endpoint("PATCH", f"{WORKSPACE}/comments/{{comment}}", WRITE, together.change),
    Endpoint(
        "DELETE",
        f"{WORKSPACE}/comments/{{comment}}",
        WRITE,
        together.delete,
        "comment.delete",
    ),
    Endpoint("GET", f"{WORKSPACE}/history", READ, history.show_all),
    Endpoint("GET", f"{WORKSPACE}/history/{{version}}", READ, history.show),
    Endpoint("GET", f"{WORKSPACE}/changes", READ, history.changed),
    Endpoint("POST", f"{WORKSPACE}/restore", WRITE, history.restore),
    Endpoint("GET", f"{WORKSPACE}/blame", READ, history.blame),
    Endpoint("GET", f"{WORKSPACE}/terminals", READ, terminals.show_all),
    Endpoint("POST", f"{WORKSPACE}/terminals", EXECUTE, terminals.create, "terminal.open"),
    Endpoint(
        "PATCH",
        f"{WORKSPACE}/terminals/{{terminal}}",
        EXECUTE,
        terminals.configure,
        "terminal.typing",
    ),
    Endpoint(
        "DELETE", f"{WORKSPACE}/terminals/{{terminal}}", EXECUTE, terminals.delete, "terminal.close"
    ),
    Endpoint("GET", RECORDING, READ, terminals.download_recording),
    Endpoint("POST", RECORDING, EXECUTE, terminals.record, "terminal.record"),
    Endpoint("POST", f"{RECORDING}/stop", EXECUTE, terminals.end_recording, "terminal.record"),
    Endpoint("DELETE", RECORDING, EXECUTE, terminals.delete_recording, "terminal.record"),
    Endpoint("GET", f"{WORKSPACE}/tasks", READ, tasks.show_all),
    Endpoint("POST", f"{WORKSPACE}/tasks/{{task:path}}/runs", EXECUTE, tasks.run, "task.run"),
    Endpoint("GET", f"{WORKSPACE}/task-runs", READ, tasks.show_runs),
    Endpoint("GET", f"{WORKSPACE}/task-runs/{{run}}/output", READ, tasks.show_output),
    Endpoint("DELETE", f"{WORKSPACE}/task-runs/{{run}}", EXECUTE, tasks.stop, "task.stop"),
    Endpoint("GET", f"{WORKSPACE}/git/status", READ, git.show_status),
    Endpoint("GET", f"{WORKSPACE}/git/diff", READ, git.show_diff),
    Endpoint("POST", f"{WORKSPACE}/git/stage", EXECUTE, git.set_staged),
    Endpoint("POST", f"{WORKSPACE}/git/hunks", EXECUTE, repository.set_hunk_staged),
    Endpoint("POST", f"{WORKSPACE}/git/revert", EXECUTE, repository.take_back, "git.revert"),
    Endpoint("GET", f"{WORKSPACE}/git/branches", READ, repository.show_branches),
    Endpoint("POST", f"{WORKSPACE}/git/branches", EXECUTE, repository.go_to_branch, "git.branch"),
    Endpoint("GET", f"{WORKSPACE}/git/log", READ, repository.show_log),
    Endpoint("GET", f"{WORKSPACE}/git/commits/{{commit}}", READ, repository.show_commit),
    Endpoint("GET", f"{WORKSPACE}/git/commits/{{commit}}/diff", READ, repository.show_commit_diff),
    Endpoint("GET", f"{WORKSPACE}/git/file", READ, repository.show_file),
    Endpoint("GET", f"{WORKSPACE}/git/actions", READ, git.actions),
    Endpoint("POST", f"{WORKSPACE}/git/actions", EXECUTE, git.begin, "git.action"),
    Endpoint(
        "DELETE", f"{WORKSPACE}/git/actions/{{action}}", EXECUTE, git.cancel, "git.action.cancel"
    ),
    Endpoint("GET", f"{WORKSPACE}/git/co-authors", READ, git.co_authors),
    Endpoint("POST", f"{WORKSPACE}/git/commits", EXECUTE, git.commit, "git.commit"),
    # Who is asked answers, and nobody else; the handler looks.
    Endpoint("GET", f"{WORKSPACE}/git/questions", READ, git.questions),
    Endpoint("POST", f"{WORKSPACE}/git/questions/{{question}}", READ, git.answer, "git.answer"),
    Endpoint("GET", f"{WORKSPACE}/languages", READ, languages.show_all),
    Endpoint("GET", f"{WORKSPACE}/languages/{{server}}/log", READ, languages.show_log),
    Endpoint(
        "POST",
        f"{WORKSPACE}/languages/{{server}}/restart",
        EXECUTE,
        languages.restart,
        "language.restart",
    ),
    Endpoint("POST", f"{WORKSPACE}/edits/{{edit}}/undo", WRITE, languages.undo),
    Endpoint("GET", f"{WORKSPACE}/guess", READ, guesses.show),
    Endpoint("GET", f"{WORKSPACE}/setup", READ, setups.show),
    Endpoint("POST", f"{WORKSPACE}/setup", EXECUTE, setups.again, "workspace.setup"),
    Endpoint("GET", f"{WORKSPACE}/services", READ, workspace_services.show_all),
    Endpoint("POST", f"{WORKSPACE}/services", EXECUTE, workspace_services.apply, "service.apply"),
    Endpoint("GET", f"{WORKSPACE}/services/{{service}}/log", READ, workspace_services.show_log),
    Endpoint(
        "POST",
        f"{WORKSPACE}/services/{{service}}/restart",
        EXECUTE,
        workspace_services.restart,
        "service.restart",
    ),
    Endpoint("GET", f"{WORKSPACE}/ports", READ, ports.show_all),
    Endpoint("PATCH", f"{WORKSPACE}/ports/{{port}}", EXECUTE, ports.change, "port.share"),
    Endpoint("POST", f"{WORKSPACE}/ports/{{port}}/ticket", READ, ports.ticket),
    # A browser that is not signed in is sent to where it may; the handler checks who it is.
    Endpoint("GET", f"{WORKSPACE}/ports/{{port}}/open", PUBLIC, ports.enter),
    Endpoint("GET", f"{WORKSPACE}/members", READ, people.members),
    Endpoint(
        "PATCH", f"{WORKSPACE}/members/{{user}}", SHARE, people.change_member, "member.change"
    ),
    # Everybody may leave; the handler checks who may remove others.
    Endpoint(
        "DELETE", f"{WORKSPACE}/members/{{user}}", READ, people.remove_member, "member.remove"
    ),
    Endpoint("GET", f"{WORKSPACE}/requests", SHARE, people.requests),
    Endpoint(
        "POST",
        f"{WORKSPACE}/requests/{{request}}",
        SHARE,
        people.answer_request,
        "request.answer",
    ),
    # What these are of is named in the body or by the invitation; they check it themselves.
    Endpoint("POST", f"{API}/invites", SIGNED_IN, invites.create, "invite.create"),
    Endpoint("GET", f"{API}/invites", SIGNED_IN, invites.show_all),
    Endpoint("DELETE", f"{API}/invites/{{invite}}", SIGNED_IN, invites.revoke, "invite.revoke"),
    Endpoint("POST", f"{API}/invites/preview", PUBLIC, invites.preview),
    Endpoint("POST", f"{API}/invites/accept", PUBLIC, invites.accept, "invite.accept"),
    Endpoint("GET", f"{API}/requests/{{request}}", SIGNED_IN, invites.request_state),
]

SOCKETS = [
    WebSocketRoute(
        f"{API}/events",
        conversation(SIGNED_IN, events.watch, budget=lambda _: 1024 * 1024),
    ),
    WebSocketRoute(
        f"{WORKSPACE}/collab",
        conversation(
            READ,
            hocuspocus.join,
            activity=activity.of_documents,
            budget=lambda websocket: services(websocket).settings.collab_queue,
            frame_limit=lambda websocket: services(websocket).settings.collab_frame_limit,
        ),
    ),
    WebSocketRoute(
        f"{WORKSPACE}/collab/{{path:path}}",
        conversation(
            READ,
            collab.join,
            activity=activity.of_document,
            budget=lambda websocket: services(websocket).settings.collab_queue,
            subprotocol=SUBPROTOCOL,
            frame_limit=lambda websocket: services(websocket).settings.collab_frame_limit,
        ),
    ),
    WebSocketRoute(
        f"{WORKSPACE}/lsp/{{language}}",
        conversation(
            READ,
            languages.join,
            budget=lambda websocket: services(websocket).settings.language_queue,
            frame_limit=lambda _: languages.FRAME_LIMIT,
            send_buffer=languages.SEND_BUFFER,
        ),
    ),
    WebSocketRoute(
        f"{WORKSPACE}/task-runs/{{run}}",
        conversation(
            READ,
            tasks.look,
            budget=lambda websocket: services(websocket).settings.terminal_queue,
        ),
    ),
    WebSocketRoute(
        f"{WORKSPACE}/terminals/{{terminal}}",
        conversation(
            READ,
            terminals.look,
            activity=activity.of_terminal,
            budget=lambda websocket: services(websocket).settings.terminal_queue,
        ),
    ),
    WebSocketRoute(f"{WORKSPACE}/ports/{{port}}/tunnel", relay(relays.tunnel)),
    WebSocketRoute(f"{WORKSPACE}/exec", relay(relays.execute)),
]


def routes() -> list[BaseRoute]:
    """Every route, the page last: it stands for any address that is nothing else."""
    return [
        *(_route(endpoint) for endpoint in ENDPOINTS),
        *SOCKETS,
        WebSocketRoute("/{path:path}", _unknown_socket),
        Route("/api/{path:path}", _unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        Mount("/assets", pages.assets()),
        Route("/{path:path}", pages.page),
    ]


def _route(endpoint: Endpoint) -> Route:
    kind = None
    if isinstance(endpoint.access, InWorkspace) and endpoint.method != "GET":
        kind = activity.OF_ACTION.get(endpoint.access.action)

    repeatable = endpoint.method == "POST" and not isinstance(endpoint.access, Public)

    @functools.wraps(endpoint.handler)
    async def guarded(request: Request) -> Response:
        async with audit.recorded(request, endpoint.records):
            await admit(request, endpoint.access)
            if kind is not None:
                services(request).activity.touch(request.path_params["workspace"], kind)
            if repeatable and HEADER in request.headers:
                return await services(request).idempotency.once(
                    request, request.state.caller.user.id, lambda: endpoint.handler(request)
                )
            return await endpoint.handler(request)

    return Route(endpoint.path, guarded, methods=[endpoint.method])


async def _unknown(request: Request) -> Response:
    raise NotFound("There is no such address in this interface; see /api/openapi.json.")


async def _unknown_socket(websocket: WebSocket) -> None:
    # Without this an unknown address would close with 1000, and clients would try for ever.
    await websocket.accept()
    await websocket.close(NotFound.close_code, "There is no such websocket here.")
