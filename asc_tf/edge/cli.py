"""asc-edge: classify sound on a Raspberry Pi, without TensorFlow."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf.command_line import command
from asc_tf.command_line.command import Command, dispatch
from asc_tf.core.errors import UsageError
from asc_tf.core.quiet import suppress_notes
from asc_tf.edge.runtime import MAX_THREADS, EdgeModel

USAGE = """
asc-edge: classify sound without TensorFlow, on a Raspberry Pi for example

Usage: asc-edge COMMAND [--flag=value ...]

  classify   a .tflite model and WAV files in, labels out

Example:
  asc-edge classify --model=int8.tflite clip.wav

asc-edge COMMAND --help explains a command; asc-edge --version prints the version.
"""

CLASSIFY_USAGE = """
Classify WAV files.

  asc-edge classify --model=M FILES... [--top_k=3] [--json] [--threads=1]

  asc-edge classify --model=int8.tflite clip.wav

M is a .tflite file that asc-tf export wrote. A file that cannot be read is named on
stderr, the others are classified, and the exit code is 1.
"""


def define_model(values: flags.FlagValues) -> None:
    """The flags that every command takes."""
    flags.DEFINE_string(
        "model", None, "the .tflite file, from asc-tf export", flag_values=values
    )
    flags.DEFINE_integer(
        "threads",
        1,
        "CPU threads of one inference",
        lower_bound=1,
        upper_bound=MAX_THREADS,
        flag_values=values,
    )


def model_path(values: flags.FlagValues) -> Path:
    """The path that `--model` names.

    Raises:
        UsageError: If the flag is missing, naming the word that may be its value.
    """
    first = (values.positional or [""])[0]
    is_model = first.endswith((".tflite", ".keras")) or Path(first).is_dir()
    if not values.model and first and is_model:
        raise UsageError(f"--model is missing; did you mean --model={first}?")
    return command.path(values, "model")


def load_model(values: flags.FlagValues) -> EdgeModel:
    """The model that `--model` names.

    Raises:
        UsageError: If the flag is missing or names no file.
        UserError: If the file cannot be used.
    """
    path = model_path(values)
    if not path.exists():
        raise UsageError(f"--model={path}: no such file")
    with suppress_notes():
        return EdgeModel(path, threads=values.threads)


def define_output(values: flags.FlagValues) -> None:
    """The flags of what is printed for each file."""
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


def define_classify(values: flags.FlagValues) -> None:
    """The flags of `classify`."""
    define_model(values)
    define_output(values)


def classify(values: flags.FlagValues) -> int:
    """Classify each file; exit code 1 if any failed."""
    model_path(values)
    if not values.positional:
        raise UsageError("no files; give one or more WAV files")
    model = load_model(values)
    width = max(map(len, values.positional))
    failed = False
    for path in values.positional:
        result = model.predict_files([path])[0]
        if "error" in result:
            failed = True
            print(f"asc-edge classify: {result['error']}", file=sys.stderr)
        else:
            result["top"] = top(result.pop("probabilities"), values.top_k)
        if "note" in result:
            print(f"asc-edge classify: {path}: {result['note']}", file=sys.stderr)
        if values.json:
            print(json.dumps(result), flush=True)
        elif "error" not in result:
            label_width = max(map(len, model.labels))
            print(table(result["file"], result["top"], width, label_width), flush=True)
    return int(failed)


def top(probabilities: dict[str, float], count: int) -> list[dict[str, Any]]:
    """The most probable labels, the first the best."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return [{"label": label, "probability": p} for label, p in ranked[:count]]


def table(
    file: str, ranked: Sequence[dict[str, Any]], file_width: int, label_width: int
) -> str:
    """A line per label, the file's name on the first."""
    names = [file] + [""] * (len(ranked) - 1)
    return "\n".join(
        f"{name:<{file_width}}  {item['label']:<{label_width}}  "
        f"{item['probability']:.4f}"
        for name, item in zip(names, ranked, strict=True)
    )


COMMANDS = {
    "classify": lambda: Command(
        name="classify",
        usage=CLASSIFY_USAGE,
        run=classify,
        define_flags=define_classify,
        takes_words=True,
        program="asc-edge",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `asc-edge`; returns the exit code: 0, 1 something failed, 2 wrong usage."""
    return dispatch("asc-edge", USAGE, COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(main())
