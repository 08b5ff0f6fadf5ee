"""Values of parsed flags: changes to the configuration, paths, run folders."""

import math
import os
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf import config
from asc_tf.config.run_search import find_run, list_runs, suggest_run
from asc_tf.core.errors import UsageError
from asc_tf.core.paths import expand_home

TEXT_BYTES = 4096
"""Bytes at the start of a file that tell whether it is text."""


def read_changes(values: flags.FlagValues) -> dict[str, Any]:
    """Read the configuration keys that were given as flags, with their values."""
    given = ((key, values[key].value) for key in config.FIELDS if key in values)
    return {key: value for key, value in given if value is not None}


def read_required(values: flags.FlagValues, name: str) -> str:
    """Read the value of a flag that must be given.

    Raises:
        UsageError: If it was not, with the help of the flag.
    """
    value = values[name].value
    if not value:
        raise UsageError(f"--{name} is missing ({values[name].help})")
    return str(value)


def read_number(values: flags.FlagValues, name: str) -> float | None:
    """Read the number of a flag, or None if it was not given.

    Raises:
        UsageError: If it is infinite or not a number, which the bounds of a flag may
            let pass.
    """
    value: float | None = values[name].value
    if value is not None and not math.isfinite(value):
        raise UsageError(f"--{name}={value}: give a finite number")
    return value


def read_path(values: flags.FlagValues, name: str) -> Path:
    """Read the path that a flag names; shells leave a `~` behind `=` as it is."""
    return expand_home(read_required(values, name))


def read_new_path(values: flags.FlagValues, name: str) -> Path:
    """Read the path of an output that a flag names.

    Raises:
        UsageError: If it lies below a file or where nothing may be written, or the flag
            is missing.
    """
    target = read_path(values, name)
    parents = [each for each in target.absolute().parents if os.path.exists(each)]
    for parent in parents:
        if not parent.is_dir():
            raise UsageError(f"--{name}={target}: {parent} is a file, not a folder")
    place = target if os.path.exists(target) else parents[0]
    if not os.access(place, os.W_OK):
        raise UsageError(f"--{name}={target}: {place} may not be written to")
    return target


def refuse_other_content(name: str, path: Path) -> None:
    """Refuse to replace a file that is no text, like a recording or a model.

    Args:
        name: Name of the flag.
        path: Path of an output that is text; it may exist.

    Raises:
        UsageError: If it is a file with a NUL byte near its start.
    """
    # A name may be too long for `Path.is_file`.
    if not os.path.isfile(path):
        return
    with open(path, "rb") as stream:
        if b"\0" in stream.read(TEXT_BYTES):
            raise UsageError(
                f"--{name}={path}: a file that is no text, for example a recording or "
                "a model; it is not replaced: give another name, or delete it"
            )


def read_run(values: flags.FlagValues) -> Path:
    """Find the run folder that --workdir names, itself or by its `model.keras`.

    Raises:
        UsageError: If there is no run, naming those near it.
    """
    if not values.workdir:
        runs = (f"--workdir={run}" for run in list_runs(Path()))
        near = config.format_suggestions(runs)
        raise UsageError(f"--workdir is missing ({values['workdir'].help}){near}")
    folder = read_path(values, "workdir")
    if run := find_run(folder):
        return run
    problem = "no run here (no config.toml)"
    if not folder.exists():
        problem = "no such folder"
    elif not folder.is_dir():
        problem = "a file, not a run folder"
    raise UsageError(f"--workdir={folder}: {problem}{suggest_run(folder)}")
