"""The composition root: constructs the services, wires them together, mounts the routes."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from cloudide.agents.hub import Agents
from cloudide.agents.link import Agent
from cloudide.collab.attribution import Attribution
from cloudide.collab.history import History
from cloudide.collab.journal import Journal
from cloudide.collab.rooms import Rooms
from cloudide.errors import CloudIDEError
from cloudide.events.addresses import Addresses, networks
from cloudide.events.deliveries import Deliveries
from cloudide.events.dispatch import Dispatcher
from cloudide.events.log import EventLog
from cloudide.events.webhooks import Webhooks
from cloudide.files.deleted import Deleted
from cloudide.git.git import Git
from cloudide.git.upstream import trust
from cloudide.identity.accounts import Accounts
from cloudide.identity.attempts import Attempts
from cloudide.identity.audit import Audit
from cloudide.identity.devices import Devices
from cloudide.identity.invitations import Invitations
from cloudide.identity.membership import Membership
from cloudide.identity.outside.identities import Identities
from cloudide.identity.outside.providers import Providers
from cloudide.identity.permissions import Person
from cloudide.identity.sealing import Sealing
from cloudide.identity.teams import Teams
from cloudide.images.devcontainer.setups import Setups
from cloudide.images.images import Images
from cloudide.images.service_images import ServiceImages
from cloudide.images.stock import StockImages
from cloudide.languages.languages import Languages
from cloudide.ports.openings import Openings
from cloudide.ports.passes import Passes
from cloudide.ports.sites import Sites
from cloudide.ports.tunnels import Tunnels
from cloudide.ports.visibility import Visibilities
from cloudide.search.search import Searches
from cloudide.secrets.delivery import Delivery
from cloudide.secrets.redaction import Redactor
from cloudide.secrets.store import Secrets
from cloudide.settings import Settings
from cloudide.storage.database import Database
from cloudide.tasks.records import Records
from cloudide.tasks.tasks import Tasks
from cloudide.telemetry import hide
from cloudide.terminals.terminals import Terminals
from cloudide.together.chat import Chat
from cloudide.together.comments import Comments
from cloudide.web import ports
from cloudide.web.access import Edge
from cloudide.web.attendance import Attendance
from cloudide.web.idempotency import Idempotency
from cloudide.web.live import LiveSockets
from cloudide.web.openapi import register
from cloudide.web.preview import Previews
from cloudide.web.problems import on_domain_error, on_http_error, on_unexpected
from cloudide.web.routes import ENDPOINTS, routes
from cloudide.web.services import Services
from cloudide.workspaces.activity import Activity, Hold, at_work
from cloudide.workspaces.containers import Containers
from cloudide.workspaces.dependencies import PREPARE, Seeds
from cloudide.workspaces.docker import DockerRuntime
from cloudide.workspaces.engine import Engine
from cloudide.workspaces.feed import Feed
from cloudide.workspaces.lifecycle import Desired
from cloudide.workspaces.maintenance import Maintenance
from cloudide.workspaces.policies import PolicyStore
from cloudide.workspaces.pool_store import PoolStore
from cloudide.workspaces.prebuild_store import PrebuildStore
from cloudide.workspaces.prebuilds import Prebuilds
from cloudide.workspaces.resources import Meter
from cloudide.workspaces.runtime import Limits
from cloudide.workspaces.service_store import ServiceStore
from cloudide.workspaces.services import Services as WorkspaceServices
from cloudide.workspaces.store import Store, Workspace
from cloudide.workspaces.supervisor import Supervisor


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Starlette]:
    """The application with all its services running; they end, in order, with the context.

    Raises:
        CloudIDEError: the data directory cannot be used; the message says why.
    """
    settings = _with_ca_bundle(settings)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(settings.data_dir / "cloudide.sqlite")
    journal = Journal(settings.data_dir / "journal.sqlite")
    engine = Engine(settings.docker_host, settings.engine_threads)
    instance = _instance(settings.data_dir)
    runtime = DockerRuntime(engine, instance=instance, network_pool=settings.network_pool)
    ca_bundle = Path(settings.ca_bundle) if settings.ca_bundle else None
    sealing = Sealing.start(
        settings.data_dir, file=settings.secrets_key_file, given=settings.secrets_key
    )
    stock = StockImages(engine, ca_bundle=ca_bundle)
    images = Images.assemble(engine, stock, database, sealing, settings, instance, Redactor)
    accounts = Accounts(database, settings.admin_token, settings.session_days)
    providers = Providers(settings)
    agents = Agents(settings.data_dir / "run")
    feed = Feed()
    store = Store(database, settings.workspaces_per_user, settings.workspaces_per_team)
    rooms = Rooms(agents, journal, settings)
    history = History(journal, settings.history_days)
    terminals = Terminals(agents, settings, _key(settings.data_dir / "terminals.key"))
    languages = Languages(agents, rooms, settings)
    languages.on_change = lambda workspace: feed.publish("languages", workspace, {})
    openings = Openings(agents)
    visibilities = Visibilities(database, settings.preview_link_days)
    tunnels = Tunnels(agents)
    pools = PoolStore(database, settings.pool or {}, settings.pools_per_team)
    containers = Containers(runtime, images, agents, settings)
    teams = Teams(database)

    async def images_for(workspace: str) -> set[str]:
        """The teams whose images a workspace may use: its own, or those of its owner."""
        row = await store.get(workspace)
        if row.team:
            return {row.team}
        return {team.id for team in await teams.of_user(row.owner)}

    async def choose_image(workspace: Workspace, image: str) -> str:
        return images.resolve(image, await images_for(workspace.id))

    beside = WorkspaceServices(
        ServiceStore(database),
        runtime.services,
        containers,
        ServiceImages(engine, stock, images, images_for, settings.service_images),
        agents,
        feed,
        settings,
    )
    containers.seeds = seeds = Seeds(database)
    prebuilds = Prebuilds(
        PrebuildStore(database, sealing, settings.prebuilds_per_team, settings.pools_per_team),
        runtime,
        containers,
        images,
        agents,
        seeds,
        settings,
    )
    supervisor = Supervisor(
        store, pools, runtime, agents, images, beside, containers, feed, settings
    )

    setups = Setups(database, agents, images, settings.setup_timeout)
    supervisor.means.on_running = setups.started

    addresses = Addresses(
        networks(settings.webhook_networks), loopback=settings.insecure_webhook_loopback
    )
    webhooks, deliveries = Webhooks(database, sealing, addresses), Deliveries(database)
    dispatcher = Dispatcher(webhooks, deliveries, addresses, settings.origin)
    event_log = EventLog(database, deliveries, settings.event_days)

    def on_events() -> None:
        event_log.notify()
        dispatcher.poke()

    database.on_events = on_events

    async def flush(workspace: str) -> None:
        await rooms.flush_quietly(workspace)

    async def record(action: str, **about: Any) -> None:
        await audit.append(action, **about)

    secrets_ = Secrets(database, sealing)
    delivery = Delivery(database, secrets_, record, hide)
    tasks = Tasks(agents, Records(database), settings, flush, delivery.give)
    tasks.on_change = lambda workspace, run: feed.publish("tasks", workspace, {"runs": [run]})
    tasks.open_preview = lambda workspace, task, port: feed.publish(
        "task_ready", workspace, {"task": task, "port": port}
    )

    activity = Activity(
        settings,
        feed,
        supervisor.running,
        lambda workspace: [
            *(Hold("task", name) for name in tasks.running(workspace)),
            *(Hold("task", name) for name in setups.running(workspace)),
            *at_work(terminals.list(workspace)),
        ],
        lambda workspace: supervisor.want(workspace, Desired.STOPPED, stopped_by="idle"),
    )
    limits = Limits(
        cpus=settings.workspace_cpus,
        memory=settings.workspace_memory,
        processes=settings.workspace_processes,
    )
    meter = Meter(agents, supervisor.running, runtime.consumption, limits)
    supervisor.means.before_stop = flush
    supervisor.means.seed = prebuilds.seed
    supervisor.means.choose_image = choose_image
    supervisor.means.image_of_prebuild = prebuilds.image_of
    supervisor.pools.fill = prebuilds.fill
    prebuilds.on_change = seeds.on_change = supervisor.pools.recheck

    async def prepare(agent: Agent, team: str) -> None:
        """npm's part of the dependency caches, which has to be the workspace's own."""
        seed = seeds.of(team)
        if seed is not None and seed.packages.npm:
            await agent.execute(["sh", "-c", PREPARE], timeout=settings.clone_timeout)

    supervisor.means.prepare = supervisor.pools.prepare = prepare

    async def pushed(workspace: str, url: str, branch: str) -> None:
        await prebuilds.pushed((await store.get(workspace)).team, url, branch)

    async def update(workspace: str) -> None:
        """Restart a workspace with the newest version of its image, and say who it was."""
        await images.want_update(workspace)
        await supervisor.want(workspace, Desired.RUNNING, anew=True)
        await audit.append("workspace.update", workspace=workspace, detail={"by": "maintenance"})

    maintenance = Maintenance(
        PolicyStore(database), feed, supervisor.running_workspaces, images.about, update
    )

    chat, comments = Chat(database), Comments(database)
    chat.on_message = lambda workspace, message: feed.publish(
        "chat", workspace, {"message": msgspec.to_builtins(message)}
    )
    comments.on_change = lambda workspace: feed.publish("comments", workspace, {})
    deleted = Deleted()

    async def forget(workspace: str) -> None:
        deleted.forget(workspace)
        visibilities.forget(workspace)
        languages.forget(workspace)
        git.forget(workspace)
        setups.forget(workspace)
        await images.forget_workspace(workspace)
        await rooms.forget(workspace)

    def owner_of(workspace: str) -> Person | None:
        view = supervisor.view(workspace)
        return Person(view["owner"], view["owner_name"], "") if view["owner"] else None

    supervisor.means.after_delete = forget
    supervisor.means.about_image = lambda workspace: {
        **maintenance.about(workspace),
        **setups.about(workspace.id),
    }

    def tell_image(workspace: str) -> None:
        if supervisor.exists(workspace):
            feed.publish("workspace", workspace, supervisor.view(workspace))

    images.on_change = setups.on_change = tell_image
    terminals.on_change = lambda workspace: feed.publish(
        "terminals", workspace, {"terminals": terminals.list(workspace)}
    )

    async with AsyncExitStack() as stack:
        stack.push_async_callback(providers.close)
        stack.push_async_callback(database.close)
        await database.start()
        stack.push_async_callback(journal.close)
        await journal.start()
        await accounts.start()
        audit = await Audit.start(database, settings.data_dir)
        await visibilities.start()
        await seeds.start()
        idempotency = Idempotency(database, sealing)
        await idempotency.start()
        git = Git(
            agents,
            database,
            sealing,
            settings,
            trust(settings.ca_bundle),
            wrote=Attribution(journal, settings.editable_limit),
            record=audit.append,
            person_of=accounts.get,
            typist=terminals.typist,
            owner=owner_of,
        )
        supervisor.means.after_first_start = lambda workspace: git.dotfiles.begin(
            workspace.id, Person(workspace.owner, workspace.owner_name, "")
        )
        git.dotfiles.on_failure = lambda workspace, owner, message: feed.publish(
            "notice", workspace, {"message": message}, person=owner.id
        )
        git.asking.on_change = lambda question, asked: feed.publish(
            "git_question",
            question.workspace,
            {"question": msgspec.to_builtins(question), "asked": asked},
            person=question.to,
        )
        terminals.on_typist = git.questions.typing
        supervisor.means.cloning = lambda workspace: git.errands.cloning(
            workspace.id, Person(workspace.owner, workspace.owner_name, ""), workspace.git_url
        )
        stack.push_async_callback(runtime.close)
        stack.push_async_callback(agents.close)
        stack.push_async_callback(tunnels.close)
        await stack.enter_async_context(event_log)
        await stack.enter_async_context(dispatcher)
        await stack.enter_async_context(rooms)
        await stack.enter_async_context(history)
        await stack.enter_async_context(terminals)
        await stack.enter_async_context(languages)
        await stack.enter_async_context(tasks)
        git.actions.on_change = lambda workspace, view: feed.publish(
            "git_action", workspace, {"action": msgspec.to_builtins(view)}
        )
        git.actions.on_pushed = pushed
        await stack.enter_async_context(git)
        await stack.enter_async_context(images)
        await stack.enter_async_context(beside)
        await stack.enter_async_context(setups)
        await stack.enter_async_context(prebuilds)
        await stack.enter_async_context(supervisor)
        await stack.enter_async_context(maintenance)
        activity.on_stop = lambda workspace: audit.append(
            "workspace.stop", workspace=workspace, detail={"by": "idle"}
        )
        await stack.enter_async_context(activity)
        await stack.enter_async_context(meter)
        services = Services(
            settings=settings,
            accounts=accounts,
            audit=audit,
            providers=providers,
            identities=Identities(database),
            devices=Devices(),
            device_attempts=Attempts(),
            membership=Membership(database),
            invitations=Invitations(database, settings.invite_days),
            teams=teams,
            store=store,
            supervisor=supervisor,
            beside=beside,
            prebuilds=prebuilds,
            maintenance=maintenance,
            activity=activity,
            meter=meter,
            runtime=runtime,
            images=images,
            setups=setups,
            agents=agents,
            rooms=rooms,
            history=history,
            terminals=terminals,
            languages=languages,
            searches=Searches(),
            chat=chat,
            comments=comments,
            deleted=deleted,
            git=git,
            openings=openings,
            visibilities=visibilities,
            passes=Passes(database),
            tunnels=tunnels,
            sites=Sites(settings.preview_site),
            tasks=tasks,
            feed=feed,
            attendance=Attendance(feed),
            live=LiveSockets(settings.sockets_per_user),
            webhooks=webhooks,
            deliveries=deliveries,
            dispatcher=dispatcher,
            event_log=event_log,
            idempotency=idempotency,
            secrets=secrets_,
            secret_delivery=delivery,
        )
        beside.on_first = lambda workspace, _: ports.show_declared(services, workspace)
        openings.on_change = lambda workspace: ports.tell(services, workspace)
        previews = await stack.enter_async_context(Previews(services))
        yield application(services, previews)


def application(services: Services, previews: Previews) -> Starlette:
    """The Starlette application for these services."""
    app = Starlette(
        routes=routes(),
        middleware=[
            Middleware(Edge, settings=services.settings, sites=services.sites, preview=previews)
        ],
        exception_handlers={
            CloudIDEError: on_domain_error,
            HTTPException: on_http_error,
            Exception: on_unexpected,
        },
    )
    app.state.services = services
    app.state.previews = previews
    register(ENDPOINTS)
    return app


def _with_ca_bundle(settings: Settings) -> Settings:
    bundle = settings.ca_bundle or os.environ.get("SSL_CERT_FILE", "")
    return msgspec.structs.replace(settings, ca_bundle=bundle)


def _key(file: Path) -> bytes:
    """A secret of this server that outlives it."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_bytes(secrets.token_bytes(32))
    return file.read_bytes()


def _instance(data_dir: Path) -> str:
    """A name for this server's containers, so that several can share an engine."""
    file = data_dir / "instance"
    if not file.exists():
        file.write_text(secrets.token_hex(4))
    return file.read_text().strip()
