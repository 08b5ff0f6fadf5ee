"""asc-tf predict: classify audio files."""

import math
from pathlib import Path

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_number
from asc_tf.command_line.prediction_flags import define_output
from asc_tf.command_line.predictions import Classifier, run_classification
from asc_tf.core.folders import AUDIO_SUFFIXES

USAGE = """
Classify audio files, or the segments of long recordings.

  asc-tf predict --model=M FILES|FOLDERS... [--top_k=3] [--json | --csv=OUT]

  asc-tf predict --model=exports/esc10 clip.ogg clips/
  asc-tf predict --model=int8.tflite --segments --csv=scenes.csv day.wav
  asc-tf predict --model=int8.tflite --audacity=labels --raven=tables folder/

M is a run folder, an export folder, a SavedModel or a .tflite file. In a folder, the
audio files in it and in the folders below it are classified, in sorted order.

--segments classifies every segment of each file. Memory use does not grow with the
length of the file. --audacity and --raven write the segments as labels: NAME.txt or
NAME.Table.1.selections.txt in a folder, for each recording.

A file that cannot be read is named on stderr, the others are classified, and the exit
code is 1. A silent, clipped or short file is classified too, with a note on stderr and
as `note` in JSON.
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "model",
        None,
        "a run folder, an export folder, a SavedModel or a .tflite file",
        flag_values=values,
    )
    define_output(values)
    flags.DEFINE_float(
        "audio.max_seconds",
        None,
        "a longer file is refused, s; files of any length are read unless it is given",
        lower_bound=0.1,
        flag_values=values,
    )


def _run(values: flags.FlagValues) -> int:
    limit = read_number(values, "audio.max_seconds") or math.inf

    def load_classifier(model: Path) -> Classifier:
        from asc_tf.evaluation.load import load

        predictor = load(model)
        return Classifier(
            predictor.labels,
            predictor.sample_rate,
            lambda file: predictor.predict_files([file], limit)[0],
            lambda file, hop: predictor.predict_recording(file, hop, limit),
        )

    return run_classification(
        COMMAND.full_name, values, "audio", AUDIO_SUFFIXES, load_classifier
    )


COMMAND = Command(
    name="predict",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    begins_with=None,
    takes_words=True,
)
