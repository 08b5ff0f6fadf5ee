"""asc-tf <command>: hands over to the commands, of which it imports only that one."""

import sys
from collections.abc import Sequence

from asc_tf.command_line.dispatch import dispatch

USAGE = """
asc-tf: acoustic scene and environmental sound classification

Usage: asc-tf COMMAND [arguments] [--flag=value ...]

Begin here
  demo       run every stage below on built-in synthetic scenes, in minutes
Data
  datasets   list, describe, download and verify known corpora
  inspect    show what the decoder reads from audio files, or why it cannot
  explore    show a corpus on one page: counts, pictures, players, augmentation
  features   compute features once and store them, to train from
Training
  models     list the families of models, or describe one and its cost
  train      train a model on a corpus and write a run folder
  evaluate   score a trained run and write its report
  crossval   train and evaluate every fold and seed, and pool their reports
  sweep      try settings on a grid or at random, and rank them by validation
  compare    compare runs: settings, scores, curves, differences
  submission average the predictions of several runs into one table of labels
Use
  export     write SavedModel and .tflite files of a run, and check them
  doctor     run and measure exported files, and compare them with Keras
  predict    classify audio files
  serve      serve an exported model over HTTP, like TensorFlow Serving

Example:
  asc-tf train esc10_small --dataset.dir=ESC-50 --workdir=runs/esc10
  asc-tf evaluate runs/esc10
  asc-tf export runs/esc10 --output=exports/esc10
  asc-tf predict --model=exports/esc10 clip.wav

asc-tf COMMAND --help explains a command; asc-tf --version prints the version.
"""

MODULES = {
    name: f"asc_tf.commands.{name}"
    for name in (
        *("demo", "datasets", "inspect", "explore", "features", "models", "train"),
        *("evaluate", "crossval", "sweep", "compare"),
        *("submission", "export", "doctor", "predict", "serve"),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `asc-tf`; returns the exit code: 0, 1 something failed, 2 wrong usage."""
    return dispatch("asc-tf", USAGE, MODULES, argv)


if __name__ == "__main__":
    sys.exit(main())
