"""Show how far a download is: a bar on a terminal, plain lines elsewhere."""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any, Protocol

STEP = 10
"""Per cent between two plain lines; where the size is not known, 100 MB."""


class Progress(Protocol):
    """What a download tells."""

    def report(self, name: str, done: int, total: int) -> None:
        """Bytes of a file so far, and of all (0: unknown)."""

    def say(self, line: str) -> None:
        """A line of text."""


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """The kind of progress that fits where stderr goes."""
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
            # `initial`: what an earlier run has brought does not count as speed.
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
