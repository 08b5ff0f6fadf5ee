"""Progress of a download: a bar on a terminal, plain lines elsewhere."""

import sys
from typing import Any

from asc_tf.core.packages import is_installed

STEP = 10
"""Percentage between two plain lines; 100 MB if the size is not known."""


class Progress:
    """Progress of a download on stderr, as a bar if it is a terminal."""

    def __init__(self) -> None:
        self._has_bar = sys.stderr.isatty() and is_installed("tqdm")
        self._bar: Any = None
        self._name = ""
        self._last: tuple[str, int] = ("", 0)

    def report(self, name: str, done: int, total: int) -> None:
        """Show the bytes of a file so far, and its size (0: unknown)."""
        if self._has_bar:
            self._move_bar(name, done, total)
            return
        step = done * 100 // total // STEP if total else done // 100_000_000
        if (name, step) != self._last:
            self._last = name, step
            share = f"{step * STEP} %" if total else f"{done / 1e6:.0f} MB"
            self.say(f"{name}: {share}")

    def say(self, line: str) -> None:
        """Show a line of text."""
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def _move_bar(self, name: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None or name != self._name:
            self.close()
            self._name = name
            # `initial`, so that the bytes of an earlier run do not count as speed.
            self._bar = tqdm(
                desc=name,
                initial=done,
                total=total or None,
                unit="B",
                unit_scale=True,
                leave=False,
            )
        self._bar.update(done - self._bar.n)
