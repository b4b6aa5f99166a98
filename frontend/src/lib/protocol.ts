/**
 * Every message this page exchanges with the server, in one place.
 *
 * REST bodies and the JSON frames of the three websockets (live events, collaboration control
 * messages, terminals). Errors are RFC 9457 problem documents.
 */

/** Each may do what those before it may. `terminal` may run programs. */
export type Role = 'viewer' | 'editor' | 'terminal' | 'owner';

export interface User {
  id: string;
  name: string;
  color: string;
  admin: boolean;
  /** Came by a link to a workspace, and has nothing here but what they were invited to. */
  guest: boolean;
  /** May make workspaces and teams. */
  creates: boolean;
}

/** What somebody may set of their account. */
export interface AccountProfile {
  id: string;
  name: string;
  email: string;
  has_password: boolean;
}

/** An account as administrators see it. */
export interface AccountOfSite {
  id: string;
  name: string;
  color: string;
  admin: boolean;
  guest: boolean;
  email: string;
  active: boolean;
}

export interface BrowserSession {
  id: string;
  agent: string;
  created_at: string;
  used_at: string;
  current: boolean;
}

/** Somebody who vouches for people: they sign in there instead of here. */
export interface Provider {
  name: string;
  label: string;
  kind: 'oidc' | 'github';
}

/** An account elsewhere that signs in here; `label` is empty when its provider is gone. */
export interface LinkedIdentity {
  id: string;
  issuer: string;
  label: string;
  name: string;
  created_at: string;
  used_at: string;
}

/** What Git in a terminal asks somebody. `username` '': they have no credentials for it. */
export interface GitQuestion {
  id: string;
  workspace: string;
  to: string;
  asker: Pick<Person, 'id' | 'name' | 'color'>;
  service: 'git-upload-pack' | 'git-receive-pack';
  repository: string;
  username: string;
  branch: string;
  commit: string;
  updates: { ref: string; old: string; new: string }[];
  owner: string;
  expires_at: number;
}

/** Letters as git-status(1) has them; '.' unchanged, '?' untracked, 'U' in conflict. */
export interface GitFile {
  path: string;
  index: string;
  worktree: string;
  former: string;
}

export interface GitRemote {
  name: string;
  url: string;
  push_url: string;
}

export interface GitStatus {
  top: string;
  branch: string;
  commit: string;
  upstream: string;
  ahead: number;
  behind: number;
  files: GitFile[];
  truncated: boolean;
  remotes: GitRemote[];
}

/** A fetch, pull or push. `lines`: the end of what Git printed. */
export interface GitAction {
  id: string;
  kind: 'fetch' | 'pull' | 'push';
  person: Pick<Person, 'id' | 'name' | 'color'>;
  repository: string;
  state: 'running' | 'done' | 'failed' | 'cancelled';
  lines: string[];
  error: string;
}

/** `name` is as people type it; of a remote branch, with the remote in front. `time`: seconds. */
export interface GitBranch {
  name: string;
  remote: boolean;
  current: boolean;
  commit: string;
  upstream: string;
  ahead: number;
  behind: number;
  time: number;
  author: string;
  subject: string;
}

/** `time`: seconds. `refs`: branches and tags that point to it. */
export interface GitCommit {
  id: string;
  parents: string[];
  author: string;
  email: string;
  time: number;
  refs: string[];
  subject: string;
}

/** `added` and `removed` count lines; -1 for what is no text. */
export interface GitCommitDetails {
  commit: GitCommit;
  message: string;
  files: { path: string; added: number; removed: number }[];
  truncated: boolean;
}

/** `before`: the version that it was at the moment; null: there is none so old. */
export interface ChangedFile {
  path: string;
  authors: { author: Author; last: string }[];
  before: string | null;
}

/** `at`: seconds. `cpu`: CPUs that were busy on average. `memory`: bytes. */
export interface ResourceSample {
  at: number;
  cpu: number;
  memory: number;
  processes: number;
}

