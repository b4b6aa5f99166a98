"""Settings: one table, complete, from several sources."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cloudide.errors import InvalidInput
from cloudide.settings import OPTIONS, Settings, describe, load


def test_every_setting_is_documented() -> None:
    fields = msgspec.structs.fields(Settings)
    assert len(OPTIONS) == len(fields)
    for name, default, unit, help in describe():
        assert unit, name
        assert len(help) > 10, name
        assert default is not msgspec.NODEFAULT, name
        assert getattr(load({}), name) == (default if name != "data_dir" else Path.cwd() / "data")


def test_a_keyword_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cloudide.toml"
    file.write_text('listen = "127.0.0.1:1"\nworkspace_cpus = 3\nroom_grace = 4.5\n')
    environment = {
        "CLOUDIDE_CONFIG": str(file),
        "CLOUDIDE_LISTEN": "127.0.0.1:2",
        "CLOUDIDE_WORKSPACE_CPUS": "1.5",
        "CLOUDIDE_WORKSPACE_CA_BUNDLE": "false",
    }
    settings = load(environment, listen="127.0.0.1:3", public_url=None)
    assert settings.listen == "127.0.0.1:3"
    assert settings.workspace_cpus == 1.5
    assert settings.room_grace == 4.5
    assert settings.workspace_ca_bundle is False
    assert settings.public_url == "http://localhost:8080"


def test_an_unknown_setting_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cloudide.toml"
    file.write_text("workspace_cpu = 3\n")
    with pytest.raises(InvalidInput, match="workspace_cpu"):
        load({"CLOUDIDE_CONFIG": str(file)})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("listen", "8080"),
        ("listen", "host:99999"),
        ("listen", ":80"),
        ("public_url", "localhost:8080"),
        ("public_url", "ftp://localhost"),
        ("public_url", "http://localhost/path"),
        ("tls_certificate", "/only/one"),
        ("workspace_cpus", "many"),
        ("workspace_memory", "4G"),
        ("engine_threads", "1.5"),
        ("workspace_ca_bundle", "perhaps"),
    ],
)
def test_a_wrong_value_names_its_setting(variable: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=variable):
        load({f"CLOUDIDE_{variable.upper()}": value})


@pytest.mark.parametrize("content", ["not toml", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "cloudide.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidInput, match=r"cloudide\.toml"):
        load({"CLOUDIDE_CONFIG": str(file)})


@pytest.mark.parametrize(
    ("url", "origin", "host", "secure"),
    [
        ("http://localhost:8080", "http://localhost:8080", "localhost:8080", False),
        ("https://IDE.example.org/", "https://ide.example.org", "ide.example.org", True),
        ("https://ide.example.org:443", "https://ide.example.org", "ide.example.org", True),
        ("http://[::1]:80", "http://[::1]", "[::1]", False),
        ("http://127.0.0.1:8443", "http://127.0.0.1:8443", "127.0.0.1:8443", False),
    ],
)
def test_the_origin_is_as_a_browser_writes_it(
    url: str, origin: str, host: str, secure: bool
) -> None:
    settings = Settings(public_url=url)
    assert (settings.origin, settings.host, settings.secure) == (origin, host, secure)
