"""Pictures for TensorBoard: what the model is trained on, and what it mistakes.

The curves, the learning rate among them, are those of `keras.callbacks.TensorBoard`.
Nothing here changes training: the pictures are of a batch that was trained on, and of
the counts of the validation that has taken place.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asc_tf.errors import UserError
from asc_tf.files import FULL
from asc_tf.learner import Learner

MAX_EXAMPLES = 8
EXAMPLES_EVERY = 10
"""Epochs from one picture of examples to the next."""

CELL = 8
"""Pixels of a cell of the confusion matrix."""


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
    """Writes augmented features of some epochs, and each epoch's confusion matrix.

    Args:
        folder: Of the event files; those of a resumed run lie beside the first ones.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.model: Learner

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the files; those of validation are Keras's."""
        del logs
        self._training = tf.summary.create_file_writer(str(self._folder / "train"))
        self._validation = tf.summary.create_file_writer(
            str(self._folder / "validation")
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Have the first batch of some epochs kept."""
        del logs
        if epoch % EXAMPLES_EVERY == 0:
            self.model.first_batch = None

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Count anew: what was counted until now is training."""
        del logs
        self.model.confusion.assign(tf.zeros(self.model.confusion.shape))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the pictures."""
        del logs
        if epoch % EXAMPLES_EVERY == 0 and self.model.first_batch is not None:
            features, *_ = self.model.varied(self.model.first_batch)
            # Embeddings are no picture.
            if len(features.shape) > 2:
                with self._training.as_default():
                    tf.summary.image("examples", grid(features.numpy()), step=epoch)
        with self._validation.as_default():
            tf.summary.image(
                "confusion of segments",
                confusion_picture(self.model.confusion.numpy()),
                step=epoch,
                description="Rows: true labels in the order of labels.txt, columns: "
                "predicted ones; black: all of a row.",
            )
        for writer in (self._training, self._validation):
            writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the files."""
        del logs
        for writer in (self._training, self._validation):
            writer.close()


def confusion_picture(counts: np.ndarray) -> np.ndarray:
    """A confusion matrix as squares, white for 0 to black for all of a row.

    Args:
        counts: Float32 `[labels, labels]`, by true and predicted label.

    Returns:
        Uint8 `[1, height, width, 1]`.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = np.ones((CELL, CELL), np.uint8)
    return np.kron((255 * (1 - shares)).astype(np.uint8), cells)[np.newaxis, ..., None]


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
