"""Every setting in one table: name, default, unit and what it does.

A value comes from, in this order: a keyword (the command line), the environment variable
`CLOUDIDE_<NAME>`, the TOML file named by `CLOUDIDE_CONFIG`, the default.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from cloudide.errors import InvalidInput

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class Option(msgspec.Struct, frozen=True):
    """One row of the table, attached to the field of `Settings` it describes."""

    unit: str
    help: str


def _option(default: Any, unit: str, help: str) -> Any:
    OPTIONS.append(Option(unit, help))
    return default


OPTIONS: list[Option] = []


_TABLES = ("oidc", "github", "pool")  # settings that are JSON in the environment
_PROVIDER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class _Client(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this server is at an identity provider. `allowed_domains`: of verified addresses; none:
    any. `create_accounts`: who has no account here gets one."""

    client_id: str
    client_secret: str = ""
    client_secret_file: str = ""
    label: str = ""
    allowed_domains: tuple[str, ...] = ()
    create_accounts: bool = False

    def secret(self) -> str:
        """Raises: InvalidInput: its file cannot be read."""
        if not self.client_secret_file:
            return self.client_secret
        try:
            return Path(self.client_secret_file).read_text().strip()
        except OSError as error:
            raise InvalidInput(f"client_secret_file: {error}") from error

    def _check(self) -> None:
        if not self.client_id:
            raise ValueError("client_id is empty; the provider has given you one")
        if self.client_secret and self.client_secret_file:
            raise ValueError("client_secret and client_secret_file: set one of them")


