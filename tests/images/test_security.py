"""What a look into an image found, and what people are told of it."""

from __future__ import annotations

import time

from cloudide.images.security import Package, Update, parsed, spdx, verdict

SAID = """=== dpkg
ii \tlibc6\t2.36-9+deb12u9
ii \tgit\t1:2.39.5-0+deb12u2
=== index
fresh
=== updates
Inst libc6 [2.36-9+deb12u9] (2.36-9+deb12u10 Debian-Security:12/stable-security [amd64])
Inst tzdata [2024a-0+deb12u1] (2025b-0+deb12u1 Debian:12.11/stable-updates [all]) []
Inst newly-needed (1.0 Debian:12/stable [amd64])
=== pip
typing_extensions-4.12.2.dist-info
=== npm
/usr/lib/node_modules/@types/node/package.json:  "version": "20.1.0",
/srv/node_modules/left-pad/package.json:\t"version": "1.3.0"
/srv/node_modules/left-pad/test/package.json:  "version": "9.9.9"
=== setuid
/usr/bin/su
=== end
"""


def test_what_is_there_and_what_is_pending() -> None:
    found = parsed(SAID)
    assert found.packages == [
        Package("deb", "git", "1:2.39.5-0+deb12u2"),
        Package("deb", "libc6", "2.36-9+deb12u9"),
        Package("npm", "@types/node", "20.1.0"),
        Package("npm", "left-pad", "1.3.0"),
        Package("pypi", "typing-extensions", "4.12.2"),
    ]
    assert found.updates == [
        Update("libc6", "2.36-9+deb12u9", "2.36-9+deb12u10", True),
        Update("tzdata", "2024a-0+deb12u1", "2025b-0+deb12u1", False),
        Update("newly-needed", "", "1.0", False),
    ]
    assert (found.setuid, found.fresh, found.complete) == (["/usr/bin/su"], True, True)


def test_a_plain_verdict() -> None:
    pending = verdict(parsed(SAID), user="dev", base_created=time.time() - 200 * 86400)
    assert pending["verdict"] == "updates"
    assert pending["summary"] == (
        "1 security update and 2 other updates are pending. What it is built on is 200 days old."
    )
    nothing = "=== index\nfresh\n=== end\n"
    assert verdict(parsed(nothing), user="dev", base_created=None)["verdict"] == "good"
    for unknown in ("=== index\n=== end\n", "", "=== updates\nInst\n"):
        assert verdict(parsed(unknown), user="dev", base_created=None)["verdict"] == "unknown"


def test_a_bill_of_materials() -> None:
    bill = spdx(
        parsed(SAID).packages,
        name="crew/tools@1",
        engine_id="sha256:1",
        namespace="urn:x",
        created=0,
    )
    assert bill["spdxVersion"] == "SPDX-2.3"
    ids = [each["SPDXID"] for each in bill["packages"]]
    assert len(set(ids)) == len(ids) == 6
    related = {each["relatedSpdxElement"] for each in bill["relationships"]}
    assert related == set(ids)
    purls = [ref["referenceLocator"] for e in bill["packages"] for ref in e.get("externalRefs", [])]
    assert purls[0] == "pkg:deb/debian/git@1%3A2.39.5-0%2Bdeb12u2"
    assert purls[2] == "pkg:npm/%40types/node@20.1.0"
