"""Model file that may be replaced while the listener runs."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from asc_tf.core.errors import UserError
from asc_tf.edge.listening.status import Status
from asc_tf.edge.runtime import EdgeModel

CHECK_SECONDS = 5.0
"""Seconds between two looks at the file; it must be the same in both."""

RETRY_SECONDS = 600.0
"""Seconds until a file is tried again after an error of the machine."""

Stamp = tuple[int, int, int] | None
"""Inode, size and time of change; None if there is no file."""


def start_in_thread(run: Callable[[], EdgeModel]) -> "Future[EdgeModel]":
    """Call a function in a thread, which does not keep the process from ending."""
    future: Future[EdgeModel] = Future()

    def work() -> None:
        try:
            future.set_result(run())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


class ModelFile:
    """Model file and the model that was loaded from it last.

    A new file is loaded when the copy is complete: its checksum is in its metadata.
    Until then, and if it is refused, the present model stays in use. `take_new`
    replaces it, so that all windows between two calls are those of one model.

    A new file is loaded in the background, because it is tried before in another
    process, which may hang for a minute and a half.

    Attributes:
        model: The model in use.

    Raises:
        UserError: If the file is refused.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[Path], EdgeModel],
        status: Status,
        start: Callable[
            [Callable[[], EdgeModel]], "Future[EdgeModel]"
        ] = start_in_thread,
    ) -> None:
        self._path, self._load, self._status = path, load, status
        self._start = start
        self._task: Future[EdgeModel] | None = None
        self._loaded = self._seen = self._read_stamp()
        self.model = load(path)
        self._candidate: EdgeModel | None = None
        self._next_check = 0.0
        status.tasks.append(self._check)
        status.reports["model"] = self._describe

    def take_new(self) -> bool:
        """Use the new model from now on; return whether there is one."""
        if self._candidate is None:
            return False
        self.model, self._candidate = self._candidate, None
        self._status.say(f"the model is now {self.model.metadata.sha256[:12]}")
        return True

    def explain_new(self) -> str:
        """Say that a new model needs other windows, or give an empty string."""
        if self._candidate is None or self.can_continue():
            return ""
        return "the model file was replaced"

    def can_continue(self) -> bool:
        """Check for a new model that may classify the windows that follow.

        It has the windows, labels and precision of the present one, which is all that
        outputs and decisions know of a model.
        """
        new = self._candidate
        return new is not None and _list_form(new) == _list_form(self.model)

    def _read_stamp(self) -> Stamp:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _check(self) -> None:
        if self._task is not None:
            if self._task.done():
                task, self._task = self._task, None
                self._finish(task)
            return
        now = self._status.clock.read_monotonic()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_SECONDS
        stamp, before = self._read_stamp(), self._seen
        self._seen = stamp
        # A file that still changes is being copied.
        if stamp is None or stamp == self._loaded or stamp != before:
            return
        self._loaded = stamp
        try:
            self._task = self._start(lambda: self._load(self._path))
        except (RuntimeError, MemoryError) as error:  # no more threads
            self._postpone(error)

    def _finish(self, task: "Future[EdgeModel]") -> None:
        """Take the model that was loaded, or say why it was refused."""
        try:
            self._candidate = task.result()
        except (OSError, MemoryError) as error:
            self._postpone(error)
        except Exception as error:  # whatever the file does, listening goes on
            name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            self._status.raise_alarm(
                "model",
                f"the new file is refused, and the present model stays in use: {name}"
                f"{error}",
            )
        else:
            self._status.clear_alarm("model")

    def _postpone(self, error: Exception) -> None:
        """Try the same file again later: the reason may pass."""
        self._loaded = None
        self._next_check = self._status.clock.read_monotonic() + RETRY_SECONDS
        self._status.raise_alarm(
            "model",
            "the new file cannot be tried now, and the present model stays in use: "
            f"{str(error) or 'not enough memory'}",
        )

    def _describe(self) -> dict[str, object]:
        metadata = self.model.metadata
        return {
            "file": str(self._path),
            "sha256": metadata.sha256,
            "labels": len(metadata.labels),
            "precision": metadata.precision,
        }


def _list_form(model: EdgeModel) -> tuple[object, ...]:
    metadata = model.metadata
    return metadata.preprocessing, metadata.labels, metadata.precision
