"""Clock and random pauses, passed as arguments so that tests control them."""

import random
import time
from datetime import datetime

FIRST_VALID = datetime.fromisoformat("2024-01-01T00:00:00+00:00").timestamp()
"""Unix time before which a clock is not set: a Raspberry Pi without a battery begins in
1970, or where it was switched off."""

FIRST_PAUSE = 1.0
"""Pause after the first attempt, before chance shortens it, in seconds."""

LONGEST_PAUSE = 30.0
"""Longest pause between two attempts in seconds."""


class Clock:
    """Clocks of the machine."""

    def read_monotonic(self) -> float:
        """Read a clock that never jumps, in seconds."""
        return time.monotonic()

    def read_unix(self) -> float:
        """Read the time of day in Unix seconds; it may jump at any moment."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def to_local(self, unix: float) -> datetime:
        """Convert Unix seconds to the local time of the present time zone.

        The zone is read again each time: it may be changed while the program runs.
        """
        time.tzset()
        return datetime.fromtimestamp(unix).astimezone()

    def format_time(self, unix: float) -> str | None:
        """Format Unix seconds with the zone's offset; None if the clock is not set."""
        if unix < FIRST_VALID:
            return None
        return self.to_local(unix).isoformat(timespec="milliseconds")


class Backoff:
    """Pauses between attempts: each twice as long as the one before, times chance.

    Chance keeps many devices from coming back in the same second after a power cut
    (M. Brooker, "Exponential Backoff and Jitter", 2015).
    """

    def __init__(self, generator: random.Random) -> None:
        self._generator, self._attempts = generator, 0

    def choose_pause(self) -> float:
        """Choose the next pause, half of it by chance, in seconds."""
        pause = min(FIRST_PAUSE * 2 ** min(self._attempts, 30), LONGEST_PAUSE)
        self._attempts += 1
        return float(pause * self._generator.uniform(0.5, 1))

    def reset(self) -> None:
        """Begin again with the first pause."""
        self._attempts = 0
