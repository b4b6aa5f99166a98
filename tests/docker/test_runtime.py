"""DockerRuntime against a real engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from containers import MIB, belongings, execute, python

from cloudide.errors import Conflict, EngineUnavailable, NotFound
from cloudide.workspaces import firewall
from cloudide.workspaces.docker import DockerRuntime
from cloudide.workspaces.engine import Engine
from cloudide.workspaces.runtime import ContainerSpec, RuntimeEvent

pytest_plugins = ["engine"]

MakeSpec = Callable[..., ContainerSpec]

CONNECT = """
import socket, sys
try:
    socket.create_connection(({host!r}, {port}), timeout=1.5).close()
    print("reached")
except OSError as error:
    print("closed")
"""


async def started(runtime: DockerRuntime, spec: ContainerSpec) -> str:
    container = await runtime.create(spec)
    await runtime.start(spec.workspace_id)
    return container


# ── confinement ─────────────────────────────────────────────────────────────────────────────────


async def test_container_is_confined_as_inspected(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    """What the engine says of the container: no capability, no way to gain one, hard limits."""
    container = await runtime.create(make_spec())
    host = (found := await engine.call(lambda c: c.inspect_container(container)))["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] == 128 * MIB
    assert host["NanoCpus"] == 1_500_000_000
    assert host["PidsLimit"] == 64
    assert host["Init"] is True
    assert host["PublishAllPorts"] is False
    assert not host["PortBindings"]
    assert not host["Devices"]
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["LogConfig"]["Config"]["max-size"] == "1m"
    assert found["Config"]["User"] == "1000:1000"
    writable = {mount["Destination"] for mount in found["Mounts"] if mount["RW"]}
    assert writable == {"/workspace", "/home/dev"}


async def test_container_is_confined_as_probed(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    """What a program inside finds when it tries."""
    container = await started(runtime, make_spec())
    status = await python(engine, container, "print(open('/proc/self/status').read())")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["1000"] * 4
    assert {fields[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"

    for attempt in (
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
        "open('/opt/cloudide/x', 'w')",
        "open('/run/cloudide/x', 'w')",
        "open('/etc/x', 'w')",
        "import os; os.setuid(0)",
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True);"
        "libc.mount(b'none', b'/workspace', b'tmpfs', 0, None) and os.open('/missing', 0)",
    ):
        caught = f"try:\n  exec({attempt!r})\nexcept OSError: print('refused')"
        assert await python(engine, container, caught) == "refused", attempt


async def test_limits_hold(engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec) -> None:
    """Memory beyond the limit kills the program that took it; processes beyond it do not start."""
    container = await started(runtime, make_spec())
    hog = ["python3", "-c", "x = bytearray(256 << 20)"]
    assert (await execute(engine, container, *hog))[0] == 137

    forks = """
import os, signal
children = []
try:
    while len(children) < 200: 
        if (pid := os.fork()): children.append(pid)
        else: signal.pause()
except BlockingIOError:
    print(len(children) < 64)
finally:
    for pid in children: os.kill(pid, signal.SIGKILL)
"""
    assert await python(engine, container, forks) == "True"


async def test_workspaces_reach_neither_each_other_nor_the_host(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    first, second = await asyncio.gather(
        started(runtime, make_spec("first")), started(runtime, make_spec("second"))
    )
    listen = "import socket, time; s = socket.create_server(('', 8000)); time.sleep(60)"
    await execute(engine, first, "sh", "-c", f'python3 -c "{listen}" >/dev/null 2>&1 &')
    found = await engine.call(lambda c: c.inspect_container(first))
    (network,) = found["NetworkSettings"]["Networks"].values()
    ready = """
import socket, time
while True:
    try: socket.create_connection(("127.0.0.1", 8000)).close(); break
    except OSError: time.sleep(0.02)
"""
    await python(engine, first, ready)

    def connect(host: str, port: int) -> str:
        return CONNECT.format(host=host, port=port)

    own = await python(engine, first, connect(network["IPAddress"], 8000))
    assert own == "reached"
    neighbour = await python(engine, second, connect(network["IPAddress"], 8000))
    assert neighbour == "closed"

    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        for address in (network["Gateway"], *host_addresses()):
            assert await python(engine, first, connect(address, port)) == "closed", address


def host_addresses() -> list[str]:
    """The address that this machine would use to reach others; no packet is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.200", 9))
        except OSError:
            return []
        return [probe.getsockname()[0]]


