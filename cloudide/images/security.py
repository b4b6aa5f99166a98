"""What is known of the safety of a version: pending updates, packages, setuid files, its user.

Asked in a container of the version itself: the distribution's own package index says what is to be
updated, dpkg, pip and npm say what there is. No list of vulnerabilities from elsewhere is assumed.
What comes out of the container is a stranger's word: bounded, and parsed here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from cloudide.errors import CloudIDEError
from cloudide.images.builder import Builder, Telling
from cloudide.images.containers import Run

OUTPUT_LIMIT = 16 * 1024 * 1024  # bytes
PACKAGES_LIMIT = 20_000
LISTED = 200  # updates and setuid files that are listed; all are counted
OLD_DAYS = 90  # a base that is older is worth a word
MEMORY = 1024 * 1024 * 1024
_TEXT = 200  # characters of a name or version

# A part each, after a line with its name. What an image lacks leaves its part empty.
_SCRIPT = r"""
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH DEBIAN_FRONTEND=noninteractive
part() { echo "=== $1"; }
part dpkg
dpkg-query -W -f '${db:Status-Abbrev}\t${Package}\t${Version}\n' 2>/dev/null | grep '^ii'
part index
if command -v apt-get >/dev/null; then
  timeout 90 apt-get update -qq -o APT::Update::Error-Mode=any >/dev/null 2>&1 && echo fresh
  part updates
  apt-get -s -qq dist-upgrade 2>/dev/null | grep '^Inst '
elif command -v apk >/dev/null; then
  timeout 90 apk update -q >/dev/null 2>&1 && echo fresh
  part apk
  apk version -l '<' 2>/dev/null
