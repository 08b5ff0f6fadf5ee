"""Pictures for TensorBoard: what the model is trained on, and what it mistakes.

The curves, the learning rate among them, are those of `keras.callbacks.TensorBoard`.
Nothing here changes training: the pictures are of a batch that was trained on, and of
the counts of the validation that has taken place.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asc_tf.core.errors import UserError
from asc_tf.core.files import FULL
from asc_tf.report import figures
from asc_tf.training.trainer import Trainer

MAX_EXAMPLES = 8
PICTURES_EVERY = 10
"""Epochs from one picture to the next, because drawing takes part of a second."""


@contextlib.contextmanager
def checked_disk(folder: Path) -> Iterator[None]:
    """Say in one line that the disk is full, where TensorFlow writes event files.

    Args:
        folder: Folder of the event files.

    Raises:
        UserError: If they cannot be written because the disk is full.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if not any(os.strerror(number) in error.message for number in FULL):
            raise
        raise UserError(
            f"{folder}: the disk is full; checkpoint and best model are as they were. "
            "Make room, and give the same command again"
        ) from error


class Pictures(keras.callbacks.Callback):
    """Writes augmented features and the confusion matrix of every tenth epoch.

    The confusion matrix of the last epoch is written too.

    There is no confusion matrix without a validation part.

    Args:
        folder: Folder of the event files, to which a resumed run adds its own.
        labels: Class order.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        super().__init__()
        self._folder, self._labels = folder, labels
        # The last epoch that has ended, and the last whose confusion matrix is written.
        self._ended = self._drawn = -1
        self.model: Trainer

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the file of training."""
        del logs
        self._training = tf.summary.create_file_writer(str(self._folder / "train"))
        self._validation: tf.summary.SummaryWriter | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Have the first batch of some epochs kept."""
        del logs
        if epoch % PICTURES_EVERY == 0:
            self.model.first_batch = None

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Count anew: what was counted until now is training."""
        del logs
        if self._validation is None:
            folder = str(self._folder / "validation")
            self._validation = tf.summary.create_file_writer(folder)
        self.model.confusion.assign(tf.zeros(self.model.confusion.shape))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the pictures."""
        del logs
        self._ended = epoch
        if epoch % PICTURES_EVERY:
            return
        if self.model.first_batch is not None:
            features, *_ = self.model.augment_batch(self.model.first_batch)
            # Embeddings are no picture.
            if len(features.shape) > 2:
                with self._training.as_default():
                    tf.summary.image("examples", grid(features.numpy()), step=epoch)
        if self._validation is not None:
            self._draw_confusion(self._validation)
            self._validation.flush()
        self._training.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the last epoch's confusion matrix, and close the files."""
        del logs
        if self._validation is not None:
            if self._drawn < self._ended:
                self._draw_confusion(self._validation)
            self._validation.close()
        self._training.close()

    def _draw_confusion(self, writer: tf.summary.SummaryWriter) -> None:
        """Write the confusion matrix of the last validation."""
        self._drawn = self._ended
        counts = self.model.confusion.numpy()
        with writer.as_default():
            tf.summary.image(
                "confusion of segments",
                confusion_picture(counts, self._labels),
                step=self._ended,
                description="Rows: true labels, columns: predicted ones.",
            )


def confusion_picture(counts: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """A confusion matrix of segments, with labels and numbers.

    Args:
        counts: Float32 `[labels, labels]`, by true and predicted label.
        labels: Class order.

    Returns:
        Uint8 `[1, height, width, 3]`.
    """
    png = figures.draw_confusion_matrix(
        labels, counts.tolist(), percent=False, counted="segments"
    )
    return tf.io.decode_png(png, channels=3).numpy()[np.newaxis]


def grid(features: np.ndarray) -> np.ndarray:
    """The first examples of a batch, two beside each other, time to the right.

    Args:
        features: Float32 `[batch, frames, bands, ...]`; of several channels the first
            is shown.

    Returns:
        Uint8 `[1, height, width, 1]`, low bands below; each example from its least
        value, black, to its greatest.
    """
    shown = features[:MAX_EXAMPLES]
    shown = shown.reshape(*shown.shape[:3], -1)[..., 0]
    low, high = (each(shown, (1, 2), keepdims=True) for each in (np.min, np.max))
    grey = 255 * (shown - low) / np.maximum(high - low, 1e-6)
    pictures = np.flip(grey.transpose(0, 2, 1), axis=1).astype(np.uint8)
    # A white line apart; an odd one out has an empty place beside it.
    pictures = np.pad(
        pictures, ((0, len(pictures) % 2), (0, 2), (0, 2)), constant_values=255
    )
    rows = [np.hstack([*pictures[i : i + 2]]) for i in range(0, len(pictures), 2)]
    return np.vstack(rows)[np.newaxis, :, :, np.newaxis]
