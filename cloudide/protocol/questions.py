"""What programs of a workspace ask the server, by way of the agent.

The agent tells of a question as it tells of an event; the server answers by a call that names it.
Both are of the workspace: whoever can write to the agent's socket can ask, so an answer holds
nothing that its members may not know, and what matters is asked of a person first.

    agent  → server   asked {id, origin, question}    whenever a program asks
    server → agent    answer {id, answer}             once; none comes after the link has gone

`origin` is the terminal that the program says it runs in, or what the server gave the program that
it started itself.
"""

from __future__ import annotations

import msgspec

CHANGES_LIMIT = 500  # staged files of one commit that are asked about
PATH_LIMIT = 4096


class StagedChange(msgspec.Struct, frozen=True):
    """A file of the commit that is being made; ids of blobs, "" for none before."""

    path: str
    old: str
    new: str


class WhoWrote(msgspec.Struct, frozen=True, tag_field="type", tag="who_wrote"):
    """Whose edits are in what is staged? `git_dir` is an absolute path of the container; `paths` of
    the changes are from the workspace's root."""

    git_dir: str
    changes: list[StagedChange]


class CoAuthors(msgspec.Struct, frozen=True, tag_field="type", tag="co_authors"):
    """`author` is who is at the keyboard, "" if nobody knows; all as `Name <email>`."""

    author: str
    others: list[str]


class MayI(msgspec.Struct, frozen=True, tag_field="type", tag="may_i"):
    """Git in a shell wants to fetch from, or push to, a repository that lets nobody in without a
    sign-in. `branch` and `commit` are what is checked out."""

    service: str
    url: str
    branch: str = ""
    commit: str = ""


class Granted(msgspec.Struct, frozen=True, tag_field="type", tag="granted"):
    """The repository is at `url` until the program closes its connection to the agent."""

    url: str
    who: str


class Declined(msgspec.Struct, frozen=True, tag_field="type", tag="declined"):
    """`message` is for the shell. `ask_here`: the person wants to type a password there."""

    message: str
    ask_here: bool = False


Question = WhoWrote | MayI
Answer = CoAuthors | Granted | Declined


class Asked(msgspec.Struct, frozen=True, tag_field="type", tag="asked"):
    id: str
    origin: str
    question: Question


class Withdrawn(msgspec.Struct, frozen=True, tag_field="type", tag="withdrawn"):
    """The program that asked is gone, or done with what it was granted."""

    id: str


class AnswerAsked(msgspec.Struct, frozen=True, tag_field="type", tag="answer"):
    id: str
    answer: Answer


class KnowTypist(msgspec.Struct, frozen=True, tag_field="type", tag="typist"):
    """Who types in a terminal from now on, for the commits that they make there.

    `usual`: what they have configured themselves counts first.
    """

    terminal: str
    name: str
    email: str
    usual: bool
