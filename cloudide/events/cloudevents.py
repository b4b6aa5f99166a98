"""Events as other programs see them: CloudEvents 1.0 in structured JSON mode.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"


class CloudEvent(msgspec.Struct, frozen=True):
    """`id` is stable: what comes twice comes with the same one. `source` is this server."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: dict[str, Any]


def cloud_event(row: Mapping[Any, Any], source: str) -> CloudEvent:
    """A row of the outbox as an event."""
    return CloudEvent(
        specversion="1.0",
        id=row["id"],
        source=source,
        type=row["type"],
        subject=row["subject"],
        # RFC 3339, section 5.6; "Z" rather than an offset, which every reader of it takes.
        time=datetime.fromtimestamp(row["at"], UTC).isoformat().replace("+00:00", "Z"),
        datacontenttype="application/json",
        data=msgspec.json.decode(row["data"]),
    )