class OidcProvider(_Client, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[oidc.<name>]`. `issuer` as the provider writes it; plain http on this machine alone."""

    issuer: str
    scopes: tuple[str, ...] = ("profile", "email")

    def __post_init__(self) -> None:
        self._check()
        url = urlsplit(self.issuer)
        plain = url.scheme == "http" and is_loopback(url.hostname or "")
        if not url.hostname or url.query or url.fragment or not (url.scheme == "https" or plain):
            raise ValueError(f"issuer {self.issuer!r} is not an https address without ? and #")


class GitHubProvider(_Client, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[github]`. `host`: of GitHub Enterprise."""

    host: str = "github.com"
    label: str = "GitHub"

    def __post_init__(self) -> None:
        self._check()
        if not re.fullmatch(r"[a-z0-9.-]+(:[0-9]{1,5})?", self.host):
            raise ValueError(f"host {self.host!r} is not a name such as github.example.org")
        if not (self.client_secret or self.client_secret_file):
            raise ValueError("client_secret is missing, which GitHub asks for")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one server. Fields are documented by `describe()`, which the docs use."""

    listen: str = _option("127.0.0.1:8080", "host:port", "address the server listens on")
    public_url: str = _option(
        "http://localhost:8080", "URL", "the one address people use; other origins are refused"
    )
    preview_url: str = _option(
        "",
        "URL",
        "previews are at {port}--{workspace}.<its host>; empty: preview.<host of public_url>",
    )
    preview_timeout: float = _option(
        60.0, "seconds", "time a previewed program has to begin its answer"
    )
    preview_link_days: int = _option(7, "days", "a public link to a preview is valid for this long")
    trusted_proxies: str = _option(
        "", "networks", "reverse proxies whose X-Forwarded-For is believed; empty: none"
    )
    data_dir: Path = _option(Path("data"), "folder", "database, journal and agent sockets")
    tls_certificate: str = _option("", "file", "PEM certificate chain; empty: no TLS here")
    tls_key: str = _option("", "file", "PEM key of the certificate")
    admin_token: str = _option("", "secret", "presets an API token of a site administrator")
    docker_host: str = _option("", "URL", "container engine; empty: DOCKER_HOST or its socket")
    engine_threads: int = _option(8, "threads", "calls to the container engine at one time")
    ca_bundle: str = _option("", "file", "CA bundle for image builds; empty: SSL_CERT_FILE")
    workspace_ca_bundle: bool = _option(
        True, "true/false", "mount the CA bundle into workspaces and point tools at it"
    )
    network_pool: str = _option(
        "10.213.0.0/16", "subnet", "pool from which each workspace gets a /28 network"
    )
    editable_limit: int = _option(5 * MIB, "bytes", "largest file that opens for editing")
    collab_frame_limit: int = _option(16 * MIB, "bytes", "largest frame of a collab socket")
    collab_queue: int = _option(4 * MIB, "bytes", "queue for one slow reader, then a resync")
    stall_limit: float = _option(
        10.0, "seconds", "a client that reads nothing for so long is closed, to come back later"
    )
    awareness_limit: int = _option(4 * KIB, "bytes", "largest awareness state of one client")
    write_back_delay: float = _option(0.15, "seconds", "quiet time before a write to disk")
    write_back_limit: float = _option(1.0, "seconds", "longest wait before a room is written")
    stat_interval: float = _option(2.0, "seconds", "how often open files are checked on disk")
    room_grace: float = _option(10.0, "seconds", "how long an empty room stays loaded")
    history_days: int = _option(30, "days", "how far back the history of documents goes")
    terminal_scrollback: int = _option(1 * MIB, "bytes", "output a terminal keeps for replay")
    terminal_queue: int = _option(512 * KIB, "bytes", "queue for one viewer, then a resync")
    terminal_recording: int = _option(8 * MIB, "bytes", "largest recording of a terminal")
    terminals_per_workspace: int = _option(32, "terminals", "terminals open in one workspace")
    tasks_per_workspace: int = _option(32, "tasks", "tasks that run in one workspace at a time")
    task_output: int = _option(1 * MIB, "bytes", "output of a task that is kept, its end")
    language_server_memory: int = _option(
        2 * GIB, "bytes", "memory one language server may use, then it is ended"
    )
    language_server_idle_minutes: float = _option(
        10.0, "minutes", "a language server that nobody uses for so long is stopped"
    )
    language_queue: int = _option(
        32 * MIB, "bytes", "queue for one slow editor's language messages; then it is closed"
    )
    workspace_cpus: float = _option(2.0, "CPUs", "CPU time a workspace may use")
    workspace_memory: int = _option(4 * GIB, "bytes", "memory of a workspace, swap included")
    workspace_processes: int = _option(1024, "processes", "processes and threads of a workspace")
    workspaces_per_user: int = _option(20, "workspaces", "workspaces one person may own")
    workspaces_per_team: int = _option(200, "workspaces", "workspaces one team may own")
    pool: dict[str, int] | None = _option(
        None, "table", "ready workspaces to keep, a number for each image, in a table [pool]"
    )
    pool_limit: int = _option(20, "workspaces", "ready workspaces of all pools together")
    pools_per_team: int = _option(4, "workspaces", "ready workspaces of the pools of one team")
    setup_timeout: float = _option(
        3600.0, "seconds", "time that a lifecycle command of a development container may take"
    )
    prebuild_timeout: float = _option(
        3600.0, "seconds", "time that the command of a prebuild may take"
    )
    pip_index: str = _option(
        "", "URL", "where dependency caches get Python packages; empty: as pip does"
    )
    npm_registry: str = _option(
        "", "URL", "where dependency caches get npm packages; empty: as npm does"
    )
    go_proxy: str = _option("", "URL", "where dependency caches get Go modules; empty: as Go does")
    prebuilds_per_team: int = _option(5, "prebuilds", "prebuilds one team may have")
    service_images: str = _option(
        "postgres:*, postgis/postgis:*, pgvector/pgvector:*, mysql:*, mariadb:*, redis:*, "
        "valkey/valkey:*, memcached:*, mongo:*, rabbitmq:*, nats:*, elasticsearch:*, "
        "opensearchproject/opensearch:*, minio/minio:*, axllent/mailpit:*",
        "patterns",
        "images that services beside a workspace may run; ours always may",
    )
    people_create: bool = _option(
        True, "true/false", "everybody but guests may create workspaces and teams"
    )
    build_concurrency: int = _option(2, "builds", "image builds that run at one time")
    builds_per_team: int = _option(1, "builds", "image builds of one team that run at one time")
    build_queue: int = _option(20, "builds", "image builds of one team that may wait")
    build_minutes: float = _option(60.0, "minutes", "time an image build may take")
    build_memory: int = _option(4 * GIB, "bytes", "memory of a step of an image build")
    build_disk: int = _option(20 * GIB, "bytes", "what a step of an image build may write")
    build_disk_reserve: int = _option(
        2 * GIB, "bytes", "space that image builds leave free on the engine's disk"
    )
    build_log: int = _option(4 * MIB, "bytes", "output of an image build that is kept")
    build_cache_hours: float = _option(
        24.0, "hours", "how long what only later builds may use is kept on the engine"
    )
    context_limit: int = _option(512 * MIB, "bytes", "largest build context, unpacked")
    context_entries: int = _option(50_000, "entries", "files and folders in a build context")
    image_references: str = _option(
        "", "patterns", "existing images that teams may use, such as registry.example.org/ide/*"
    )
    image_bases: str = _option(
        "*", "patterns", "images that teams may build on; ours are always allowed"
    )
    feature_registries: str = _option(
        "ghcr.io, pkg-containers.githubusercontent.com, mcr.microsoft.com, "
        "*.data.mcr.microsoft.com",
        "hosts",
        "where features of development containers may be fetched from, over TLS",
    )
    devcontainer_allow: str = _option(
        "",
        "TEAM:PROPERTY=VALUE",
        "what development containers of a team (its id; or site, or *) may ask for all the same: "
        "initializeCommand, privileged, mounts, capAdd, securityOpt, runArgs, hostRequirements",
    )
    image_look_hours: float = _option(
        24.0, "hours", "how often versions in use are asked for pending updates; 0: never"
    )
    image_versions_kept: int = _option(
        3, "versions", "newest versions of an image that are kept though nothing uses them"
    )
    stop_timeout: int = _option(5, "seconds", "time a workspace has to stop by itself")
    start_timeout: float = _option(60.0, "seconds", "time a workspace has to start")
    idle_minutes: float = _option(
        30.0, "minutes", "a workspace that nobody uses for so long is stopped; 0: never"
    )
    idle_warning_minutes: float = _option(2.0, "minutes", "how long before that people are warned")
    upload_limit: int = _option(512 * MIB, "bytes", "largest upload of a file or archive")
    unpack_limit: int = _option(2 * GIB, "bytes", "size of an archive's content")
    unpack_entries: int = _option(200_000, "entries", "files and folders in an archive")
    head_timeout: float = _option(
        10.0, "seconds", "time in which the head of a request has to come, or it is closed"
    )
    tls_timeout: float = _option(10.0, "seconds", "time in which a TLS handshake has to be done")
    upload_stall: float = _option(60.0, "seconds", "an upload without progress is given up")
    clone_timeout: float = _option(900.0, "seconds", "time a git clone may take")
    git_internal_hosts: str = _option(
        "", "hosts", "Git hosts at private addresses that people's credentials are sent to"
    )
    insecure_git_hosts: str = _option(
        "", "hosts", "Git hosts that credentials are sent to over plain HTTP, at any address"
    )
    sockets_per_user: int = _option(50, "sockets", "websockets of one user and workspace")
    anonymous_sockets: int = _option(
        10, "sockets", "websockets of one address that are not signed in"
    )
    metrics_public: bool = _option(
        False, "true/false", "whether anybody may read /metrics, and why /readyz is not ready"
    )
    messages_per_second: float = _option(
        200.0, "messages/s", "sustained rate of one socket; 0: no limit (benchmarks)"
    )
    session_days: int = _option(30, "days", "a session ends after this long without use")
    invite_days: int = _option(7, "days", "an invitation is valid for this long")
    event_days: float = _option(
        7.0, "days", "how long events are kept for those who resume the stream of them"
    )
    webhook_networks: str = _option(
        "", "networks", "private networks that webhooks may call; empty: none"
    )
    insecure_webhook_loopback: bool = _option(
        False, "true/false", "webhooks may call this machine itself, and without TLS"
    )
    secrets_key: str = _option(
        "", "secret", "keys of what is sealed in the database, in base64; empty: those of the file"
    )
    secrets_key_file: str = _option(
        "", "file", "where these keys are; empty: secrets.key in the data directory"
    )
    log_format: str = _option("console", "console|json", "how log lines look")
    oidc: dict[str, OidcProvider] | None = _option(
        None, "tables", "OpenID Connect providers, each a table [oidc.<name>]; see the README"
    )
    github: GitHubProvider | None = _option(
        None, "table", "signing in with GitHub, a table [github]; see the README"
    )

    def __post_init__(self) -> None:
        for name in self.oidc or {}:
            if not _PROVIDER_NAME.fullmatch(name) or name == "github":
                raise InvalidInput(
                    f"oidc: {name!r} cannot name a provider; use a-z, 0-9 and -, and not github."
                )
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise InvalidInput(f"listen: {self.listen!r} is not host:port, such as 127.0.0.1:8080.")
        url = urlsplit(self.public_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/"):
            raise InvalidInput(
                f"public_url: {self.public_url!r} is not the address of a site, such as "
                "https://ide.example.org (no path)."
            )
        preview = urlsplit(self.preview_url)
        if self.preview_url and (
            preview.scheme not in ("http", "https")
            or not preview.hostname
            or ":" in preview.hostname
            or preview.path not in ("", "/")
        ):
            raise InvalidInput(
                f"preview_url: {self.preview_url!r} is not the address of a site whose subdomains "
                "lead here, such as https://preview.example.org (no path)."
            )
        for name in ("trusted_proxies", "webhook_networks"):
            for each in filter(None, (each.strip() for each in getattr(self, name).split(","))):
                try:
                    ip_network(each)
                except ValueError as error:
                    raise InvalidInput(
                        f"{name}: {each!r} is not an address or network, such as 10.0.0.0/8."
                    ) from error
        if not 1 <= self.event_days <= 3650:
            raise InvalidInput("event_days is a number of days, 1 or more.")
        if not 0 <= self.idle_minutes < 1e6 or not 0 <= self.idle_warning_minutes < 1e6:
            raise InvalidInput("idle_minutes and idle_warning_minutes are minutes, 0 or more.")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise InvalidInput("tls_certificate and tls_key go together; set both or neither.")

    @property
    def origin(self) -> str:
        """The canonical origin, as a browser writes it (RFC 6454 section 6.2)."""
        return f"{urlsplit(self.public_url).scheme}://{self.host}"

    @property
    def host(self) -> str:
        """The canonical Host header: lower case, no default port."""
        return _host_of(self.public_url)

    @property
    def preview_site(self) -> str:
        """The site whose subdomains are the previews, as `scheme://host`.

        An address of numbers has no subdomains: for a loopback one it is that of `localhost`, which
        browsers resolve themselves; for any other `preview_url` has to name one.
        """
        if self.preview_url:
            return f"{urlsplit(self.preview_url).scheme}://{_host_of(self.preview_url)}"
        url = urlsplit(self.public_url)
        try:
            if not ip_address(url.hostname or "").is_loopback:
                return ""
        except ValueError:
            return f"{url.scheme}://preview.{self.host}"
        port = f":{url.port}" if url.port else ""
        return f"{url.scheme}://{_host_of(f'{url.scheme}://preview.localhost{port}')}"

    @property
    def preview_variables(self) -> dict[str, str]:
        """What programs in workspaces are told, so that they answer under a preview's name.

        Development servers refuse hosts that they do not know, against DNS rebinding; those below
        `localhost` they take. Names of ours resolve as we say, so that they are safe to allow.
        """
        host = urlsplit(self.preview_site).hostname or ""
        if not host or host == "localhost" or host.endswith(".localhost"):
            return {}
        # https://vite.dev/config/server-options#server-allowedhosts
        return {"__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS": f".{host}"}

    @property
    def secure(self) -> bool:
        return self.public_url.startswith("https:")


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, without asking anybody."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _host_of(address: str) -> str:
    url = urlsplit(address)
    default = {"http": 80, "https": 443}[url.scheme]
    name = url.hostname or ""
    name = f"[{name}]" if ":" in name else name
    return name if url.port in (None, default) else f"{name}:{url.port}"


def describe() -> list[tuple[str, Any, str, str]]:
    """The table: (name, default, unit, help) for each setting, in order."""
    return [
        (field.name, field.default, option.unit, option.help)
        for field, option in zip(msgspec.structs.fields(Settings), OPTIONS, strict=True)
    ]


def load(environment: Mapping[str, str] | None = None, **keywords: Any) -> Settings:
    """Settings from keywords (None: not given), environment, TOML file and defaults.

    Raises:
        InvalidInput: a value does not fit; the message names the setting.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    if path := environment.get("CLOUDIDE_CONFIG"):
        try:
            values.update(tomllib.loads(Path(path).read_text()))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise InvalidInput(f"The settings file {path} cannot be read: {error}") from error
    for name, *_ in describe():
        if (text := environment.get(f"CLOUDIDE_{name.upper()}")) is not None:
            values[name] = _table(name, text) if name in _TABLES else text
    values.update({name: value for name, value in keywords.items() if value is not None})
    if "data_dir" in values:
        values["data_dir"] = Path(values["data_dir"]).absolute()
    else:
        values["data_dir"] = Path("data").absolute()
    try:
        # Not strict: environment variables are text for every type.
        return msgspec.convert(
            values, Settings, strict=False, dec_hook=lambda kind, value: kind(value)
        )
    except msgspec.ValidationError as error:
        raise InvalidInput(f"A setting is not valid: {error}") from error


def _table(name: str, text: str) -> Any:
    """A setting that is a table in the TOML file is JSON in the environment."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{name}: in the environment this is JSON: {error}") from error
