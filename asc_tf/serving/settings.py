"""Settings of a server, and the errors that become status codes."""

from dataclasses import dataclass, field
from pathlib import Path

from asc_tf.core.processors import count_processors


def _choose_workers() -> int:
    # TensorFlow uses several cores for one batch.
    return max(count_processors() // 2, 1)


@dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        model: Export folder, folder of versions, SavedModel or .tflite.
        name: Name of the model in the addresses.
        host: Address of the interface to listen on.
        port: Port; 0 chooses a free one.
        batching: True if requests that wait are classified together.
        max_batch_size: Most clips that are classified together.
        batch_timeout_ms: Longest time to wait for more clips, in ms; 0: clips are
            classified together only if they have to wait anyway.
        workers: Batches that run at a time; for a .tflite, its interpreters.
        queue: Most requests that wait.
        timeout: Longest time from a request's first byte to its answer, in seconds.
        max_request_mb: Largest body of a request in MB (10**6 bytes).
        max_memory_mb: Largest sum of the bodies in memory in MB.
        max_clips: Most clips of one request.
        poll_seconds: Time between two looks for a new version, in seconds.
        max_audio_seconds: Most audio of one request in seconds.
        drain_seconds: Time from SIGTERM to the end of the listening, in seconds;
            meanwhile `/readyz` answers 503.
        token: Bearer token that a request must give; empty: none.
    """

    model: Path
    name: str = "asc"
    host: str = "127.0.0.1"
    port: int = 8501
    batching: bool = True
    max_batch_size: int = 8
    batch_timeout_ms: float = 0.0
    workers: int = field(default_factory=_choose_workers)
    queue: int = 64
    timeout: float = 60.0
    max_request_mb: float = 64.0
    max_memory_mb: float = 512.0
    max_clips: int = 256
    poll_seconds: float = 2.0
    max_audio_seconds: float = 3600.0
    drain_seconds: float = 0.0
    token: str = ""

    @property
    def threads(self) -> int:
        """Requests that are worked on or wait; one more is refused."""
        return self.queue + self.workers * self.max_batch_size


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
