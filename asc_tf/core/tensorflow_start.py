"""Start of TensorFlow: settings that it reads at its import, and its INFO lines.

Only INFO lines of TensorFlow and LiteRT are suppressed, nothing else.
"""

import contextlib
import importlib.abc
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import IO

from asc_tf.core.processors import count_processors, count_schedulable

_NOTE = re.compile(rb"INFO:|I\d{4} |WARNING: All log messages before absl::Init")
_redirection = threading.Lock()


@contextlib.contextmanager
def suppress_notes() -> Iterator[None]:
    """Keep INFO lines off stderr while a library or a model loads.

    They come from C++ code that has no setting for this: stderr goes to a file
    meanwhile, and every other line is passed on at the end. All threads share
    stderr, so only one of them redirects it at a time, and the others do nothing.
    """
    with contextlib.ExitStack() as stack:
        if _redirection.acquire(blocking=False):
            stack.callback(_redirection.release)
            # A service may run without stderr, and the disk may be full.
            with contextlib.suppress(OSError):
                stderr = stack.enter_context(os.fdopen(os.dup(2), "wb"))
                notes = stack.enter_context(_open_notes())
                os.dup2(notes.fileno(), 2)
                stack.callback(_restore, stderr, notes)
        yield


def _restore(stderr: IO[bytes], notes: IO[bytes]) -> None:
    os.dup2(stderr.fileno(), 2)
    notes.seek(0)
    stderr.writelines(line for line in notes if not _NOTE.match(line))


def _open_notes() -> IO[bytes]:
    """Open a file in memory where the system has such, else on the disk."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("notes"), "w+b")
    return tempfile.TemporaryFile()


def prepare_tensorflow() -> None:
    """Suppress TensorFlow's start-up messages, and bound its threads.

    Call it before the import. TensorFlow counts the processors without the quota of a
    container, whose threads would then wait for each other.
    """
    if (processors := count_processors()) < count_schedulable():
        for pool in ("INTRAOP", "INTEROP"):
            os.environ.setdefault(f"TF_NUM_{pool}_THREADS", str(processors))
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    is_installed = any(isinstance(finder, _QuietFinder) for finder in sys.meta_path)
    if level != "0" and "tensorflow" not in sys.modules and not is_installed:
        sys.meta_path.insert(0, _QuietFinder())


class _QuietFinder(importlib.abc.MetaPathFinder):
    """Import finder that suppresses the messages of TensorFlow's import.

    Newer versions write them before they read TF_CPP_MIN_LOG_LEVEL. A finder works
    whichever module imports TensorFlow first.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            execute = spec.loader.exec_module
            # The context manager serves as a decorator.
            spec.loader.exec_module = suppress_notes()(execute)  # type: ignore[method-assign]
        return spec
