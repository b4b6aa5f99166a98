"""What a terminal's modes are after some output, found by scanning the bytes once.

Only what a screen needs besides its text is followed: modes (DECSET, SM), keypad, cursor style,
scroll region, character sets, colours and attributes (SGR), title and link. Cursor and text are
not: that is an emulator's work, and too slow here. Sequences are those of ECMA-48 and of xterm's
"Control Sequences" as xterm.js reads them, where a character of C1 (U+0080 to U+009F) in UTF-8
does the same as its two-byte form.
"""

from __future__ import annotations

import re

# Control strings end with ST; CAN, SUB and any ESC abort them, and BEL ends all but a DCS. Every
# pattern begins with one byte that it has to have, so that searching for it costs next to nothing.
END = rb"(?:\x18|\x1a|\x1b\\|(?=\x1b)|\Z)"
END_OR_BEL = rb"(?:\x07|\x18|\x1a|\x1b\\|(?=\x1b)|\Z)"
AFTER_ESC = (  # DCS; OSC, SOS, PM, APC
    rb"(?:P[^\x18\x1a\x1b]*" + END + rb"|[\]X^_][^\x07\x18\x1a\x1b]*" + END_OR_BEL + rb")"
)
STRING = re.compile(rb"\x1b" + AFTER_ESC)

_TITLE = re.compile(rb"\x1b\][02];([^\x07\x18\x1a\x1b]{0,1024})" + END_OR_BEL)
_LINK = re.compile(rb"\x1b\]8;([^\x07\x18\x1a\x1b]{0,2048})" + END_OR_BEL)
_RESET = re.compile(rb"(\x1b(?:c|\[!p))")
_CHARSET = re.compile(rb"\x1b([()*+\-./])([0-9A-Za-z=<>`{}\"&?%]{1,2}?)")
_SHIFTS = (b"\x0e", b"\x0f", b"\x1bn", b"\x1bo")
_MODE = re.compile(rb"\x1b(?:\[(?:(\??)([0-9;]{0,64})([hlr])|([0-9]{0,3}) (q))|([=>]))")
_ALTERNATE = re.compile(rb"\x1b\[\?(?:[0-9;]*;)?(?:47|1047|1049)(?:;[0-9;]*)?([hl])")
_RENDITION = re.compile(rb"\x1b\[([0-9;:]{0,256})m")
_C1 = re.compile(rb"\xc2[\x80-\x9f]")
_ALL_OFF = (b"\x1b[m", b"\x1b[0m")

ALTERNATE_SCREEN = frozenset((47, 1047, 1049))
ON_BY_DEFAULT = frozenset((7, 25))  # autowrap and the cursor
# Cursor keys, origin, autowrap, blinking, the cursor, reverse wraparound, focus, bracketed paste;
# what a mouse reports, and how.
FOLLOWED = frozenset((1, 6, 7, 12, 25, 45, 1004, 2004))
MOUSE_REPORTS = frozenset((9, 1000, 1002, 1003))
MOUSE_ENCODINGS = frozenset((1005, 1006, 1015, 1016))
SOFT_RESET = frozenset((1, 6, 7, 25))  # DECSTR sets these back
INSERT, NEW_LINE = 4, 20
_OFF = {  # SGR: which attributes a parameter switches off
    22: (1, 2), 23: (3,), 24: (4, 21), 25: (5, 6), 27: (7,), 28: (8,), 29: (9,),
    39: (30,), 49: (40,), 55: (53,), 59: (58,),
}  # fmt: skip
_COLOUR = 30, 40, 58  # the slots that hold a colour


class Rendition:
    """Colours and attributes: the present state of SGR, one slot for each of its properties."""

    def __init__(self) -> None:
        self._slots: dict[int, bytes] = {}

    def scan(self, data: bytes | bytearray) -> None:
        start = max(data.rfind(off) for off in _ALL_OFF)
        found: list[bytes] = _RENDITION.findall(data, max(start, 0))
        # Of equal ones the last decides: whatever the others set, it sets again.
        for parameters in reversed(dict.fromkeys(reversed(found))):
            self._take(parameters)

    def _take(self, parameters: bytes) -> None:
        slots = self._slots
        items = parameters.split(b";")
        at = 0
        while at < len(items):
            item = items[at]
            head = item.partition(b":")[0]
            number = int(head) if head.isdigit() else 0
            at += 1
            if number in (38, 48, 58):
                slot = 58 if number == 58 else number - 8
                if b":" not in item and at < len(items):
                    length = {b"5": 2, b"2": 4}.get(items[at], 1)
                    item = b";".join([item, *items[at : at + length]])
                    at += length
                slots[slot] = item
            elif number == 0:
                slots.clear()
            elif number in _OFF:
                for slot in _OFF[number]:
                    slots.pop(slot, None)
            elif 30 <= number <= 37 or 90 <= number <= 97:
                slots[30] = item
            elif 40 <= number <= 47 or 100 <= number <= 107:
                slots[40] = item
            elif item == b"4:0":
                slots.pop(4, None)
            elif 1 <= number <= 9 or number in (21, 53):
                slots[number] = item

    def restore(self) -> bytes:
        # One sequence each: a parameter that an emulator does not know spoils no other.
        return b"".join(b"\x1b[%bm" % item for item in self._slots.values())