/** What a workspace uses. What the workspace itself says is null where it does not answer. */
export interface Resources {
  now: ResourceSample | null;
  history: ResourceSample[];
  cpus: number;
  memory_limit: number;
  processes_limit: number;
  processes: { pid: number; parent: number; command: string; cpu: number; memory: number; age: number; threads: number }[] | null;
  disk_free: number | null;
  disk_total: number | null;
}

/** `last`: when something of each kind was last done. `holds`: what is at work. */
export interface Activity {
  idle_minutes: number;
  last: Record<string, string>;
  holds: { kind: string; what: string }[];
  stops_at: string | null;
  warning: boolean;
}

/** `email` '': an address that reaches nobody, as `signed` shows. */
export interface GitProfile {
  email: string;
  dotfiles: string;
  signed: string;
}

/** `path` '': any repository of the host. */
export interface GitCredential {
  id: string;
  host: string;
  path: string;
  username: string;
  created_at: string;
  used_at: string | null;
}

/** A program that asks to be signed in; `here`: from the address that this browser has. */
export interface DeviceRequest {
  code: string;
  client: string;
  address: string;
  here: boolean;
  scopes: TokenScope[];
  asked_at: string;
}

export type TokenScope = 'read' | 'write' | 'exec' | 'admin';

/** `token` is there only in the answer that makes it. */
export interface ApiToken {
  id: string;
  name: string;
  scopes: TokenScope[];
  workspace: string;
  created_at: string;
  expires_at: string | null;
  used_at: string | null;
  token?: string;
}

/** A workspace whose processes may have a secret: the tasks that are named ("*": all), and programs that ask. */
export interface SecretReader {
  workspace: string;
  tasks: string[];
  programs: boolean;
}

/** All of a secret but its value, which never comes out again. */
export interface Secret {
  id: string;
  name: string;
  description: string;
  workspace: string;
  team: string;
  readers: SecretReader[];
  latest: number;
  versions: { version: number; created_at: string; created_by: string; deleted: boolean }[];
  created_at: string;
  created_by: string;
  last_used_at: string | null;
}

/** The last time that a process had a secret. */
export interface SecretUse {
  workspace: string;
  process: string;
  version: number;
  user: string;
  at: string;
  count: number;
}

export interface Image {
  id: string;
  title: string;
  description: string;
  ready: boolean;
  /** "stock", or what it is built from; the rest is only of those that are. */
  kind?: 'stock' | 'dockerfile' | 'reference';
  reference?: string;
  name?: string;
  team?: string;
  team_name?: string;
  source?: ImageSource;
  context?: string;
  updates?: 'restart' | 'ask';
  active?: number;
  previous?: number;
  canary?: number;
  canary_percent?: number;
  /** "build" and "configure", where the reader may. */
  may?: string[];
}

/** Where an image comes from; what is absent is empty. */
export interface ImageSource {
  git?: string;
  ref?: string;
  folder?: string;
  dockerfile?: string;
  target?: string;
  reference?: string;
  /** Which devcontainer.json, where there are several. */
  configuration?: string;
  arguments?: Record<string, string>;
}

/** What a devcontainer.json came to, with a version of an image. */
export interface DevelopmentContainer {
  path: string;
  name?: string;
  user?: string;
  folder?: string;
  ports?: { port: number; label?: string }[];
  secrets?: { name: string; description?: string; documentation?: string }[];
  /** What has no effect here, and why. */
  notices?: string[];
}

export type VersionState = 'draft' | 'building' | 'built' | 'checked' | 'active' | 'retired';

export interface ImageVersion {
  number: number;
  state: VersionState;
  digest: string;
  /** On the engine; "" where it is gone. */
  image_id: string;
  size: number;
  error: string;
  /** Percent of the new workspaces that get it. */
  share: number;
  workspaces: number;
  made_from: { commit?: string; context?: string; reference?: string; devcontainer?: DevelopmentContainer };
  security: ImageSecurity | null;
  created_at: string;
  built_at: string | null;
}

export interface ImageSecurity {
  verdict: 'good' | 'updates' | 'unknown';
  summary: string;
  updates?: { name: string; present: string; available: string; security: boolean }[];
  update_count?: number;
  packages?: number;
}

