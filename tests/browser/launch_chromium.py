#!/usr/bin/env python3
"""Become a Chromium that hears nothing of the machine's network interfaces.

Chromium gives up what it is loading (ERR_NETWORK_CHANGED) whenever an address comes or goes, and
beside other tests one comes with every container. It learns of them by netlink, and takes the
network as unchanging where it has none.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

import pyseccomp


def main() -> None:
    filter_ = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    netlink = pyseccomp.Arg(0, pyseccomp.EQ, socket.AF_NETLINK)
    filter_.add_rule(pyseccomp.ERRNO(errno.EAFNOSUPPORT), "socket", netlink)
    filter_.load()
    os.execvp("chromium", ["chromium", *sys.argv[1:]])  # noqa: S606  (no shell is wanted)


if __name__ == "__main__":
    main()
