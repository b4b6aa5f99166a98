"""Questions that programs ask a terminal, and the answers that an emulator gives by itself.

A question that runs through an emulator is answered once more, and the program that asked it may be
long gone: the answer would be typed into a shell. So questions are left out of what is replayed,
bells and notifications with them, and answers are known when they come.
"""

from __future__ import annotations

import re

from cloudide.protocol.modes import AFTER_ESC, END, END_OR_BEL, seven_bit

# Left out, in this order: ENQ and BEL; DECID; DA, DSR, DECRQM, XTVERSION, window reports,
# DECREQTPARM, the keyboard protocol's query, DECRQCRA, XTSMGRAPHICS; DECRQSS and XTGETTCAP; OSC
# with a question mark for its value (colours), clipboard, notifications, iTerm2's reports. Every
# other control string is matched too, as the group, because a BEL within it is no bell.
_FILTER = re.compile(
    rb"[\x05\x07\x1b](?:(?<!\x1b)|Z"
    rb"|\[(?:[>=?]?[0-9;]*c|\??[0-9;]*n|\??[0-9;]*\$p|>[0-9;]*q|[0-9;]*t|[0-9;]*x"
    rb"|\?u|[0-9;]*\*y|\?[0-9;]*S)"
    rb"|P[$+]q[^\x18\x1a\x1b]*"
    + END
    + rb"|\](?:[0-9]+;(?:[^\x07\x18\x1a\x1b;]*;)*\?"
    + rb"|(?:52|9|99|777|1337;Re(?:port|quest))[;=A-Z][^\x07\x18\x1a\x1b]*)"
    + END_OR_BEL
    + rb"|("
    + AFTER_ESC
    + rb"))"
)

# DA, DSR and CPR, DECRPM, window reports, the keyboard protocol's answer, focus; DCS and OSC.
_ANSWER = re.compile(
    rb"(?:\x1b\[(?:[?>=][0-9;]*c|\??[0-9]+(?:;[0-9]+){0,2}R|\??[0-9;]+n|\??[0-9;]+\$y"
    rb"|[0-9;]+t|\?[0-9]+u|[IO])|\x1bP[^\x1b]*\x1b\\|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\))+"
)


def without_queries(output: bytes | bytearray) -> bytes:
    """`output` without what would make an emulator answer, ring or notify."""
    return bytes(
        _FILTER.sub(lambda found: b"" if found[1] is None else found[0], seven_bit(output))
    )


def is_answer(typed: bytes) -> bool:
    """Whether this is what an emulator says by itself, and not a key or a paste."""
    return typed[:1] == b"\x1b" and _ANSWER.fullmatch(typed) is not None
