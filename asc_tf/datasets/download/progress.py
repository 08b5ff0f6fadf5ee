"""Progress of a download: a bar on a terminal, plain lines elsewhere."""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any, Protocol

STEP = 10
"""Percentage between two plain lines; 100 MB if the size is not known."""


class Progress(Protocol):
    """Receiver of a download's progress."""

    def report(self, name: str, done: int, total: int) -> None:
        """Show the bytes of a file so far, and its size (0: unknown)."""

    def say(self, line: str) -> None:
        """Show a line of text."""


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """Show progress on stderr, as a bar if it is a terminal."""
    if not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        yield _Lines()
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.close()


class _Lines:
    def __init__(self) -> None:
        self._last: tuple[str, int] = ("", 0)

    def report(self, name: str, done: int, total: int) -> None:
        step = done * 100 // total // STEP if total else done // 100_000_000
        if (name, step) != self._last:
            self._last = name, step
            share = f"{step * STEP} %" if total else f"{done / 1e6:.0f} MB"
            self.say(f"{name}: {share}")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class _Bar:
    def __init__(self) -> None:
        self._name = ""
        self._bar: Any = None

    def report(self, name: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if name != self._name:
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

    def say(self, line: str) -> None:
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
