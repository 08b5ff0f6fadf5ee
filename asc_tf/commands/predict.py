"""asc-tf predict: a model and files in, labels out."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf.command_line import command
from asc_tf.core.errors import UsageError
from asc_tf.core.files import format_csv, write_text
from asc_tf.edge.cli import define_output, model_path, table, top

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
    name = model_path(values)
    if not values.positional:
        raise UsageError("no files; give one or more audio files")
    if values.json and values.csv:
        raise UsageError("--json and --csv: give one of them")
    target = command.new_path(values, "csv") if values.csv else None
    if target and (target.is_dir() or target.resolve() in _resolved(values)):
        raise UsageError(f"--csv={target}: a folder, or one of the inputs")
    from asc_tf.evaluation.predictor import load

    predictor = load(name)
    limit = values["audio.max_seconds"].value or math.inf
    results = []
    width = max(map(len, values.positional))
    for path in values.positional:
        result = predictor.predict_files([path], limit)[0]
        results.append(result)
        if "error" in result:
            print(f"asc-tf predict: {result['error']}", file=sys.stderr)
        if "note" in result:
            print(f"asc-tf predict: {path}: {result['note']}", file=sys.stderr)
        if values.json:
            print(json.dumps(json_record(result, values.top_k)), flush=True)
        elif "error" not in result and not values.csv:
            print(lines(result, values.top_k, width), flush=True)
    if target:
        write_text(target, csv_text(results, predictor.labels))
    return int(any("error" in result for result in results))


def _resolved(values: flags.FlagValues) -> set[Path]:
    return {Path(name).resolve() for name in values.positional}


def json_record(result: dict[str, Any], top_k: int) -> dict[str, Any]:
    """What `--json` prints: the result with its `top` labels instead of all."""
    if "error" in result:
        return result
    kept = {name: value for name, value in result.items() if name != "probabilities"}
    return kept | {"top": top(result["probabilities"], top_k)}


def lines(result: dict[str, Any], top_k: int, width: int) -> str:
    """What a person sees of a result, the file's name `width` wide."""
    shares = result["probabilities"]
    return table(result["file"], top(shares, top_k), width, max(map(len, shares)))


def csv_text(results: Sequence[dict[str, Any]], labels: Sequence[str]) -> str:
    """A row per file: label, probability, error, note, every label's probability."""
    own = ("file", "label", "probability", "error", "note")
    columns = [*own, *(f"p_{label}" for label in labels)]
    rows = []
    for result in results:
        row = {name: value for name, value in result.items() if name in own}
        shares = result.get("probabilities", {})
        rows.append(row | {f"p_{name}": value for name, value in shares.items()})
    return format_csv(columns, rows)


COMMAND = command.Command(
    name="predict",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    begins_with=None,
    takes_words=True,
)
