"""The services that handlers use; `app.py` constructs them and puts them into the application."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from cloudide.agents.hub import Agents
from cloudide.collab.history import History
from cloudide.collab.rooms import Rooms
from cloudide.events.deliveries import Deliveries
from cloudide.events.dispatch import Dispatcher
from cloudide.events.log import EventLog
from cloudide.events.webhooks import Webhooks
from cloudide.files.deleted import Deleted
from cloudide.git.git import Git
from cloudide.identity.accounts import Accounts
from cloudide.identity.attempts import Attempts
from cloudide.identity.audit import Audit
from cloudide.identity.devices import Devices
from cloudide.identity.invitations import Invitations
from cloudide.identity.membership import Membership
from cloudide.identity.outside.identities import Identities
from cloudide.identity.outside.providers import Providers
from cloudide.identity.teams import Teams
from cloudide.images.devcontainer.setups import Setups
from cloudide.images.images import Images
from cloudide.languages.languages import Languages
from cloudide.ports.openings import Openings
from cloudide.ports.passes import Passes
from cloudide.ports.sites import Sites
from cloudide.ports.tunnels import Tunnels
from cloudide.ports.visibility import Visibilities
from cloudide.search.search import Searches
from cloudide.secrets.delivery import Delivery
from cloudide.secrets.store import Secrets
from cloudide.settings import Settings
from cloudide.tasks.tasks import Tasks
from cloudide.terminals.terminals import Terminals
from cloudide.together.chat import Chat
from cloudide.together.comments import Comments
from cloudide.web.attendance import Attendance
from cloudide.web.idempotency import Idempotency
from cloudide.web.live import LiveSockets
from cloudide.workspaces.activity import Activity
from cloudide.workspaces.feed import Feed
from cloudide.workspaces.maintenance import Maintenance
from cloudide.workspaces.prebuilds import Prebuilds
from cloudide.workspaces.resources import Meter
from cloudide.workspaces.runtime import Runtime
from cloudide.workspaces.services import Services as WorkspaceServices
from cloudide.workspaces.store import Store
from cloudide.workspaces.supervisor import Supervisor


@dataclass(frozen=True, kw_only=True)
class Services:
    settings: Settings
    accounts: Accounts
    audit: Audit
    providers: Providers
    identities: Identities
    devices: Devices
    device_attempts: Attempts
    membership: Membership
    invitations: Invitations
    teams: Teams
    store: Store
    supervisor: Supervisor
    beside: WorkspaceServices
    prebuilds: Prebuilds
    maintenance: Maintenance
    activity: Activity
    meter: Meter
    runtime: Runtime
    images: Images
    setups: Setups
    agents: Agents
    rooms: Rooms
    history: History
    terminals: Terminals
    languages: Languages
    searches: Searches
    chat: Chat
    comments: Comments
    deleted: Deleted
    git: Git
    openings: Openings
    visibilities: Visibilities
    passes: Passes
    tunnels: Tunnels
    sites: Sites
    tasks: Tasks
    feed: Feed
    attendance: Attendance
    live: LiveSockets
    webhooks: Webhooks
    deliveries: Deliveries
    dispatcher: Dispatcher
    event_log: EventLog
    idempotency: Idempotency
    secrets: Secrets
    secret_delivery: Delivery


def services(connection: HTTPConnection) -> Services:
    return connection.app.state.services
