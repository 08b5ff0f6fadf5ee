"""asc-tf features: compute the features of a corpus once, to train from them."""

import shlex

from absl import flags

from asc_tf import config as configuration
from asc_tf.command_line.arguments import define_config_file
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes, read_new_path
from asc_tf.commands.config_from_flags import parse_splits, resolve
from asc_tf.config.checks import (
    find_changes_for_features,
    find_changes_without_validation,
)
from asc_tf.manifest import SPLITS
from asc_tf.pipeline.feature_store.folder import SECTIONS
from asc_tf.pipeline.store_features import write_features

USAGE = """
Compute the features of a corpus once and store them as .npy files, to train from.

  asc-tf features CONFIG --output=F [--flag=value ...]

  asc-tf features esc10_small --dataset.dir=ESC-50 --output=features/esc10
  asc-tf train esc10_small --augment.time_roll=false --augment.gain_db=0 \\
      --dataset.features=features/esc10 --workdir=runs/esc10

CONFIG is a TOML file, a run folder, or the name of a shipped configuration
(--config=CONFIG is the same). The folder gets the features of all segments of each
clip, audio.hop_seconds apart, before standardization and augmentation, and
manifest.csv, which names the label, the split and the fold of each clip. Where a corpus
has folds, dataset.fold is the test split. All three splits are read, the test split
too, unless --splits names others.

The same command continues where it was stopped, computes damaged files again, and with
other --splits adds these.
"""


def _define_flags(values: flags.FlagValues) -> None:
    define_config_file(values)
    flags.DEFINE_string("output", None, "the folder to write", flag_values=values)
    flags.DEFINE_list(
        "splits",
        ",".join(SPLITS),
        "the splits to read and store",
        flag_values=values,
    )


def _run(values: flags.FlagValues) -> int:
    output = read_new_path(values, "output")
    splits = parse_splits("splits", values.splits)
    config = resolve(values)
    config = config.replace({"dataset.features": ""})
    write_features(config, output, splits)
    given = read_changes(values)
    given |= find_changes_for_features(config) | find_changes_without_validation(config)
    words = [f"--config={values.config}"] * bool(values.config)
    words += [f"--{key}={value}" for key, value in given.items()]
    words += [f"--dataset.features={output}", "--workdir=RUN"]
    print(f"\nNext: asc-tf train {shlex.join(words)}")
    return 0


COMMAND = Command(
    name="features",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    word_flags=("config",),
    common=(
        *("dataset.name", "dataset.dir", "dataset.fold", "audio.sample_rate"),
        *("audio.segment_seconds", "audio.hop_seconds", "frontend.kind"),
        *("frontend.n_fft", "frontend.hop_length", "frontend.n_mels"),
    ),
    keys=tuple(
        key
        for key in configuration.FIELDS
        if key.split(".")[0] in SECTIONS and key != "dataset.features"
    ),
)
