"""Settings and scores of a run for the HParams table of TensorBoard.

TensorBoard compares the runs below its `--logdir` by these settings. The columns of the
table come from the files themselves, so that runs need not know of each other.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from asc_tf.config import Config
from asc_tf.training.hparams_file import write_hparams

KEYS = (
    "dataset.name",
    "dataset.fold",
    "audio.sample_rate",
    "audio.segment_seconds",
    "audio.channels",
    "frontend.kind",
    "frontend.n_fft",
    "frontend.hop_length",
    "frontend.n_mels",
    "augment.mixup_alpha",
    "augment.time_masks",
    "augment.frequency_masks",
    "augment.mixstyle_alpha",
    "augment.gain_db",
    "augment.noise",
    "model.name",
    "model.filters",
    "model.dropout",
    "train.epochs",
    "train.batch_size",
    "train.optimizer",
    "train.learning_rate",
    "train.schedule",
    "train.weight_decay",
    "train.label_smoothing",
    "train.precision",
    "train.seed",
)
"""Keys of the configuration in the table. Every run has all of them, so that its row
can be compared with those of all others."""


def select_hparams(config: Config) -> dict[str, str | float | bool]:
    """Select the main settings of a run, by key; a list becomes a text like `32,64`."""
    values = config.flat() | {"model.filters": config.model.family_filters}
    return {
        key: ",".join(map(str, value)) if isinstance(value, tuple) else value
        for key, value in ((key, values[key]) for key in KEYS)
    }


class HParamsSummary(keras.callbacks.Callback):
    """Callback that writes the main settings of a run, and its scores when it ends.

    The scores are those of the epoch whose model is saved, `model/val_loss` for
    example. TensorBoard shows the curves of a run beside them.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        find_saved_row: Callable[[], Mapping[str, float] | None],
    ) -> None:
        super().__init__()
        self._folder, self._values = folder, select_hparams(config)
        self._find_saved_row = find_saved_row

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Write the settings."""
        write_hparams(self._folder, self._values, {}, is_finished=False)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the settings and the scores."""
        row = self._find_saved_row() or {}
        names = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
        scores = {f"model/{name}": row[name] for name in names if name in row}
        write_hparams(self._folder, self._values, scores)
