"""asc-tf predict: a model and files in, labels out."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_new_path
from asc_tf.command_line.predictions import (
    Result,
    define_output,
    print_predictions,
    read_model_and_files,
)
from asc_tf.core.errors import UsageError
from asc_tf.core.files import write_text

USAGE = """
Classify audio files.

  asc-tf predict --model=M FILES... [--top_k=3] [--json | --csv=OUT]

  asc-tf predict --model=exports/esc10 clip.ogg other.wav

M is a run folder, an export folder, a SavedModel or a .tflite file. A file that
cannot be read is named on stderr, the others are classified, and the exit code is 1.
A silent file is classified too, with a note on stderr and as `note` in JSON.
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "model",
        None,
        "a run folder, an export folder, a SavedModel or a .tflite file",
        flag_values=values,
    )
    define_output(values)
    flags.DEFINE_string(
        "csv", None, "write a table with every probability", flag_values=values
    )
    flags.DEFINE_float(
        "audio.max_seconds",
        None,
        "a longer file is refused, s; files of any length are read unless it is given",
        lower_bound=0.1,
        flag_values=values,
    )


def _run(values: flags.FlagValues) -> int:
    model, files = read_model_and_files(values, "audio")
    if values.json and values.csv:
        raise UsageError("--json and --csv: give one of them")
    target = read_new_path(values, "csv") if values.csv else None
    inputs = {Path(name).resolve() for name in files}
    if target and (target.is_dir() or target.resolve() in inputs):
        raise UsageError(f"--csv={target}: a folder, or one of the inputs")
    from asc_tf.evaluation.load import load

    predictor = load(model)
    limit = values["audio.max_seconds"].value or math.inf
    results = print_predictions(
        COMMAND.full_name,
        files,
        lambda file: predictor.predict_files([file], limit)[0],
        values.top_k,
        "json" if values.json else "none" if target else "lines",
    )
    if target:
        write_text(target, _format_csv(results, predictor.labels))
    return int(any("error" in result for result in results))


def _format_csv(results: Sequence[Result], labels: Sequence[str]) -> str:
    """Write a row per file: label, probability, error, note, all probabilities."""
    own = ("file", "label", "probability", "error", "note")
    columns = [*own, *(f"p_{label}" for label in labels)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for result in results:
        row = {name: value for name, value in result.items() if name in own}
        probabilities = result.get("probabilities", {})
        row |= {f"p_{name}": value for name, value in probabilities.items()}
        writer.writerow(row)
    return text.getvalue()


COMMAND = Command(
    name="predict",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    begins_with=None,
    takes_words=True,
)