fi
part pip
find / -xdev -type d -name '*.dist-info' 2>/dev/null | sed 's|.*/||'
part npm
find / -xdev -path '*/node_modules/*/package.json' -exec grep -m1 -H '"version"' {} + 2>/dev/null
part setuid
find / -xdev -type f -perm /6000 2>/dev/null
part end
"""
_INST = re.compile(r"Inst (\S+)(?: \[([^\]]*)\])? \((\S+)([^)]*)\)")
_DIST_INFO = re.compile(r"(.+)-([^-]+)\.dist-info")
_NPM = re.compile(r'.*/node_modules/((?:@[^/]+/)?[^/@]+)/package\.json:\s*"version":\s*"([^"]+)"')
_APK = re.compile(r"(\S+)-(\d\S*)\s*<\s*(\S+)")


class Package(msgspec.Struct, frozen=True, order=True):
    """`manager`: deb, pypi or npm, as in a package URL."""

    manager: str
    name: str
    version: str


class Update(msgspec.Struct, frozen=True):
    """`security`: the distribution says that it mends a weakness."""

    name: str
    present: str
    available: str
    security: bool


class Findings(msgspec.Struct, frozen=True):
    """`fresh`: the package index answered, so that no updates means none."""

    packages: list[Package]
    updates: list[Update]
    setuid: list[str]
    fresh: bool
    complete: bool


async def look(builder: Builder, image: str, id: str, tell: Telling) -> Findings:
    """Ask in a container of an image.

    Raises:
        CloudIDEError: nothing can be run in it, or it was ended, and why.
    """
    said = bytearray()

    def take(chunk: bytes) -> None:
        said.extend(chunk[: OUTPUT_LIMIT - len(said)])

    async with builder.fenced(id, tell) as network:
        ran = await builder.run(
            Run(
                image=image,
                command=_SCRIPT,
                words=["look"],
                binds=[],
                network=network,
                memory=MEMORY,
                cpus=builder.limits.cpus,
                labels=builder.labels(id),
                user="0:0",
            ),
            take,
        )
        await builder.engine.call(ran.remove)
        if ran.status:
            raise tell.failed(f"The look was ended with {ran.status}.")
    return parsed(said.decode(errors="replace"))


def parsed(text: str) -> Findings:
    """What the script said. Pure."""
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("=== "):
            lines = parts.setdefault(line[4:40], [])
        elif len(line) < 4 * _TEXT:
            lines.append(line)
    packages: set[Package] = set()
    for line in parts.get("dpkg", []):
        fields = line.split("\t")
        if len(fields) == 3:
            packages.add(_package("deb", fields[1], fields[2]))
    for line in parts.get("pip", []):
        if match := _DIST_INFO.fullmatch(line):
            packages.add(_package("pypi", match[1].replace("_", "-").lower(), match[2]))
    for line in parts.get("npm", []):
        if match := _NPM.match(line):
            packages.add(_package("npm", match[1], match[2]))
    updates = [
        Update(m[1][:_TEXT], (m[2] or "")[:_TEXT], m[3][:_TEXT], "security" in m[4].lower())
        for line in parts.get("updates", [])
        if (m := _INST.match(line))
    ]
    updates += [
        Update(m[1][:_TEXT], m[2][:_TEXT], m[3][:_TEXT], False)
        for line in parts.get("apk", [])
        if (m := _APK.match(line))
    ]
    return Findings(
        packages=sorted(packages)[:PACKAGES_LIMIT],
        updates=updates,
        setuid=sorted(parts.get("setuid", [])),
        fresh="fresh" in parts.get("index", []),
        complete="end" in parts,
    )


def _package(manager: str, name: str, version: str) -> Package:
    return Package(manager, name[:_TEXT], version[:_TEXT])


def verdict(findings: Findings, *, user: str, base_created: float | None) -> dict[str, Any]:
    """What people are shown: `verdict` is good, updates or unknown, `summary` says it in words."""
    security = [each for each in findings.updates if each.security]
    notes: list[str] = []
    if not findings.complete:
        state, words = "unknown", "It could not be looked into: nothing can be run in it."
    elif security or findings.updates:
        state = "updates"
        others = len(findings.updates) - len(security)
        said = [_counted(len(security), "security update")] if security else []
        said += [_counted(others, "other update")] if others else []
        words = f"{' and '.join(said)} {'is' if len(findings.updates) == 1 else 'are'} pending."
    elif not findings.fresh:
        state, words = "unknown", "No package index answered, so that updates are not known."
    else:
        state, words = "good", "No updates are pending."
    if base_created is not None:
        days = int((time.time() - base_created) // 86400)
        if days >= OLD_DAYS:
            notes.append(f"What it is built on is {days} days old.")
    if user in ("", "0", "root"):
        notes.append("Its own user is root; workspaces do not use that.")
    ordered = sorted(findings.updates, key=lambda each: (not each.security, each.name))
    return {
        "verdict": state,
        "summary": " ".join([words, *notes]),
        "looked_at": datetime.now(UTC).isoformat(),
        "updates": [msgspec.to_builtins(each) for each in ordered[:LISTED]],
        "update_count": len(findings.updates),
        "security_count": len(security),
        "packages": len(findings.packages),
        "setuid": findings.setuid[:LISTED],
        "setuid_count": len(findings.setuid),
        "user": user or "root",
        "base_created_at": (
            datetime.fromtimestamp(base_created, UTC).isoformat() if base_created else None
        ),
    }


def unknown(error: CloudIDEError) -> dict[str, Any]:
    """The verdict where a look failed."""
    summary = f"It could not be looked into: {error.message}"
    looked = datetime.now(UTC).isoformat()
    return {"verdict": "unknown", "summary": summary, "looked_at": looked, "updates": []}


def spdx(
    packages: Iterable[Package], *, name: str, engine_id: str, namespace: str, created: float
) -> dict[str, Any]:
    """A bill of materials: SPDX 2.3 JSON, https://spdx.github.io/spdx-spec/v2.3/."""
    described = "SPDXRef-Image"
    listed: list[dict[str, Any]] = [
        {
            "SPDXID": described,
            "name": name,
            "versionInfo": engine_id,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "primaryPackagePurpose": "CONTAINER",
            **_UNKNOWN,
        }
    ]
    relations = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", described)]
    for number, each in enumerate(packages, 1):
        id = f"SPDXRef-Package-{number}"
        listed.append(
            {
                "SPDXID": id,
                "name": each.name,
                "versionInfo": each.version,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False,
                "externalRefs": [
                    {
                        "referenceCategory": "PACKAGE-MANAGER",
                        "referenceType": "purl",
                        "referenceLocator": _purl(each),
                    }
                ],
                **_UNKNOWN,
            }
        )
        relations.append(_relation(described, "CONTAINS", id))
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": namespace,
        "creationInfo": {
            "created": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: CloudIDE"],
        },
        "packages": listed,
        "relationships": relations,
    }


_UNKNOWN = {
    "licenseConcluded": "NOASSERTION",
    "licenseDeclared": "NOASSERTION",
    "copyrightText": "NOASSERTION",
}


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _purl(package: Package) -> str:
    """https://github.com/package-url/purl-spec"""
    from urllib.parse import quote

    kind = "deb/debian" if package.manager == "deb" else package.manager
    name = quote(package.name, safe="/")
    return f"pkg:{kind}/{name}@{quote(package.version, safe='')}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"
