"""Retries of requests that may succeed later."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from asc_tf.core.errors import UsageError, UserError

Result = TypeVar("Result")


class ServerError(UserError):
    """A request that the server did not answer with results.

    Attributes:
        status: Status code of HTTP or name of a gRPC status; empty without an answer.
        errors: Reason for each clip, where the server gives them.
        is_final: True if other requests to this server will fail too.
        is_too_large: True if the request is larger than the server accepts.
    """

    def __init__(
        self,
        message: str,
        status: str = "",
        errors: tuple[str, ...] = (),
        *,
        is_final: bool = False,
        is_too_large: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.errors = status, errors
        self.is_final, self.is_too_large = is_final, is_too_large


class RetryableError(Exception):
    """A failure after which another attempt may succeed.

    Attributes:
        error: Error for the user if there is no other attempt.
        wait: Seconds that the server asks to wait; 0 if it does not.
    """

    def __init__(self, error: ServerError, wait: float = 0.0) -> None:
        super().__init__(str(error))
        self.error, self.wait = error, wait


@dataclass(frozen=True)
class Retries:
    """Further attempts after a failure, with growing random waits between them.

    Attributes:
        attempts: Number of further attempts, at least 0.
        first_wait: Mean of the first wait in seconds; each is twice the one before.
        longest: Time in seconds from the first attempt on, after which no other begins.
        sleep: Function that waits for a number of seconds.

    Raises:
        UsageError: If a value is out of its range.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        """Check the values."""
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise UsageError(f"retries={self.attempts!r}: give a whole number")
        if self.attempts < 0:
            raise UsageError(f"retries={self.attempts}: give 0 or more")
        for name in ("first_wait", "longest"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"{name}={getattr(self, name)}: give 0 or more")

    def run(self, attempt: Callable[[], Result]) -> Result:
        """Attempt until it succeeds.

        The server's own waiting time is respected: where it is too long for `longest`,
        there is no other attempt.

        Raises:
            ServerError: If the last attempt fails, or an error is permanent.
        """
        spent, number = 0.0, 0
        while True:
            begin = time.monotonic()
            try:
                return attempt()
            except RetryableError as failure:
                # Random, so that refused clients do not come back all at once.
                wait = self.first_wait * 2**number * random.uniform(0.5, 1.5)
                wait = max(wait, failure.wait)
                spent += time.monotonic() - begin + wait
                if number >= self.attempts or spent > self.longest:
                    raise failure.error from failure
            self.sleep(wait)
            number += 1
