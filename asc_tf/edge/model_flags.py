"""Flags that name a model and its threads, shared by the commands of asc-edge."""

import threading
from pathlib import Path

from absl import flags

from asc_tf.command_line.flag_values import read_path
from asc_tf.core.errors import UsageError
from asc_tf.core.suggestions import format_suggestions, suggest_path
from asc_tf.core.tensorflow_start import suppress_notes
from asc_tf.edge.runtime import MAX_THREADS, EdgeModel


def define_model(values: flags.FlagValues) -> None:
    """Define `--model`."""
    flags.DEFINE_string(
        "model", None, "the .tflite file, from asc-tf export", flag_values=values
    )


def define_model_and_threads(values: flags.FlagValues) -> None:
    """Define `--model` and `--threads`."""
    define_model(values)
    flags.DEFINE_integer(
        "threads",
        1,
        "CPU threads of one inference",
        lower_bound=1,
        upper_bound=MAX_THREADS,
        flag_values=values,
    )


def read_model_path(values: flags.FlagValues) -> Path:
    """Read `--model`.

    Raises:
        UsageError: If it is missing, or there is no such file.
    """
    return check_model_path(read_path(values, "model"))


def check_model_path(path: Path) -> Path:
    """Return the path of a model.

    Raises:
        UsageError: If there is no such file, or it is a folder.
    """
    if path.is_dir():
        near = format_suggestions(map(str, sorted(path.glob("*.tflite"))))
        raise UsageError(f"--model={path}: a folder, not a .tflite file{near}")
    if not path.exists():
        raise UsageError(f"--model={path}: no such file{suggest_path(path)}")
    return path


def load_model(values: flags.FlagValues, path: Path) -> EdgeModel:
    """Load a model with `--threads`, without the INFO lines of LiteRT.

    LiteRT writes them for the first model only. `asc-edge listen` loads a later one in
    a background thread, where stderr is not redirected: all threads share it, and the
    messages of the others would wait until the model is loaded.

    Raises:
        UsageError: If there is no such file.
        UserError: If the file is refused.
    """
    check_model_path(path)
    if threading.current_thread() is not threading.main_thread():
        return EdgeModel(path, threads=values.threads)
    with suppress_notes():
        return EdgeModel(path, threads=values.threads)