async def test_metadata_address_is_dropped(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    def dropped() -> int:
        command = ["iptables", "--wait", "5", "-nvxL", firewall.FORWARD_CHAIN]
        rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return sum(int(row.split()[0]) for row in rows.splitlines() if "169.254.0.0/16" in row)

    container = await started(runtime, make_spec())
    attempt = CONNECT.format(host="169.254.169.254", port=80)
    counted = False
    for _ in range(5):  # a server that starts meanwhile sets the rules, which count anew
        before = await asyncio.to_thread(dropped)
        assert await python(engine, container, attempt) == "closed"
        counted = counted or await asyncio.to_thread(dropped) > before
    assert counted


async def test_firewall_is_set_once(runtime: DockerRuntime) -> None:
    """Applying the rules again, as every start does, leaves one jump into each chain."""
    await runtime.check()
    await runtime.check()

    def rules() -> str:
        command = ["iptables-save", "-t", "filter"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    saved = await asyncio.to_thread(rules)
    for chain in (firewall.INPUT_CHAIN, firewall.FORWARD_CHAIN):
        assert sum(f"-j {chain}" in line for line in saved.splitlines()) == 1
        # Other servers of this machine share the chains, and may be of another mind.
        assert 2 <= sum(line.startswith(f"-A {chain}") for line in saved.splitlines()) <= 4


async def test_packages_install_inside(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec, ca_bundle: Path | None
) -> None:
    """Names resolve, the network is there and TLS verifies: pip installs without root."""
    container = await started(runtime, make_spec(ca_bundle=ca_bundle))
    install = ["pip", "install", "--quiet", "--no-cache-dir", "six==1.17.0"]
    status, output = await execute(engine, container, *install)
    assert status == 0, output
    status, output = await execute(engine, container, "python", "-c", "print(__import__('six'))")
    assert status == 0
    assert "/home/dev/.local/" in output


# ── what lives how long ─────────────────────────────────────────────────────────────────────────


async def test_volumes_outlive_the_container(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    first = await started(runtime, make_spec())
    write = "echo kept > /workspace/file && echo too > ~/file"
    assert await execute(engine, first, "sh", "-c", write) == (0, "")
    second = await started(runtime, make_spec(generation=2))
    assert second != first
    read = await execute(engine, second, "cat", "/workspace/file", "/home/dev/file")
    assert read == (0, "kept\ntoo\n")
    observed = await runtime.list()
    assert [(o.container_id, o.generation, o.status) for o in observed] == [(second, 2, "running")]


async def test_create_is_idempotent_by_generation(
    runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    first = await runtime.create(make_spec(generation=2))
    assert await runtime.create(make_spec(generation=2)) == first
    with pytest.raises(Conflict):
        await runtime.create(make_spec(generation=1))


async def test_destroy_leaves_nothing(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec, instance: str
) -> None:
    await started(runtime, make_spec())
    name = f"cloudide-{instance}-one"
    parts = sorted([name, name, f"{name}-workspace", f"{name}-home"])
    assert await belongings(engine, instance) == parts
    await runtime.destroy("one")
    assert await belongings(engine, instance) == []
    await runtime.destroy("one")
    await runtime.remove("one")
    await runtime.stop("one", 1)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"image": "cloudide-test/missing:1"}, NotFound),
        ({"agent_volume": "cloudide-test-missing"}, NotFound),
        ({"link_directory": Path("/missing/folder")}, EngineUnavailable),
    ],
)
async def test_failed_create_takes_back_what_it_made(
    engine: Engine,
    runtime: DockerRuntime,
    make_spec: MakeSpec,
    instance: str,
    change: dict[str, object],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        await runtime.create(make_spec(**change))
    assert await belongings(engine, instance) == []


async def test_failed_replacement_keeps_the_volumes(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    """A workspace whose next image is missing loses its container, never its files."""
    first = await started(runtime, make_spec())
    await execute(engine, first, "touch", "/workspace/file")
    with pytest.raises(NotFound):
        await runtime.create(make_spec(generation=2, image="cloudide-test/missing:1"))
    third = await started(runtime, make_spec(generation=3))
    assert (await execute(engine, third, "ls", "/workspace"))[1] == "file\n"


async def test_cancelled_create_leaves_a_whole_workspace_or_none(
    runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    creating = asyncio.create_task(runtime.create(make_spec()))
    await asyncio.sleep(0)
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    # Waits for what was begun, then finds it finished.
    await runtime.start("one")
    observed = await runtime.inspect("one")
    assert observed
    assert observed.status == "running"


async def test_many_workspaces_at_once(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    """More networks than the engine's own pool has, each with a subnet of its own."""
    count = 40
    specs = [make_spec(f"w{number}") for number in range(count)]
    await asyncio.gather(*(runtime.create(spec) for spec in specs))
    networks = await engine.call(lambda c: c.networks())
    subnets = [n["IPAM"]["Config"][0]["Subnet"] for n in networks if n["IPAM"]["Config"]]
    assert len(subnets) == len(set(subnets))
    assert len(await runtime.list()) == count


async def test_start_after_the_network_was_pruned(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec, instance: str
) -> None:
    await runtime.create(make_spec())
    await engine.call(lambda c: c.remove_network(f"cloudide-{instance}-one"))
    await runtime.start("one")
    observed = await runtime.inspect("one")
    assert observed
    assert observed.status == "running"


async def test_start_without_a_container(runtime: DockerRuntime) -> None:
    with pytest.raises(NotFound):
        await runtime.start("missing")


async def test_observed_through_a_life(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    assert await runtime.inspect("one") is None
    await runtime.create(make_spec())
    created = await runtime.inspect("one")
    assert created
    assert (created.status, created.exit_code, created.started_at) == ("created", None, None)
    await runtime.start("one")
    await runtime.start("one")
    running = await runtime.inspect("one")
    assert running
    assert running.status == "running"
    assert running.started_at
    await runtime.stop("one", 5)
    stopped = await runtime.inspect("one")
    assert stopped
    assert (stopped.status, stopped.exit_code) == ("exited", 128 + 15)


# ── images that know nothing of us ──────────────────────────────────────────────────────────────


async def test_busybox_only_image_is_furnished(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec, busybox: str
) -> None:
    """Its volumes belong to the user, there is a /tmp, and the user has a name."""
    container = await started(runtime, make_spec(image=busybox))
    probe = "cd && touch /workspace/a b /tmp/c && busybox id -u && busybox id -un && busybox pwd"
    assert await execute(engine, container, "/bin/sh", "-c", probe) == (0, "1000\ndev\n/home/dev\n")


# ── an engine that is not well ──────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def sick_engine(path: Path, status: int) -> AsyncIterator[DockerRuntime]:
    """An engine that tells its version and answers all else with an error."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                is_version = b"/version" in request.splitlines()[0]
                body = json.dumps({"ApiVersion": "1.41", "message": "overlay2: no such device"})
                line = "200 OK" if is_version else f"{status} Trouble"
                head = f"HTTP/1.1 {line}\r\nContent-Type: application/json\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    engine = Engine(f"unix://{path}")
    try:
        async with server:
            yield DockerRuntime(engine, instance="sick", network_pool="10.214.0.0/20")
    finally:
        engine.close()


@pytest.mark.parametrize("status", [400, 409, 500, 503])
async def test_only_404_is_gone(tmp_path: Path, status: int) -> None:
    async with sick_engine(tmp_path / "engine.sock", status) as runtime:
        with pytest.raises(EngineUnavailable) as error:
            await runtime.inspect("one")
        assert "overlay2" not in error.value.message
        with pytest.raises(EngineUnavailable):
            await runtime.list()
        with pytest.raises(EngineUnavailable):
            await runtime.remove("one")


async def test_404_is_gone(tmp_path: Path) -> None:
    async with sick_engine(tmp_path / "engine.sock", 404) as runtime:
        assert await runtime.inspect("one") is None
        await runtime.remove("one")
        await runtime.destroy("one")


async def test_no_engine_at_all(tmp_path: Path) -> None:
    engine = Engine(f"unix://{tmp_path}/missing.sock")
    runtime = DockerRuntime(engine, instance="none", network_pool="10.214.0.0/20")
    for attempt in (runtime.check, lambda: runtime.inspect("one"), runtime.list):
        with pytest.raises(EngineUnavailable) as error:
            await attempt()
        assert "does not answer" in error.value.message
    engine.close()


# ── events ──────────────────────────────────────────────────────────────────────────────────────


async def next_event(events: AsyncIterator[RuntimeEvent]) -> RuntimeEvent:
    async with asyncio.timeout(20):
        return await anext(events)


async def test_events_tell_a_life(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    async with aclosing(runtime.events()) as events:
        assert (await next_event(events)).action == "resync"
        container = await started(runtime, make_spec(generation=7))
        await engine.call(lambda c: c.kill(container))
        await runtime.remove("one")
        seen = [await next_event(events) for _ in range(3)]
    assert [(e.action, e.workspace_id, e.generation) for e in seen] == [
        ("start", "one", 7),
        ("die", "one", 7),
        ("destroy", "one", 7),
    ]
    assert seen[1].exit_code == 137


async def test_events_of_other_servers_are_not_seen(
    engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec
) -> None:
    other = DockerRuntime(engine, instance="other-server", network_pool="10.214.0.0/20")
    async with aclosing(runtime.events()) as events:
        assert (await next_event(events)).action == "resync"
        await other.create(make_spec("theirs"))
        await other.start("theirs")
        await other.destroy("theirs")
        await started(runtime, make_spec("ours"))
        assert (await next_event(events)).workspace_id == "ours"


async def test_events_resync_after_a_lost_connection(
    tmp_path: Path, engine: Engine, runtime: DockerRuntime, make_spec: MakeSpec, instance: str
) -> None:
    """The connection is cut, the engine stays away for a while, then comes back."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        pytest.skip("the engine of this run has no socket to stand between")
    path = tmp_path / "proxy.sock"
    connections: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(host.removeprefix("unix://"))
        connections.extend((writer, up_writer))
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

    through_proxy = Engine(f"unix://{path}")
    watched = DockerRuntime(through_proxy, instance=instance, network_pool="10.214.0.0/20")
    server = await asyncio.start_unix_server(serve, path)
    async with aclosing(watched.events()) as events:
        assert (await next_event(events)).action == "resync"
        server.close()
        path.unlink(missing_ok=True)
        for writer in connections:
            writer.close()
        await started(runtime, make_spec())  # missed
        server = await asyncio.start_unix_server(serve, path)
        assert (await next_event(events)).action == "resync"
        await runtime.stop("one", 5)
        assert (await next_event(events)).action == "die"
    through_proxy.close()
    server.close()
