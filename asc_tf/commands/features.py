"""asc-tf features: clips in, a folder with their features out, to train from."""

import shlex
from typing import Any

from absl import flags

from asc_tf import config as configuration
from asc_tf.command_line.arguments import define_config_file
from asc_tf.command_line.command import Command
from asc_tf.command_line.values import read_changes, read_new_path
from asc_tf.commands.configuration import parse_splits, resolve
from asc_tf.config import Augment, Config
from asc_tf.config.augment import WAVEFORM_SWITCHES as ON_WAVEFORMS
from asc_tf.manifest import SPLITS
from asc_tf.pipeline.feature_store.contents import FORMATS, SECTIONS
from asc_tf.pipeline.store_features import write_features

USAGE = """
Compute features once and store them, with labels, for each split of a corpus.

  asc-tf features CONFIG --output=F [--flag=value ...]

  asc-tf features esc10_small --dataset.dir=ESC-50 --output=features/esc10
  asc-tf train esc10_small --augment.time_roll=false --augment.gain_db=0 \\
      --dataset.features=features/esc10 --workdir=runs/esc10

CONFIG is a TOML file, a run folder, or the name of a shipped configuration
(--config=CONFIG is the same). Features of all segments of each clip are stored,
audio.hop_seconds apart, not standardized and not augmented. Where a corpus has
folds, dataset.fold says which is the test split, and each row names its fold. The
same command goes on where it was stopped, repairs a damaged file, and with other
--splits adds these. All three splits are read, the test split too, unless --splits
says otherwise.
"""


def _define_flags(values: flags.FlagValues) -> None:
    define_config_file(values)
    flags.DEFINE_string("output", None, "the features folder", flag_values=values)
    flags.DEFINE_enum(
        "format", "npz", FORMATS, "the format of the files", flag_values=values
    )
    flags.DEFINE_list(
        "splits", ",".join(SPLITS), "the parts to read and to store", flag_values=values
    )


def _run(values: flags.FlagValues) -> int:
    output = read_new_path(values, "output")
    splits = parse_splits("splits", values.splits)
    config = resolve(values)
    config = config.replace({"dataset.features": ""})
    write_features(config, output, values.format, splits)
    given = read_changes(values) | _to_train(config)
    words = [f"--config={values.config}"] * bool(values.config)
    words += [f"--{key}={value}" for key, value in given.items()]
    words += [f"--dataset.features={output}", "--workdir=RUN"]
    print(f"\nNext: asc-tf train {shlex.join(words)}")
    return 0


def _to_train(config: Config) -> dict[str, Any]:
    """What has to be otherwise to train from features: nothing acts on waveforms.

    Without a validation part, the last epoch is kept, and nothing waits for a loss.
    """
    off = {f"augment.{name}": getattr(Augment(), name) for name in ON_WAVEFORMS}
    off["frontend.placement"] = "dataset"
    if config.dataset.validation == "none":
        off["train.keep"] = "last"
        off["train.patience"] = 0
        if config.train.schedule == "plateau":
            off["train.schedule"] = "constant"
    now = config.flat()
    return {key: value for key, value in off.items() if now[key] != value}


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
