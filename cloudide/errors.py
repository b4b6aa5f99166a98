"""Domain errors: what a person is told, and which HTTP status and websocket close code say it.

One handler at the edge renders every one of them (RFC 9457 for HTTP, a close frame for a
websocket). `message` is public: what happened, why, and what to do. Internals go to the log.

    CloudIDEError
    ├── InvalidInput          400  4400
    ├── NotSignedIn           401  4401
    ├── Denied                403  4403
    ├── NotFound              404  4404
    ├── Conflict              409  4409
    │   └── EpochChanged      409  4409
    ├── PreconditionFailed    412  4412
    ├── TooLarge              413  4413
    ├── NotEditable           415  4415
    ├── TooMany               429  4429
    ├── Unavailable           503  1013
    │   ├── EngineUnavailable 503  1013
    │   └── AgentUnavailable  503  1013
    └── StorageFull           507  1013

Close codes 4400-4499 stop a y-websocket client from retrying; 1012 and 1013 let it retry.
"""


class CloudIDEError(Exception):
    """Base of every error that may be shown to a client."""

    status = 500
    close_code = 1011
    title = "Something went wrong"
    retry_after: int | None = None  # seconds until the same request may go through

    def __init__(self, message: str | None = None, **details: object) -> None:
        super().__init__(message or self.title)
        self.details = details

    @property
    def message(self) -> str:
        """The public sentence: what, why, and what to do."""
        return str(self.args[0])


class InvalidInput(CloudIDEError):
    status, close_code, title = 400, 4400, "The request is not valid"


class NotSignedIn(CloudIDEError):
    status, close_code, title = 401, 4401, "Sign in first"


class Denied(CloudIDEError):
    status, close_code, title = 403, 4403, "You may not do this"


class NotFound(CloudIDEError):
    status, close_code, title = 404, 4404, "There is no such thing here"


class Conflict(CloudIDEError):
    status, close_code, title = 409, 4409, "This conflicts with the present state"


class EpochChanged(Conflict):
    title = "The file was replaced by a new one; reload it"


class PreconditionFailed(CloudIDEError):
    status, close_code, title = 412, 4412, "The file has changed since you read it"


class TooLarge(CloudIDEError):
    status, close_code, title = 413, 4413, "This is larger than the limit"


class NotEditable(CloudIDEError):
    """The file can be read but not edited together (binary, another encoding, mixed line ends)."""

    status, close_code, title = 415, 4415, "This file opens read-only"


class TooMany(CloudIDEError):
    status, close_code, title = 429, 4429, "Too many requests"
    retry_after = 5


class Unavailable(CloudIDEError):
    status, close_code, title = 503, 1013, "Not available right now; try again shortly"
    retry_after = 5


class EngineUnavailable(Unavailable):
    title = "The container engine does not answer"


class AgentUnavailable(Unavailable):
    title = "The workspace is not running"


class StorageFull(CloudIDEError):
    status, close_code, title = 507, 1013, "The disk is full"