class Modes:
    """The modes after all that was scanned; at first those of a terminal that was just reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.alternate = False
        self.title = b""
        self._private: dict[int, bool] = {}
        self._mouse: dict[str, int] = {}  # what is reported, and how
        self._insert = self._new_line = False
        self._keypad = False
        self._cursor_style = b""
        self._regions: dict[bool, bytes] = {}  # of the normal and of the alternate screen
        self._charsets: dict[bytes, bytes] = {}
        self._shift = b""
        self._link = b""
        self._rendition = Rendition()

    @property
    def full_screen(self) -> bool:
        """Whether a program is there that draws the whole screen, as far as modes tell."""
        return self.alternate or self._private.get(1, False)

    def scan(self, data: bytes | bytearray) -> None:
        """Follow `data`, which begins and ends between sequences."""
        data = seven_bit(data)
        if b"\x1b" not in data:
            self._take_shift(data)
            return
        if titles := _TITLE.findall(data):
            self.title = titles[-1]
        if links := _LINK.findall(data):
            self._link = links[-1]
        parts = _RESET.split(STRING.sub(b"", data))
        self._scan(parts[0])
        for reset, part in zip(parts[1::2], parts[2::2], strict=True):
            if reset == b"\x1bc":
                title = self.title
                self.reset()
                self.title = title
            else:
                self._soft_reset()
            self._scan(part)

    def _scan(self, data: bytes | bytearray) -> None:
        for question, numbers, final, style, q, keypad in _MODE.findall(data):
            if q:
                self._cursor_style = style
            elif keypad:
                self._keypad = keypad == b"="
            elif final == b"r":
                if not question:
                    self._regions[self.alternate] = numbers
            else:
                for number in numbers.split(b";"):
                    if number:
                        self._set(bool(question), int(number), final == b"h")
        self._charsets.update(_CHARSET.findall(data))
        self._take_shift(data)
        self._rendition.scan(data)

    def _take_shift(self, data: bytes | bytearray) -> None:
        at, shift = max((data.rfind(shift), shift) for shift in _SHIFTS)
        if at >= 0:
            self._shift = shift

    def _set(self, private: bool, number: int, on: bool) -> None:
        if not private:
            if number == INSERT:
                self._insert = on
            elif number == NEW_LINE:
                self._new_line = on
        elif number in FOLLOWED:
            self._private[number] = on
        elif number in ALTERNATE_SCREEN:
            self.alternate = on
            if not on:
                self._regions.pop(True, None)
        elif number in MOUSE_REPORTS or number in MOUSE_ENCODINGS:
            slot = "reports" if number in MOUSE_REPORTS else "encoding"
            if on:
                self._mouse[slot] = number
            else:
                self._mouse.pop(slot, None)
        elif number == 66:
            self._keypad = on

    def _soft_reset(self) -> None:
        for number in SOFT_RESET:
            self._private.pop(number, None)
        self._insert = False
        self._keypad = False
        self._regions.pop(self.alternate, None)
        self._charsets.clear()
        self._shift = b""
        self._rendition = Rendition()

    def restore(self) -> bytes:
        """What brings a terminal that was just reset into these modes."""
        out: list[bytes] = []
        if self.title:
            out.append(b"\x1b]2;%b\x1b\\" % self.title)
        if region := self._regions.get(False):
            out.append(b"\x1b[%br" % region)
        if self.alternate:
            out.append(b"\x1b[?1049h")
            if region := self._regions.get(True):
                out.append(b"\x1b[%br" % region)
        for number, on in self._private.items():
            if on != (number in ON_BY_DEFAULT):
                out.append(b"\x1b[?%d%c" % (number, b"h" if on else b"l"))
        out += (b"\x1b[?%dh" % number for number in self._mouse.values())
        if self._insert:
            out.append(b"\x1b[4h")
        if self._new_line:
            out.append(b"\x1b[20h")
        if self._keypad:
            out.append(b"\x1b=")
        if self._cursor_style:
            out.append(b"\x1b[%b q" % self._cursor_style)
        out += (b"\x1b%b%b" % pair for pair in self._charsets.items())
        if self._shift not in (b"", b"\x0f"):
            out.append(self._shift)
        out.append(self._rendition.restore())
        if self._link not in (b"", b";"):
            out.append(b"\x1b]8;%b\x1b\\" % self._link)
        return b"".join(out)


def seven_bit(data: bytes | bytearray) -> bytes | bytearray:
    """`data` with the characters of C1 as the two bytes that mean the same (ECMA-48, 5.3)."""
    return (
        _C1.sub(lambda found: bytes((0x1B, found[0][1] - 0x40)), data) if b"\xc2" in data else data
    )


def last_screen(data: bytes | bytearray) -> bool | None:
    """Whether `data` last went to the alternate screen (True) or from it; None: neither."""
    found = _ALTERNATE.findall(data)
    return found[-1] == b"h" if found else None
