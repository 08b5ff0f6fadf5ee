"""Settings of a server, and the errors that become status codes."""

import os
from dataclasses import dataclass, field
from pathlib import Path


def _choose_workers() -> int:
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS, Windows
        cores = os.cpu_count() or 1
    # TensorFlow uses several cores for one batch.
    return max(cores // 2, 1)


@dataclass(frozen=True)
class Settings:
    """Settings of a server.

    Attributes:
        model: Export folder, folder of versions, SavedModel or .tflite.
        name: Name of the model in the addresses.
        host: Address of the interface to listen on.
        port: Port; 0 chooses a free one.
        batching: True if requests that wait are classified together.
        max_batch_size: Maximum number of clips that are classified together.
        batch_timeout_ms: Maximum time to wait for more clips, in ms; 0: clips are
            classified together only if they have to wait anyway.
        workers: Batches that run at a time; for a .tflite, its interpreters.
        queue: Maximum number of requests that wait.
        timeout: Maximum time from a request's first byte to its answer, in seconds.
        max_request_mb: Maximum size of a request body in MB (10**6 bytes).
        max_memory_mb: Maximum sum of the bodies in memory in MB.
        max_clips: Maximum number of clips in a request.
        poll_seconds: Time between two checks for a new version, in seconds.
        max_audio_seconds: Maximum seconds of audio in a request.
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
