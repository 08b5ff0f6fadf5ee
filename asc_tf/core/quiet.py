"""Keeps the notes of TensorFlow and LiteRT off the screen, and nothing else."""

import contextlib
import importlib.abc
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_NOTE = re.compile(rb"INFO:|I\d{4} |WARNING: All log messages before absl::Init")


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Keep INFO lines off stderr while a library or a model loads.

    They come from C++, which has neither a setting nor a function for it: stderr goes
    to a file meanwhile, and every other line of it is passed on.
    """
    try:
        original = os.dup(2)
    except OSError:  # a service may run without stderr
        yield
        return
    with tempfile.TemporaryFile() as notes, os.fdopen(original, "wb") as stderr:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            notes.seek(0)
            stderr.writelines(line for line in notes if not _NOTE.match(line))


def quiet_tensorflow() -> None:
    """Keep TensorFlow's start-up notes off the screen; call before its import."""
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    known = any(isinstance(finder, _QuietFinder) for finder in sys.meta_path)
    if level != "0" and "tensorflow" not in sys.modules and not known:
        sys.meta_path.insert(0, _QuietFinder())


class _QuietFinder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as Python does, and keeps the notes of its import back.

    Newer ones write them before they look at TF_CPP_MIN_LOG_LEVEL. Whichever module
    imports TensorFlow first, this is the one place that knows.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            spec.loader.exec_module = _quietly(spec.loader)  # type: ignore[method-assign]
        return spec


def _quietly(loader: Any) -> Any:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        with without_notes():
            execute(module)

    return exec_module