export type BuildState = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'interrupted';

export interface BuildStep {
  title: string;
  line?: number;
  started_at?: number;
  seconds?: number | null;
  cached?: boolean;
  failed?: boolean;
}

export interface ImageBuild {
  id: string;
  image: string;
  version: number | null;
  state: BuildState;
  reused: boolean;
  steps: BuildStep[];
  error: string;
  log_size: number;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
}

export type WorkspaceState =
  | 'pending'
  | 'building'
  | 'creating'
  | 'initializing'
  | 'running'
  | 'interrupted'
  | 'stopping'
  | 'stopped'
  | 'deleting';

export interface Workspace {
  id: string;
  name: string;
  image: string;
  state: WorkspaceState;
  desired_state: string;
  error?: string | null;
  /** "idle": nobody used it. */
  stopped_by?: string | null;
  owner: string;
  owner_name?: string;
  /** The team that owns it instead, or "". */
  team: string;
  team_name: string;
  /** What plain members of that team may do in it; "" for nothing. */
  team_role: Exclude<Role, 'owner'> | '';
  role: Role;
  created_at: string;
  /** Of its image, where a team or the site defines that. */
  image_version?: number | null;
  /** There is a newer version; `at_start`: it is taken at the next start; `forced_at`: the workspace
   *  restarts with it then. */
  update?: { version: number; at_start: boolean; forced_at?: string | null } | null;
  /** Of the commands of its development container. */
  setup?: SetupState | null;
}

/** Which stock image would suit a project that says nothing itself; "": none, `because` says why. */
export interface ImageGuess {
  image: string;
  because: string;
}

/** `ready`: what is to be waited for is done. `hook`: what runs now, or failed. */
export interface SetupState {
  state: 'running' | 'done' | 'failed';
  ready: boolean;
  hook: string;
}

/** One command that sets a workspace up, or a part of one, with the end of what it printed. */
export interface SetupRun {
  hook: string;
  number: number;
  name: string;
  command: string | string[];
  state: 'waiting' | 'running' | 'done' | 'failed' | 'interrupted' | 'skipped';
  exit: number | null;
  seconds: number | null;
  output: string;
}

export interface WorkspaceChange {
  name?: string;
  team_role?: Exclude<Role, 'owner'> | '';
  team?: string;
  owner?: string;
}

export interface NewWorkspace {
  name: string;
  image: string;
  team?: string;
  git?: { url: string; ref?: string };
}

export type EntryType = 'file' | 'directory' | 'symlink' | 'other';

/** `path` is relative to the workspace root, with `/` between its parts and none in front. */
export interface Entry {
  path: string;
  type: EntryType;
  size: number;
  mtime: number;
}

export interface TerminalExit {
  code?: number | null;
  signal?: number | string | null;
}

export interface TerminalInfo {
  id: string;
  title: string;
  command: string[];
  cwd: string;
  cols: number;
  rows: number;
  viewers: number;
  /** Where the foreground program is, and its command line; "" while that is the shell. */
  directory: string;
  foreground: string;
  bells: number;
  owner: Viewer | null;
  typing: TypingMode;
  recording: TerminalRecording | null;
  exit?: TerminalExit | null;
}

/** Who may type: who may at all, its owner alone, or all write and only the owner's Enter runs it. */
export type TypingMode = 'everyone' | 'owner' | 'approve';

export interface TerminalRecording {
  by: Viewer;
  running: boolean;
  truncated: boolean;
  size: number;
}

/* ── tasks: /api/v1/workspaces/{id}/tasks and task-runs ─────────────────────────────────────────── */

export type TaskState =
  | 'waiting'
  | 'running'
  | 'passed'
  | 'failed'
  | 'stopped'
  | 'skipped'
  | 'cancelled'
  | 'interrupted';

export interface TaskExit {
  code?: number;
  signal?: number;
}

/** `cpu_seconds` of the command and those it waited for; `peak_memory` in bytes, of all. */
export interface TaskMeasures {
  seconds?: number;
  cpu_seconds?: number;
  peak_memory?: number;
}

