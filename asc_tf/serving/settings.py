"""Settings of a server, and the errors that become status codes."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from asc_tf.core.processors import count_processors


def _choose_workers() -> int:
    # TensorFlow uses several cores for one batch.
    return max(count_processors() // 2, 1)


def _option(
    default: str | bool | int | float | None,
    help_text: str,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare a setting that is a flag of asc-tf serve; None: see `_choose_workers`."""
    limits = {"lower_bound": minimum, "upper_bound": maximum}
    metadata = {"help": help_text, "limits": {} if minimum is None else limits}
    if default is None:
        return field(default_factory=_choose_workers, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Settings of a server; those with a help text are flags of asc-tf serve.

    Attributes:
        model: Export folder, folder of versions, SavedModel or .tflite.
        max_memory_mb: Maximum sum of the bodies in memory in MB (10**6 bytes).
        token: Bearer token that a request must give; empty: none.
    """

    model: Path
    name: str = _option("asc", "name of the model in the addresses")
    host: str = _option("127.0.0.1", "address to listen on; 0.0.0.0: every interface")
    port: int = _option(8501, "port to listen on; 0: a free one", 0, 65535)
    batching: bool = _option(True, "classify clips of requests that wait together")
    max_batch_size: int = _option(
        8, "maximum number of clips that are classified together", 1, 1024
    )
    batch_timeout_ms: float = _option(
        0.0,
        "maximum time to wait for more clips, ms; 0: only clips that have to wait "
        "anyway are classified together",
        0.0,
        60000.0,
    )
    workers: int = _option(
        None,
        "batches that run at a time (a .tflite: interpreters); half of the cores "
        "unless it is given",
        1,
        256,
    )
    queue: int = _option(
        64,
        "maximum number of requests that wait; one more is answered with 429",
        1,
        4096,
    )
    timeout: float = _option(
        60.0,
        "maximum time from the first byte of a request to its answer, s",
        0.1,
        86400.0,
    )
    max_request_mb: float = _option(
        64.0, "maximum size of a request body, MB", 0.001, 2000.0
    )
    max_clips: int = _option(256, "maximum number of clips in a request", 1, 100000)
    max_audio_seconds: float = _option(
        3600.0, "maximum seconds of audio in a request", 1.0, 1e6
    )
    drain_seconds: float = _option(
        0.0,
        "time from SIGTERM to the end of the listening, s; meanwhile /readyz is 503",
        0.0,
        3600.0,
    )
    poll_seconds: float = _option(
        2.0, "polling interval for newer versions, s", 0.05, 86400.0
    )
    max_memory_mb: float = 512.0
    token: str = ""

    @property
    def threads(self) -> int:
        """Requests that are worked on or wait; one more is refused."""
        return self.queue + self.workers * self.max_batch_size


OPTIONS = tuple(item for item in fields(Settings) if "help" in item.metadata)
"""Settings that are flags."""


class RequestError(Exception):
    """A request that is not answered with results.

    Attributes:
        status: Status code of the answer.
        message: Reason, for the client.
        details: Further fields of the answer.
    """

    def __init__(self, status: int, message: str, **details: object) -> None:
        super().__init__(message)
        self.status, self.message, self.details = status, message, details


class QueueFullError(Exception):
    """As many requests wait as are allowed."""
