"""asc-edge classify: a .tflite model and WAV files in, labels out."""

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.command_line.predictions import (
    define_output,
    print_predictions,
    read_model_and_files,
)
from asc_tf.core.errors import UsageError
from asc_tf.core.tensorflow_log import suppress_notes
from asc_tf.edge.runtime import MAX_THREADS, EdgeModel

USAGE = """
Classify WAV files.

  asc-edge classify --model=M FILES... [--top_k=3] [--json] [--threads=1]

  asc-edge classify --model=int8.tflite clip.wav

M is a .tflite file that asc-tf export wrote. A file that cannot be read is named on
stderr, the others are classified, and the exit code is 1.
"""


def _define_flags(values: flags.FlagValues) -> None:
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
    define_output(values)


def _run(values: flags.FlagValues) -> int:
    path, files = read_model_and_files(values, "WAV")
    if not path.exists():
        raise UsageError(f"--model={path}: no such file")
    with suppress_notes():
        model = EdgeModel(path, threads=values.threads)
    results = print_predictions(
        COMMAND.full_name,
        files,
        lambda file: model.predict_files([file])[0],
        values.top_k,
        "json" if values.json else "lines",
    )
    return int(any("error" in result for result in results))


COMMAND = Command(
    name="classify",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    takes_words=True,
    program="asc-edge",
)
