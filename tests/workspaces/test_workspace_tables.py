"""What `cloudide.toml` may say of a workspace and its ports, and what is wrong with the rest."""

from __future__ import annotations

import pytest

from cloudide.project import configuration
from cloudide.project.schema import PortTable, Resources, WorkspaceTable

GOOD = """
[workspace]
image = "crew/tools@3"
resources = { cpus = 0.5, memory = "512m", processes = 200 }
secrets = ["NPM_TOKEN", "file:KUBECONFIG@2"]
[ports.8000]
label = "Web app"
visibility = "members"
on_open = "preview"
[ports.5432]
"""


def problems(text: str) -> list[tuple[str, int, int]]:
    text, document, mistakes = configuration.load(text.encode())
    found = configuration.problems(text, [*mistakes, *configuration.everything(document)])
    return [(each.message, each.line, each.column) for each in found]


def test_what_is_right_is_taken() -> None:
    _, document, _ = configuration.load(GOOD.encode())
    assert problems(GOOD) == []
    assert configuration.workspace(document) == (
        WorkspaceTable(
            "crew/tools@3", Resources(0.5, "512m", 200), ["NPM_TOKEN", "file:KUBECONFIG@2"]
        ),
        [],
    )
    ports, _ = configuration.ports(document)
    assert ports == {8000: PortTable("Web app", "members", "preview"), 5432: PortTable()}


@pytest.mark.parametrize(
    ("text", "said", "line", "column"),
    [
        ('[workspace]\nimage = "a b"', "[workspace]: image is not the name", 2, 9),
        ("[workspace]\nimage = 1", "image: Expected `str`, got `int`", 2, 9),
        ('[workspace]\nsecrets = ["A-B"]', "'A-B' is none of NAME", 2, 12),
        ('[workspace]\nresources.memory = "64m"', "needs 256m or more", 2, 20),
        ("[workspace]\nresources.cpus = 0.05", "needs 0.1 CPUs", 2, 18),
        ("[workspace]\nresources.processes = 5", "needs 100 processes", 2, 23),
        ("[workspace]\nprivileged = true", "There is no key 'privileged'", 2, 1),
        ("workspace = 1", "This is not a table", 1, 13),
        ("[ports.0]", "A port is a number from 1 to 65535", 1, 2),
        ("[ports.65536]", "A port is a number", 1, 2),
        ('[ports."\uff18"]', "A port is a number", 1, 2),
        ('[ports.80]\nvisibility = "public"', "Invalid enum value 'public'", 2, 14),
        ('[ports.80]\non_open = "run"', "Invalid enum value 'run'", 2, 11),
        ('[ports.80]\nlabel = "a\\u202eb"', "label has up to 60", 2, 9),
        ('[services.a]\nimage = "x"\ndepends_on = ["b"]\n[services.b]\nimage = "x"\n'
         'depends_on = ["a"]', "[services.a]: it depends on itself: a → b → a", 3, 15),
    ],
    ids=range(15),
)  # fmt: skip
def test_what_is_wrong_is_told_where_it_is(text: str, said: str, line: int, column: int) -> None:
    (message, *place), *_ = problems(text)
    assert said in message
    assert place == [line, column]