export interface TaskRun extends TaskMeasures {
  id: string;
  task: string;
  batch: string;
  state: TaskState;
  person: string;
  background: boolean;
  created_at: string;
  lost: number;
  started_at?: string;
  ready?: boolean;
  port?: number;
  detail?: string;
  exit?: TaskExit;
  previous?: TaskMeasures & { id: string; state: TaskState };
}

export interface Task {
  name: string;
  source: string;
  command: string[] | string;
  cwd: string;
  depends_on: string[];
  inputs: string[];
  background: boolean;
  last?: TaskRun | null;
}

/** `line` counts from 1; 0 where it is not known. */
export interface TaskProblem {
  file: string;
  message: string;
  line: number;
}

export interface TaskList {
  tasks: Task[];
  problems: TaskProblem[];
}

/** WS …/task-runs/{run}; bytes come between `replay` and `ready`, and after that as they are printed. */
export type TaskRunControl =
  | { type: 'replay'; lost: number }
  | { type: 'ready' }
  | { type: 'ended'; run: TaskRun };

export type PortVisibility = 'private' | 'members' | 'team' | 'public';

/** A port that a program listens on (`open`), or that is shared; `url` is "" where previews have no address. */
export interface PortInfo {
  port: number;
  open: boolean;
  visibility: PortVisibility;
  url: string;
  process?: string;
  pid?: number;
  expires_at?: string;
  /** The public link, once: in the answer that made it. */
  link?: string;
  /** What the project's cloudide.toml calls it. */
  label?: string;
  /** What the project says is to happen when something listens; 'notify' unless it is said. */
  on_open?: 'notify' | 'preview' | 'ignore';
}

export interface Member {
  id: string;
  name: string;
  color: string;
  role: Role;
  guest: boolean;
  /** By being in the team that owns the workspace. */
  team: boolean;
  online: boolean;
}

export type TeamRole = 'member' | 'maintainer' | 'owner';

/** `role` is one's own. */
export interface Team {
  id: string;
  name: string;
  role: TeamRole;
  members: number;
  workspaces: number;
  created_at: string;
}

export interface TeamMember {
  id: string;
  name: string;
  color: string;
  role: TeamRole;
}

export type InvitePlace = 'workspace' | 'team' | 'site';

export interface Invite {
  id: string;
  place: InvitePlace;
  url?: string;
  role: string;
  approval?: boolean;
  invited_by: string;
  expires_at: string;
}

export interface InvitePreview {
  place: InvitePlace;
  name: string;
  role: string;
  invited_by: string;
  approval: boolean;
}

/** `request`: what waits for somebody to let them in, or "". */
export interface Accepted {
  place: InvitePlace;
  to: string;
  user: User;
  request: string;
}

/** Somebody who asks to be let in. */
export interface JoinRequest {
  id: string;
  person: { id: string; name: string; color: string };
  role: Role;
  created_at: string;
}

/** RFC 9457 section 3.1. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
}

/* ── WS /api/v1/events ───────────────────────────────────────────────────────────────────────── */

export interface Person {
  id: string;
  name: string;
  color: string;
  role: Role;
  path: string | null;
}

export interface FileChange {
  path: string;
  kind: 'added' | 'modified' | 'deleted';
}

export type EventRequest =
  | { type: 'watch'; workspace: string }
  | { type: 'unwatch'; workspace: string }
  | { type: 'watch'; workspaces: true }
  | { type: 'here'; workspace: string; path: string | null }
  | { type: 'ping' };

export interface ProgressEvent {
  type: 'progress';
  workspace: string;
  step: string;
  message: string;
  seconds?: number | null;
  done: boolean;
}

export interface LogEvent {
  type: 'log';
  workspace: string;
  line: string;
}

/** Something said in the chat of a workspace; `at` in seconds since the epoch. */
export interface ChatMessage {
  id: number;
  author: string;
  name: string;
  color: string;
  text: string;
  at: number;
}

