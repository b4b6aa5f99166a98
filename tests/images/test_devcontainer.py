"""devcontainer.json: read by the reference, judged by our policy, made into a plan."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cloudide.errors import Denied, InvalidInput, TooLarge
from cloudide.images.devcontainer import files, plan, policy, reference
from cloudide.workspaces.runtime import Grants

BASE: dict[str, Any] = {"Id": "sha256:base", "Os": "linux", "Architecture": "amd64"}
BASE["Config"] = {"User": "dev", "Env": ["PATH=/usr/bin"], "Labels": {}}


def image(**says: Any) -> dict[str, Any]:
    """What an engine says of an image with metadata."""
    return {
        **BASE,
        "Config": {**BASE["Config"], "Labels": {"devcontainer.metadata": json.dumps([says])}},
    }


def project(folder: Path, configuration: object, **others: str) -> Path:
    """A folder with a configuration; other files by their path, `__` for `/`."""
    root = folder / "project"
    texts = {".devcontainer/devcontainer.json": json.dumps(configuration)}
    texts |= {path.replace("__", "/"): text for path, text in others.items()}
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


async def read(
    folder: Path, configuration: object, found: dict[str, Any] = BASE, **others: str
) -> reference.Read:
    return await reference.read(
        folder,
        project(folder, configuration, **others),
        ".devcontainer/devcontainer.json",
        images={"base": found},
        label="img_1",
        registries=["ghcr.invalid"],
    )


# ── which one, and what is wrong with it ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (
            [".devcontainer.json", ".devcontainer/devcontainer.json"],
            "",
            ".devcontainer/devcontainer.json",
        ),
        ([".devcontainer.json", "a/devcontainer.json"], "", ".devcontainer.json"),
        ([".devcontainer/go/devcontainer.json"], "", ".devcontainer/go/devcontainer.json"),
        (
            [".devcontainer/devcontainer.json", ".devcontainer/go/devcontainer.json"],
            ".devcontainer/go/devcontainer.json",
            ".devcontainer/go/devcontainer.json",
        ),
    ],
    ids=["folder", "root", "named", "asked"],
)
def test_which_configuration(names: list[str], wanted: str, chosen: str) -> None:
    assert files.choose(names, wanted) == chosen


@pytest.mark.parametrize(
    ("names", "wanted", "said"),
    [
        (["README"], "", "no configuration"),
        (
            [".devcontainer/a/devcontainer.json", ".devcontainer/b/devcontainer.json"],
            "",
            "choose one",
        ),
        ([".devcontainer.json"], ".devcontainer/x/devcontainer.json", "no .devcontainer/x"),
    ],
    ids=["none", "several", "missing"],
)
def test_no_configuration(names: list[str], wanted: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        files.choose(names, wanted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n  // said\n  "image" "x",\n}', r"d\.json:3:10: \":\" and a value"),
        ('{\n  "image": "x",\n  "forwardPorts": 3\n}', r"d\.json:3:19: forwardPorts: Expected"),
        ('{"image": "x",\n "waitFor": "never"}', r"d\.json:2:13: waitFor"),
        ('{"name": "x"}', "It says no image"),
        ("[]", r"d\.json:1:1: "),
        ('{"dockerComposeFile": "c.yml", "service": "s"}', "Compose files are not supported"),
    ],
    ids=["syntax", "type", "value", "nothing", "list", "compose"],
)
def test_mistakes_have_their_place(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        files.parse("d.json", text.encode())


@pytest.mark.parametrize(
    "path", ["../../secret", "/etc/passwd", "a\\b"], ids=["up", "root", "back"]
)
def test_what_is_built_stays_in_the_context(path: str) -> None:
    for table in ({"dockerfile": path}, {"dockerfile": "Dockerfile", "context": path}):
        with pytest.raises(InvalidInput, match="leads out"):
            files.build_of(".devcontainer/devcontainer.json", {"build": table})


# ── the reference ───────────────────────────────────────────────────────────────────────────────


async def test_the_reader_has_nothing_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its environment nor its home, and no address but those of registries."""
    monkeypatch.setenv("CANARY", "sung")
    asked = {"A": "${localEnv:CANARY}", "B": "${localEnv:PATH}${env:HOME}", "C": "${localEnv:X:y}"}
    asked["D"] = "${localEnv:CLOUDIDE_SCRATCH}"
    found = await read(tmp_path, {"image": "base", "containerEnv": asked})
    assert found.merged["containerEnv"] == {"A": "", "B": "", "C": "y", "D": ""}
    called: list[bytes] = []

    async def called_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(called_on, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for id in (
            f"localhost:{port}/a/b:1",
            f"http://127.0.0.1:{port}/devcontainer-feature-x.tgz",
        ):
            with pytest.raises(InvalidInput, match=r"x\.tgz|a/b"):
                await read(tmp_path, {"image": "base", "features": {id: {}}})
        # Of a feature that only another one names, too.
        about = {"id": "f", "version": "1.0.0", "dependsOn": {f"127.0.0.1:{port}/a/b:1": {}}}
        local = {".devcontainer__f__devcontainer-feature.json": json.dumps(about)}
        local[".devcontainer__f__install.sh"] = ""
        with pytest.raises(InvalidInput, match="feature_registries"):
            await read(tmp_path, {"image": "base", "features": {"./f": {}}}, BASE, **local)
    assert called == []


@pytest.mark.parametrize(
    ("id", "said"),
    [
        ("ghcr.invalid/a/b:1", "feature ghcr.invalid/a/b:1 cannot be fetched: getaddrinfo"),
        ("ghcr.io/a/b:1", "ghcr.io:443, which is not among the registries"),
        ("./missing", "missing"),
        ("./../../outside", "outside"),
    ],
    ids=["unreachable", "foreign", "missing", "outside"],
)
async def test_unknown_features(tmp_path: Path, id: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        await read(tmp_path, {"image": "base", "features": {id: {}}})
    assert str(tmp_path) not in caught.value.message


# ── the policy ──────────────────────────────────────────────────────────────────────────────────

ASKS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "nothing": ({"image": "x", "privileged": False, "runArgs": ["--init"]}, []),
    "command": ({"initializeCommand": ["a", "b"]}, [("initializeCommand", '["a", "b"]')]),
    "privileged": ({"privileged": True}, [("privileged", "true")]),
    "capability": ({"capAdd": ["CAP_sys_ptrace"]}, [("capAdd", "SYS_PTRACE")]),
    "security": ({"securityOpt": ["seccomp=unconfined"]}, [("securityOpt", "seccomp=unconfined")]),
    "bind": ({"mounts": ["source=/etc,target=/e,type=bind,readonly"]}, [("mounts", "/etc:/e:ro")]),
    "bind object": (
        {"mounts": [{"type": "bind", "source": "/", "target": "/h"}]},
        [("mounts", "/:/h")],
    ),
    "bind untyped": (
        {"mounts": ["src=/var/run/docker.sock,dst=/d"]},
        [("mounts", "/var/run/docker.sock:/d")],
    ),
    "volume": ({"mounts": ["source=cache,target=/c,type=volume"]}, []),
    "other kind": ({"mounts": ["source=x,target=/c,type=npipe"]}, [("mounts", "x:/c")]),
    "argument": ({"runArgs": ["--pid", "host"]}, [("runArgs", "--pid host")]),
    "arguments that mean others": (
        {"runArgs": ["--cap-add=NET_ADMIN", "--privileged", "--security-opt", "x=y", "-v", "/:/h"]},
        [
            ("capAdd", "NET_ADMIN"),
            ("mounts", "/:/h"),
            ("privileged", "true"),
            ("securityOpt", "x=y"),
        ],
    ),
    "a device": ({"runArgs": ["--device=/dev/kvm"]}, [("runArgs", "--device=/dev/kvm")]),
}


@pytest.mark.parametrize("case", ASKS)
def test_what_needs_a_policy(case: str) -> None:
    """By whoever asks: the configuration, a feature, an image's label, or what they come to."""
    says, expected = ASKS[case]
    for asks, by in (
        (policy.asked(says, [], [], {}), "devcontainer.json"),
        (policy.asked({}, [("./f", says)], [], {}), "the feature ./f"),
        (policy.asked({}, [], [("base", image(**says))], {}), "the image base"),
        (policy.asked({}, [], [], says), "what it is merged with"),
    ):
        assert [(ask.property, ask.value) for ask in asks] == expected
        assert {ask.by for ask in asks} <= {by}
        for ask in asks:
            with pytest.raises(Denied) as caught:
                policy.judge(asks, policy.rules("other:privileged, site:capAdd=SYS_ADMIN"), "team")
            assert ask.property in caught.value.message
            assert ask.by in caught.value.message


def test_a_team_may_have_what_its_policy_names() -> None:
    asks = policy.asked(
        {"capAdd": ["SYS_PTRACE"], "initializeCommand": "x", "mounts": ["type=bind,src=/a,dst=/b"]},
        [],
        [],
        {},
    )
    setting = "team:capAdd=CAP_SYS_PTRACE, *:initializeCommand, team:mounts=/a:/b"
    given = policy.judge(asks, policy.rules(setting), "team")
    assert given.grants == Grants(capabilities=["SYS_PTRACE"], binds=["/a:/b"])
    assert [ask.property for ask in given.ineffective] == ["initializeCommand"]
    with pytest.raises(Denied, match="capAdd"):
        policy.judge(asks, policy.rules(setting), "others")
    with pytest.raises(Denied, match="mounts"):
        policy.judge(asks, policy.rules(setting.replace("/a:/b", "/a:/c")), "team")


@pytest.mark.parametrize(
    "setting", ["privileged", "a:b", ":capAdd"], ids=["bare", "unknown", "team"]
)
def test_a_policy_that_cannot_be_read(setting: str) -> None:
    with pytest.raises(InvalidInput, match="devcontainer_allow"):
        policy.rules(setting)


# ── what the reader may use ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limits", "program", "said"),
    [
        (
            {"RESIDENT_LIMIT": 200 * 1024**2},
            "const all = []; setInterval(() => all.push(Buffer.alloc(8 << 20, 1)), 20)",
            "200 MiB of memory",
        ),
        (
            {"SCRATCH_LIMIT": 32 * 1024**2},
            "let n = 0; setInterval(() => "
            "require('fs').writeFileSync('f' + n++, Buffer.alloc(4 << 20, 1)), 20)",
            "32 MiB of files",
        ),
        (
            {"ENTRIES_LIMIT": 100},
            "let n = 0; setInterval(() => require('fs').mkdirSync('d' + n++), 1)",
            "100 files and folders",
        ),
        (
            {"FILE_LIMIT": 1024**2},
            "setInterval(() => require('fs').appendFileSync('f', Buffer.alloc(1 << 19, 1)), 20)",
            "in one file",
        ),
        ({"CPU_SECONDS": 1}, "setTimeout(() => { for (;;); }, 20)", "s of a CPU"),
    ],
    ids=["memory", "disk", "entries", "file", "cpu"],
)
async def test_the_reader_may_not_use_all_there_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, int],
    program: str,
    said: str,
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(reference, name, value)
    node = shutil.which("node")
    assert node is not None
    async with asyncio.timeout(reference.SECONDS / 2):
        with pytest.raises(TooLarge, match=said):
            await reference._run([node, "-e", program], {}, tmp_path)


