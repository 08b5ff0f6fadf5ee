"""asc-tf <command>: hands over to the commands; imports only the one that is wanted."""

import importlib
import sys
from collections.abc import Callable, Sequence

from asc_tf.command import Command, dispatch

USAGE = """
asc-tf COMMAND [--flag=value ...]: acoustic scene and environmental sound classification

  demo       all of the below on built-in synthetic scenes, in minutes
  features   clips in, a folder of features to train from out
  train      clips in, a run folder with the best model out
  evaluate   a run folder in, its report out
  submission runs of several folds in, a table of their best guesses out
  export     a run folder in; SavedModel and .tflite files out
  predict    a model and files in, labels out
  datasets   corpora: which there are, how to get them, whether they are whole
  models     families of models: which there are, what one costs
  inspect    what the decoder sees in files, or why it refuses them
  explore    a corpus as training hears it: counts, pictures, players, augmentation

asc-tf COMMAND --help lists the flags of a command; asc-tf --version the version.
"""

MODULES = {
    "demo": "asc_tf.study",
    "features": "asc_tf.features",
    "train": "asc_tf.train",
    "evaluate": "asc_tf.evaluate",
    "submission": "asc_tf.submission",
    "export": "asc_tf.export",
    "predict": "asc_tf.predict",
    "datasets": "asc_tf.corpora",
    "models": "asc_tf.architectures",
    "inspect": "asc_tf.inspection",
    "explore": "asc_tf.explore",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `asc-tf`; returns the exit code: 0, 1 something failed, 2 wrong usage."""
    commands = {name: _finder(module) for name, module in MODULES.items()}
    return dispatch("asc-tf", USAGE, commands, argv)


def _finder(module: str) -> Callable[[], Command]:
    return lambda: importlib.import_module(module).COMMAND


if __name__ == "__main__":
    sys.exit(main())
