"""Flags and output of the commands that classify files."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf.command_line.flag_values import read_path
from asc_tf.core.errors import UsageError

Result = dict[str, Any]
"""Prediction for one file: `file`, `label`, `probability`, `probabilities` (by label)
and perhaps a `note`; or `file` and `error`."""


def define_output(values: flags.FlagValues) -> None:
    """Define the flags of the output: number of labels, and JSON."""
    flags.DEFINE_integer(
        "top_k",
        3,
        "labels to show, the most probable first",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "json", False, "one JSON object per file, line by line", flag_values=values
    )


def read_model_and_files(
    values: flags.FlagValues, kind: str
) -> tuple[Path, Sequence[str]]:
    """Read the path that `--model` names, and the files to classify.

    Args:
        values: The parsed flags.
        kind: Kind of the files, for the message that there are none.

    Raises:
        UsageError: If the flag is missing, naming the word that may be its value; or if
            there are no files.
    """
    first = (values.positional or [""])[0]
    is_model = first.endswith((".tflite", ".keras")) or Path(first).is_dir()
    if not values.model and first and is_model:
        raise UsageError(f"--model is missing; did you mean --model={first}?")
    path = read_path(values, "model")
    if not values.positional:
        raise UsageError(f"no files; give one or more {kind} files")
    return path, values.positional


def print_predictions(
    command: str,
    files: Sequence[str],
    predict: Callable[[str], Result],
    top_k: int,
    form: str,
) -> list[Result]:
    """Classify files and print each result as soon as it is there.

    Errors and notes go to stderr.

    Args:
        command: Program and command, for stderr.
        files: The files.
        predict: Classifies one file.
        top_k: Number of labels to show.
        form: `lines` for a person, `json`, or `none`.

    Returns:
        The results, in the order of the files.
    """
    results = []
    width = max(map(len, files))
    for file in files:
        result = predict(file)
        results.append(result)
        if "error" in result:
            print(f"{command}: {result['error']}", file=sys.stderr)
        if "note" in result:
            print(f"{command}: {file}: {result['note']}", file=sys.stderr)
        if form == "json":
            print(json.dumps(_to_json(result, top_k)), flush=True)
        elif form == "lines" and "error" not in result:
            print(format_lines(result, top_k, width), flush=True)
    return results


def _to_json(result: Result, top_k: int) -> Result:
    """Replace the probabilities of all labels by the `top` ones."""
    if "error" in result:
        return result
    rest = {name: value for name, value in result.items() if name != "probabilities"}
    return rest | {"top": rank(result["probabilities"], top_k)}


def rank(probabilities: dict[str, float], count: int) -> list[dict[str, Any]]:
    """Choose the most probable labels, the first the best."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return [{"label": label, "probability": p} for label, p in ranked[:count]]


def format_lines(result: Result, top_k: int, width: int) -> str:
    """Write a line per label, the first with the file's name, `width` wide."""
    label_width = max(map(len, result["probabilities"]))
    ranked = rank(result["probabilities"], top_k)
    names = [result["file"]] + [""] * (len(ranked) - 1)
    return "\n".join(
        f"{name:<{width}}  {item['label']:<{label_width}}  {item['probability']:.4f}"
        for name, item in zip(names, ranked, strict=True)
    )
