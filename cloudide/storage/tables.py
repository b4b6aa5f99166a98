"""The database's tables. Migrations in `migrations/` bring a database to this shape."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Times are seconds since the epoch, UTC. Secrets are stored as SHA-256 digests in hexadecimal: they
# have 256 random bits, so that a slow hash would add nothing.

users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("color", String, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    # In lower case; with the password (argon2id, PHC string format) a way to sign in.
    Column("email", String, nullable=True),
    Column("password", String, nullable=True),
    # Who was deactivated cannot sign in; what they made stays theirs.
    Column("active", Boolean, nullable=False, default=True, server_default="1"),
    # Whoever came by a link to a workspace has nothing here but what they were invited to.
    Column("guest", Boolean, nullable=False, default=False, server_default="0"),
    Index("ix_users_email", "email", unique=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", String, primary_key=True),
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),
    Column("agent", String, nullable=False, default="", server_default=""),  # User-Agent
)

# Identities at providers, by what each calls somebody for ever: `subject` is its name for them.
identities = Table(
    "identities",
    metadata,
    Column("id", String, primary_key=True),
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("issuer", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("name", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),
    Index("ix_identities_subject", "issuer", "subject", unique=True),
)

# Tokens of people's programs. `scopes` stand between commas; `workspace` limits a token to one.
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("hash", String, nullable=False, unique=True),
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("scopes", String, nullable=False),
    Column("workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True),
    Column("used_at", Float, nullable=True),
)

# What people sign in to Git hosts with. `sealed` is the token or password (`identity.sealing`).
git_credentials = Table(
    "git_credentials",
    metadata,
    Column("id", String, primary_key=True),
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("host", String, nullable=False),
    Column("path", String, nullable=False),
    Column("username", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float, nullable=True),
)

# `email`: what commits are signed with, "": an address that reaches nobody. `dotfiles`: the address
# of a repository, "": none.
git_profiles = Table(
    "git_profiles",
    metadata,
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("email", String, nullable=False),
    Column("dotfiles", String, nullable=False),
)

sign_in_tokens = Table(
    "sign_in_tokens",
    metadata,
    Column("hash", String, primary_key=True),
    Column("expires_at", Float, nullable=False),
)

teams = Table(
    "teams",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("created_at", Float, nullable=False),
)

team_members = Table(
    "team_members",
    metadata,
    Column("team", ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True),
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("role", String, nullable=False),
)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("image", String, nullable=False),
    Column("owner", ForeignKey("users.id"), nullable=False, index=True),
    # Whose it is instead, and what that team's plain members may do in it ("": nothing).
    Column("team", ForeignKey("teams.id"), nullable=True, index=True),
    Column("team_role", String, nullable=False, default="terminal", server_default="terminal"),
    Column("git_url", String, nullable=False, default=""),
    Column("git_ref", String, nullable=False, default=""),
    Column("initialized", Boolean, nullable=False, default=False),
    Column("desired_state", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("error", Text, nullable=False, default=""),
    # Why it is to be stopped, if nobody asked for it: "idle".
    Column("stopped_by", String, nullable=False, default="", server_default=""),
    Column("created_at", Float, nullable=False),
    # The last of its states that was told as an event: "started", "stopped", "failed" or none yet.
    Column("announced", String, nullable=False, default="", server_default=""),
    Column("prebuilt", String, nullable=False, default=""),
)

# What each workspace is to have beside it (`workspaces.service_store.Applied`, JSON).
workspace_services = Table(
    "workspace_services",
    metadata,
    Column("workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    Column("applied", Text, nullable=False),
)

# What is set up ahead of new workspaces. `seed` is of `prebuild_seeds`, or "".
prebuilds = Table(
    "prebuilds",
    metadata,
    Column("id", String, primary_key=True),
    Column("team", ForeignKey("teams.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("image", String, nullable=False),
    Column("git_url", String, nullable=False),
    Column("git_ref", String, nullable=False),
    Column("every_hours", Float, nullable=False),
    Column("state", String, nullable=False),
    Column("error", Text, nullable=False),
    Column("commit", String, nullable=False),
    Column("seed", String, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("built_at", Float, nullable=False),
    Column("ready", Integer, nullable=False, default=0),
    Column("log", Text, nullable=False, default=""),
    Column("hook", LargeBinary, nullable=True),
)

# What there may be of prebuilds in the engine; one that no prebuild refers to is removed.
prebuild_seeds = Table("prebuild_seeds", metadata, Column("id", String, primary_key=True))

# How many workspaces of an image are kept ready; without a team: for everybody.
pools = Table(
    "pools",
    metadata,
    Column("id", String, primary_key=True),
    Column("team", ForeignKey("teams.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("image", String, nullable=False),
    Column("size", Integer, nullable=False),
)

# Workspaces that are nobody's yet. A row outlives its pool, until nothing of it is in the engine.
pool_slots = Table(
    "pool_slots",
    metadata,
    Column("id", String, primary_key=True),
    Column("team", String, nullable=False),
    Column("image", String, nullable=False),
    Column("version", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("prebuild", String, nullable=False, default=""),
    Column("seed", String, nullable=False, default=""),
    Column("git_url", String, nullable=False, default=""),
    Column("git_ref", String, nullable=False, default=""),
)

# What a team's workspaces (without a team: those of people) find of packages; `packages` is JSON.
dependency_seeds = Table(
    "dependency_seeds",
    metadata,
    Column("id", String, primary_key=True),
    Column("team", ForeignKey("teams.id", ondelete="CASCADE"), nullable=True),
    Column("seed", String, nullable=False),
    Column("packages", Text, nullable=False),
    Column("made_at", Float, nullable=False),
)

# What a team says of its workspaces, as JSON.
team_policies = Table(
    "team_policies",
    metadata,
    Column("team", ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True),
    Column("policy", Text, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("role", String, nullable=False),
)

# To a workspace, to a team, or, where both are missing, to this site.
invites = Table(
    "invites",
    metadata,
    Column("id", String, primary_key=True),
    Column("hash", String, nullable=False, unique=True),
    Column("workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("team", ForeignKey("teams.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("role", String, nullable=False),
    Column("approval", Boolean, nullable=False),  # somebody who may share has to let them in
    Column("invited_by", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
)

# Somebody followed an invitation that needs approval.
join_requests = Table(
    "join_requests",
    metadata,
    Column("id", String, primary_key=True),
    Column("invite", ForeignKey("invites.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", Float, nullable=False),
    Column("state", String, nullable=False),
)

# Who did what; see `identity.audit`. What is recorded outlives what it tells of.
audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("user", String, nullable=False),
    Column("name", String, nullable=False),
    Column("token", String, nullable=False),
    Column("address", String, nullable=False),
    Column("action", String, nullable=False),
    Column("workspace", String, nullable=False, index=True),
    Column("detail", Text, nullable=False),
    Column("outcome", String, nullable=False),
    Column("mac", String, nullable=False),
)

# One row: how many records there are, sealed.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, nullable=False),
    Column("mac", String, nullable=False),
)

# `output` is compressed (zlib) and only kept of the last runs; `lost` bytes before it are gone.
task_runs = Table(
    "task_runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("task", String, nullable=False),
    Column("batch", String, nullable=False),  # the run that was asked for, of which this is a step
    Column("state", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("person", String, nullable=False),
    Column("background", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("seconds", Float),
    Column("exit_code", Integer),
    Column("exit_signal", Integer),
    Column("cpu_seconds", Float),
    Column("peak_memory", BigInteger),
    Column("signature", String, nullable=False),
    Column("output", LargeBinary),
    Column("lost", BigInteger, nullable=False),
    Index("ix_task_runs_workspace", "workspace", "task", "created_at"),
)

# Ports that are not private; `link` is the digest of the secret in a public link.
ports = Table(
    "ports",
    metadata,
    Column("workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("visibility", String, nullable=False),
    Column("link", String, nullable=False),
    Column("expires_at", Float, nullable=False),
)

# The cookies of previews. One is of a person, and ends with the session or the API token that it
# was made with, or of whoever had the public link.
preview_passes = Table(
    "preview_passes",
    metadata,
    Column("hash", String, primary_key=True),
    Column(
        "workspace",
        ForeignKey("workspaces.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("port", Integer, nullable=False),
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("session", ForeignKey("sessions.hash", ondelete="CASCADE"), nullable=True, index=True),
    Column("token", ForeignKey("api_tokens.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("link", String, nullable=False),
    Column("expires_at", Float, nullable=False),
)

# The outbox; see `storage.outbox`. `workspace`, `team` and `user` "": of none. Events outlive what
# they tell of, until they are older than is kept.
events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("at", Float, nullable=False, index=True),
    Column("type", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("workspace", String, nullable=False),
    Column("team", String, nullable=False),
    Column("user", String, nullable=False),
    Column("needs", String, nullable=False),
    Column("readers", Text, nullable=True),
    Column("data", Text, nullable=False),
    sqlite_autoincrement=True,  # a number is never used again
)

# Of the site where `workspace` and `team` are both "". The secret is sealed (`identity.sealing`);
# the one before it signs too until `previous_until`.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String, primary_key=True),
    Column("url", String, nullable=False),
    Column("description", String, nullable=False),
    Column("workspace", String, nullable=False, index=True),
    Column("team", String, nullable=False, index=True),
    Column("types", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("disabled_reason", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("previous", LargeBinary, nullable=True),
    Column("previous_until", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("revision", Integer, nullable=False),
)

# One event on its way to one webhook; the results are those of the last attempt.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String, primary_key=True),
    Column("webhook", ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("event", ForeignKey("events.seq", ondelete="CASCADE"), nullable=False, index=True),
    Column("state", String, nullable=False),  # pending, delivered, failed
    Column("attempts", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("attempted_at", Float, nullable=True),
    Column("status", Integer, nullable=True),
    Column("seconds", Float, nullable=True),
    Column("response", Text, nullable=False, default="", server_default=""),
    Column("error", Text, nullable=False, default="", server_default=""),
    Index("ix_deliveries_webhook", "webhook", "created_at"),
    Index("ix_deliveries_due", "state", "due_at"),
)

# A person's, a team's or a workspace's: one of the three is named. `readers` is JSON: which
# workspaces, tasks and programs may have it; see `secrets.policy`.
secrets = Table(
    "secrets",
    metadata,
    Column("id", String, primary_key=True),
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("team", ForeignKey("teams.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=True, index=True),
    Column("name", String, nullable=False),
    Column("description", String, nullable=False),
    Column("readers", Text, nullable=False),
    Column("latest", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("revision", Integer, nullable=False),
)

# `value` is sealed (`identity.sealing`), with whose it is, its name and version; null when deleted.
secret_versions = Table(
    "secret_versions",
    metadata,
    Column("secret", ForeignKey("secrets.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("value", LargeBinary, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
)

# Where a secret went: the last time for each workspace and process ("task test", "terminal").
secret_uses = Table(
    "secret_uses",
    metadata,
    Column("secret", ForeignKey("secrets.id", ondelete="CASCADE"), primary_key=True),
    Column("workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    Column("process", String, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("user", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("count", Integer, nullable=False),
)

# Requests that may be sent again; see `web.idempotency`. `answer` is sealed, null while under way.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("user", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("answer", LargeBinary, nullable=True),
    Column("created_at", Float, nullable=False, index=True),
)

# Images that a team, or where `team` is null the site, defines. `source` is JSON (`images.
# definitions.Source`), `context` the hash of an uploaded build context. `active`, `previous` and
# `canary` are numbers of versions; `canary_percent` of new workspaces get the latter.
image_definitions = Table(
    "image_definitions",
    metadata,
    Column("id", String, primary_key=True),
    Column("team", ForeignKey("teams.id"), nullable=True, index=True),
    Column("name", String, nullable=False),
    Column("title", String, nullable=False),
    Column("description", Text, nullable=False),
    Column("kind", String, nullable=False),
    Column("source", Text, nullable=False),
    Column("context", String, nullable=False),
    Column("updates", String, nullable=False),
    Column("active", Integer, nullable=True),
    Column("previous", Integer, nullable=True),
    Column("canary", Integer, nullable=True),
    Column("canary_percent", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("revision", Integer, nullable=False),
)

# `inputs`: the hash of all that it is made from. `engine_id`: the image on the engine, by its
# digest; "" before it is built, and after it was collected. `security` is JSON, null before a look.
image_versions = Table(
    "image_versions",
    metadata,
    Column("image", ForeignKey("image_definitions.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("inputs", String, nullable=False),
    Column("made_from", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("engine_id", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("security", Text, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("built_at", Float, nullable=True),
    Column("activated_at", Float, nullable=True),
    Index("ix_image_versions_inputs", "image", "inputs", unique=True),
)

# `key`: what was asked for; two that are the same at one time are one. `steps` is JSON.
image_builds = Table(
    "image_builds",
    metadata,
    Column("id", String, primary_key=True),
    Column("image", ForeignKey("image_definitions.id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=True),
    Column("state", String, nullable=False, index=True),
    Column("key", String, nullable=False),
    Column("fresh", String, nullable=False),
    Column("reused", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("steps", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Column("started_at", Float, nullable=True),
    Column("ended_at", Float, nullable=True),
    Index("ix_image_builds_image", "image", "created_at"),
)

# What a build may use and nothing keeps; `value` is sealed (`identity.sealing`).
image_secrets = Table(
    "image_secrets",
    metadata,
    Column("id", String, primary_key=True),
    Column("image", ForeignKey("image_definitions.id", ondelete="CASCADE"), nullable=False),
    Column("name", String, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("created_by", String, nullable=False),
    Index("ix_image_secrets_name", "image", "name", unique=True),
)

# Which version of an image a workspace, or what is kept ready to become one, is made of, from its
# next start on. `pinned`: it was asked
# for by number. `wanted`: somebody asked for the newest.
workspace_versions = Table(
    "workspace_versions",
    metadata,
    Column("workspace", String, primary_key=True),
    Column("image", ForeignKey("image_definitions.id"), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("wanted", Boolean, nullable=False),
)

# What people of a workspace said to each other; the last thousand of each.
chat_messages = Table(
    "chat_messages",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("author", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_chat_messages_workspace", "workspace", "id"),
)

# Comments on text; `start` and `end` are relative positions of Yjs in base64, `resolved_by` is ""
# while a thread is open.
comment_threads = Table(
    "comment_threads",
    metadata,
    Column("id", String, primary_key=True),
    Column(
        "workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("path", String, nullable=False),
    Column("start", String, nullable=False),
    Column("end", String, nullable=False),
    Column("line", Integer, nullable=False),
    Column("quote", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("resolved_by", String, nullable=False),
)

# The comment itself is the first.
comment_replies = Table(
    "comment_replies",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column(
        "thread", ForeignKey("comment_threads.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("author", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", Float, nullable=False),
)

# How far the lifecycle commands of a development container have come in a workspace: JSON.
workspace_setups = Table(
    "workspace_setups",
    metadata,
    Column("workspace", ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    Column("setup", Text, nullable=False),
)