# ── the plan ────────────────────────────────────────────────────────────────────────────────────


async def test_a_plan_has_all_that_is_honoured_and_names_the_rest(tmp_path: Path) -> None:
    configuration = {
        "name": "All",
        "image": "base",
        "features": {"./f": {"word": "given"}},
        "containerEnv": {"A": "1", "HOME": "/x"},
        "remoteEnv": {"P": "/extra:${containerEnv:PATH}", "GONE": None},
        "remoteUser": "dev",
        "workspaceFolder": "/workspaces/all",
        "forwardPorts": [3000, "db:5432"],
        "portsAttributes": {
            "3000": {"label": "Web", "onAutoForward": "openPreview"},
            "8000-8010": {"label": "R"},
        },
        "hostRequirements": {"cpus": 4, "memory": "8gb", "storage": "32gb"},
        "secrets": {"TOKEN": {"description": "Of the registry"}},
        "customizations": {"cloudide": {"layout": "wide"}, "vscode": {"extensions": []}},
        "onCreateCommand": "one",
        "postCreateCommand": {"a": "two", "b": ["three", "x y"]},
        "waitFor": "postCreateCommand",
        "mounts": ["source=cache,target=/c,type=volume"],
        "shutdownAction": "none",
        "novelty": 1,
    }
    about = {
        "id": "f",
        "version": "1.2.3",
        "options": {"word": {"type": "string", "default": "no"}},
    }
    about |= {"postCreateCommand": "of the feature", "entrypoint": "/init"}
    local = {".devcontainer__f__devcontainer-feature.json": json.dumps(about)}
    local[".devcontainer__f__install.sh"] = "true"
    found = await read(tmp_path, configuration, image(postCreateCommand="of the image"), **local)
    assert [(each.id, each.about["value"]) for each in found.features] == [
        ("./f", {"word": "given"})
    ]
    assert (found.features[0].folder / "install.sh").is_file()
    drawn = plan.draw(
        "d.json",
        found.configuration,
        found.merged,
        folder=found.folder,
        local=["${localEnv:X}"],
        grants=Grants(),
        ineffective=[policy.Ask("initializeCommand", "make", "devcontainer.json")],
    )
    assert drawn.environment == {"A": "1"}
    assert plan.resolved(drawn.remote_environment, {"PATH": "/bin"}) == {"P": "/extra:/bin"}
    assert (drawn.name, drawn.user, drawn.folder) == ("All", "dev", "/workspaces/all")
    assert drawn.ports == [plan.Port(3000, "Web", "", "openPreview")]
    assert drawn.secrets == [plan.Secret("TOKEN", "Of the registry")]
    assert drawn.customizations == {"layout": "wide"}
    assert drawn.wait_for == "postCreateCommand"
    assert drawn.commands == {
        "onCreateCommand": [plan.Command({"": "one"})],
        "postCreateCommand": [
            plan.Command({"": "of the image"}),
            plan.Command({"": "of the feature"}),
            plan.Command({"a": "two", "b": ["three", "x y"]}),
        ],
    }
    named = {notice.partition(":")[0].partition(" (")[0] for notice in drawn.notices}
    assert named >= {
        *("${localEnv", "containerEnv.HOME", "remoteEnv.GONE", "forwardPorts", "mounts"),
        *("shutdownAction", "novelty", "customizations.vscode", "entrypoint of a feature"),
        *("hostRequirements.storage", "initializeCommand"),
    }
    assert plan.requirements(found.merged, 2, 4 << 30) == [
        ("cpus 4", "a workspace here has 2 CPUs"),
        ("memory 8 GiB", "a workspace here has 4 GiB"),
    ]
    assert plan.requirements(found.merged, 4, 8 << 30) == []