export interface FilesEvent {
  type: 'files';
  workspace: string;
  changes: FileChange[];
  overflow: boolean;
}

/* ── /api/v1/workspaces/{id}/services ────────────────────────────────────────────────────────── */

export interface ServiceInfo {
  name: string;
  image: string;
  state: 'waiting' | 'starting' | 'running' | 'healthy' | 'unhealthy' | 'failed' | 'stopped';
  ports: number[];
  depends_on: string[];
  error: string;
}

export interface ServiceList {
  services: ServiceInfo[];
  problems: { file: string; message: string; line: number; column: number }[];
  /** cloudide.toml says something else now than what runs. */
  outdated: boolean;
  /** The image that the project asks for; '': none. */
  image: string;
  /** Secrets of the workspace or its team that every terminal asks for. */
  secrets: string[];
}

/* ── /api/v1/pools, /api/v1/prebuilds, /api/v1/teams/{id}/policy ─────────────────────────────── */

/** Workspaces of an image that are kept ready. `prebuild`: which one fills them. */
export interface Pool {
  image: string;
  team: string;
  size: number;
  ready: number;
  error: string;
  prebuild: string;
}

/** A repository that is set up ahead. `commit`: what new workspaces begin with; '': nothing yet. */
export interface Prebuild {
  id: string;
  team: string;
  image: string;
  git: { url: string; ref: string };
  every_hours: number;
  state: 'queued' | 'building' | 'ready' | 'failed';
  error: string;
  commit: string;
  seconds: number;
  built_at: string | null;
  ready: number;
  hooked: boolean;
}

export interface MaintenanceWindow {
  day: 'monday' | 'tuesday' | 'wednesday' | 'thursday' | 'friday' | 'saturday' | 'sunday';
  hour: number;
  hours: number;
  time_zone: string;
}

export interface TeamPolicy {
  maintenance: MaintenanceWindow | null;
}

export type LiveEvent =
  | { type: 'workspaces'; workspaces: Workspace[] }
  | { type: 'workspace'; workspace: Workspace }
  | ProgressEvent
  | LogEvent
  | { type: 'presence'; workspace: string; people: Person[] }
  | { type: 'requests'; workspace: string; requests: JoinRequest[] }
  | FilesEvent
  | { type: 'terminals'; workspace: string; terminals: TerminalInfo[] }
  | { type: 'ports'; workspace: string; ports: PortInfo[] }
  | ({ type: 'services'; workspace: string } & ServiceList)
  | { type: 'languages'; workspace: string }
  | { type: 'tasks'; workspace: string; runs: TaskRun[] }
  | { type: 'notice'; workspace: string; message: string }
  | { type: 'git_question'; workspace: string; question: GitQuestion; asked: boolean }
  | { type: 'git_action'; workspace: string; action: GitAction }
  | { type: 'git_branch'; workspace: string; branch: string; person: Pick<Person, 'id' | 'name' | 'color'> }
  | { type: 'task_ready'; workspace: string; task: string; port: number }
  | { type: 'activity'; workspace: string; stops_at: string | null }
  | { type: 'chat'; workspace: string; message: ChatMessage }
  | { type: 'comments'; workspace: string }
  | { type: 'gather'; workspace: string; by: string }
  | { type: 'error'; workspace?: string | null; detail: string }
  | { type: 'pong' };

/* ── WS /api/v1/workspaces/{id}/collab/{path} ────────────────────────────────────────────────── */

export const COLLAB_SUBPROTOCOL = 'cloudide.collab.v1';

export interface TextFormat {
  encoding: string;
  bom: boolean;
  eol: '\n' | '\r\n';
}

export type DiskState = 'clean' | 'writing' | 'failed' | 'deleted' | 'offline';

export type CollabControl =
  | {
      type: 'hello';
      epoch: string;
      read_only: boolean;
      reason?: string | null;
      format: TextFormat;
    }
  | { type: 'ack'; count: number }
  | { type: 'disk'; state: DiskState; detail?: string | null }
  | { type: 'moved'; path: string }
  | { type: 'notice'; detail: string };

