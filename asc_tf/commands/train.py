"""asc-tf train: train a model on a corpus and write a run folder."""

import shlex
import sys
from pathlib import Path

from absl import flags

from asc_tf import config as configuration
from asc_tf.command_line.arguments import define_config_file, define_workdir
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_new_path
from asc_tf.commands.config_from_flags import base_config, resolve
from asc_tf.training.train import train
from asc_tf.workdir import Workdir

USAGE = """
Train a classifier.

  asc-tf train CONFIG --workdir=W [--flag=value ...]    begin a run
  asc-tf train W [--flag=value ...]                     go on with the run in W
  asc-tf train esc10_small --dataset.dir=ESC-50 --workdir=runs/esc10
  asc-tf train runs/esc10                        resumes a stopped run
  asc-tf train runs/esc10 --train.epochs=200     trains a finished run longer

CONFIG is a TOML file or the name of a shipped configuration (--config=CONFIG is the
same). Every key of it is also a flag. A flag goes before the file (without one, before
the configuration of the run in W), and the file before the defaults. The command that
began a run resumes it, too.
"""


def _define_flags(values: flags.FlagValues) -> None:
    define_config_file(values)
    define_workdir(values, "the run folder, a new one or one to resume")


def _run(values: flags.FlagValues) -> int:
    base_config(values.config)  # Names a mistyped run before the missing --workdir.
    workdir = Workdir(read_new_path(values, "workdir"))
    config = resolve(values, workdir)
    train(config, workdir, interactive=sys.stdout.isatty())
    report = workdir.report / "report.json"
    if report.is_file() and _is_newer(workdir.model_file, report):
        print(f"{workdir.report} is of the model before this training")
    print(f"\nNext: asc-tf evaluate {shlex.quote(f'--workdir={workdir.path}')}")
    return 0


def _is_newer(path: Path, other: Path) -> bool:
    return path.stat().st_mtime_ns > other.stat().st_mtime_ns


COMMAND = Command(
    name="train",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    word_flags=("config", "workdir"),
    common=(
        *("dataset.name", "dataset.dir", "audio.sample_rate", "audio.segment_seconds"),
        *("frontend.n_mels", "augment.mixup_alpha", "augment.time_masks"),
        *("augment.frequency_masks", "model.name", "train.epochs"),
        *("train.batch_size", "train.learning_rate"),
    ),
    keys=tuple(configuration.FIELDS),
)