/** Who a collaborator is, as the server writes it into every awareness state. */
export interface AwarenessUser {
  id: string;
  name: string;
  color: string;
  colorLight: string;
}

/* ── WS /api/v1/workspaces/{id}/terminals/{tid} ──────────────────────────────────────────────── */

export type TerminalRequest =
  | { type: 'resize'; cols: number; rows: number }
  | { type: 'visible'; visible: boolean }
  | { type: 'control'; hold: boolean }
  | { type: 'ack'; number: number; bytes: number };

export interface Viewer {
  id: string;
  name: string;
  color: string;
}

export interface TerminalTyping {
  mode: TypingMode;
  owner: Viewer | null;
  /** Who holds control of the size. */
  control: Viewer | null;
}

export type TerminalControl =
  | { type: 'replay'; cols: number; rows: number; number: number }
  | { type: 'ready'; writable: boolean }
  | { type: 'resize'; cols: number; rows: number }
  | { type: 'viewers'; people: Viewer[] }
  | { type: 'title'; title: string }
  | ({ type: 'typing'; writable: boolean } & TerminalTyping)
  | { type: 'typed'; person: Viewer }
  | { type: 'held'; person: Viewer }
  | { type: 'recording'; recording: TerminalRecording | null }
  | ({ type: 'exit' } & TerminalExit);

/* ── history: /api/v1/workspaces/{id}/history, restore, blame, convert ───────────────────────────── */

/** `disk` stands for programs in the workspace, an empty id for what nobody remembers. */
export interface Author {
  id: string;
  name: string;
  color: string;
}

/** The text at the end of a minute; `inserted` and `deleted` count what that minute changed. */
export interface VersionSummary {
  version: string;
  time: string;
  authors: Author[];
  inserted: number;
  deleted: number;
}

export interface VersionList {
  versions: VersionSummary[];
  more: boolean;
}

/** `start` counts code points in the text as it was just before this change. */
export interface VersionChange {
  author: Author;
  time: string;
  start: number;
  deleted: string;
  inserted: string;
}

export interface Version {
  version: string;
  time: string;
  authors: Author[];
  text: string;
  changes: VersionChange[];
  /** False when `changes` are only some of them. */
  complete: boolean;
}

/** Lines `from` to `to`, counted from 1. */
export interface BlameRun {
  from: number;
  to: number;
  author: Author;
  time: string;
}

export interface Conversion {
  path: string;
  encoding?: string;
  eol?: '\n' | '\r\n';
}

export interface Converted {
  hash: string;
  encoding: string;
  eol: '\n' | '\r\n';
  lines: number;
}

/* ── websocket close codes ───────────────────────────────────────────────────────────────────── */

/** RFC 6455 section 7.4; 4400-4499 are final, everything else is worth another try. */
export const CloseCode = {
  normal: 1000,
  restarting: 1012,
  overloaded: 1013,
  signInAgain: 4401,
  denied: 4403,
  gone: 4404,
  epochChanged: 4409,
  tooLarge: 4413,
  notText: 4415,
} as const;

export function isFinal(code: number): boolean {
  return code >= 4400 && code <= 4499;
}

// ── language servers ────────────────────────────────────────────────────────────────────────────

export type LanguageServerState = 'stopped' | 'starting' | 'running' | 'crashed' | 'failed';

/** A language server of a workspace; `memory` in bytes, 0 while it does not run. */
export interface LanguageServerInfo {
  id: string;
  name: string;
  version: string;
  languages: string[];
  command: string[];
  /** It is part of the IDE, and has no program of its own. */
  builtin: boolean;
  state: LanguageServerState;
  /** Why it crashed or failed. */
  detail: string;
  memory: number;
  clients: number;
  restarts: number;
}

/** `extensions`: the language of files by the end of their names, or their whole names. `hints`: a command that brings a server, for languages without one. */
export interface LanguagesAnswer {
  root: string;
  servers: LanguageServerInfo[];
  extensions: Record<string, string>;
  problems: TaskProblem[];
  hints: Record<string, string>;
}
