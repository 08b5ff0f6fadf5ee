"""Images for TensorBoard: training examples and confusion matrices.

`keras.callbacks.TensorBoard` draws the curves. The images do not change training: they
show a batch that was trained on, and the counts of a validation that took place.
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
IMAGES_EVERY = 10
"""Number of epochs between two images, because drawing takes a fraction of a second."""


@contextlib.contextmanager
def check_disk(folder: Path) -> Iterator[None]:
    """Turn the error of event files on a full disk into a message of one line.

    Args:
        folder: Folder of the event files.

    Raises:
        UserError: If the disk is full.
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


class ImageSummaries(keras.callbacks.Callback):
    """Callback that writes images of every tenth epoch.

    The images show augmented features and, if there is a validation split, the
    confusion matrix, which is written for the last epoch too.

    Args:
        folder: Folder of the event files; a resumed run adds files to it.
        labels: Class order.
    """

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        super().__init__()
        self._folder, self._labels = folder, labels
        # The last epoch that has ended, and the last one whose matrix is written.
        self._ended = self._drawn = -1
        self.model: Trainer

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the event file of training."""
        del logs
        self._training = tf.summary.create_file_writer(str(self._folder / "train"))
        self._validation: tf.summary.SummaryWriter | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Request the first batch of every tenth epoch."""
        del logs
        if epoch % IMAGES_EVERY == 0:
            self.model.first_batch = None

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Reset the confusion matrix, which has counted training examples."""
        del logs
        if self._validation is None:
            folder = str(self._folder / "validation")
            self._validation = tf.summary.create_file_writer(folder)
        self.model.confusion.assign(tf.zeros(self.model.confusion.shape))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the images of every tenth epoch."""
        del logs
        self._ended = epoch
        if epoch % IMAGES_EVERY:
            return
        if self.model.first_batch is not None:
            features, *_ = self.model.augment_batch(self.model.first_batch)
            # Embeddings cannot be shown as an image.
            if len(features.shape) > 2:
                with self._training.as_default():
                    image = tile_features(features.numpy())
                    tf.summary.image("examples", image, step=epoch)
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
                draw_confusion_matrix(counts, self._labels),
                step=self._ended,
                description="Rows: true labels, columns: predicted ones.",
            )


def draw_confusion_matrix(counts: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Draw a confusion matrix of segments, with labels and numbers.

    Args:
        counts: Segments by true and predicted label, float32 `[labels, labels]`.
        labels: Class order.

    Returns:
        Image, uint8 `[1, height, width, 3]`.
    """
    png = figures.draw_confusion_matrix(
        labels, counts.tolist(), percent=False, counted="segments"
    )
    return tf.io.decode_png(png, channels=3).numpy()[np.newaxis]


def tile_features(features: np.ndarray) -> np.ndarray:
    """Draw the first examples of a batch in two columns, with time to the right.

    Args:
        features: float32 `[batch, frames, bands, ...]`; the first channel is shown.

    Returns:
        Image, uint8 `[1, height, width, 1]`, with low bands at the bottom; black is the
        least value of each example and white the greatest.
    """
    shown = features[:MAX_EXAMPLES]
    shown = shown.reshape(*shown.shape[:3], -1)[..., 0]
    low, high = (each(shown, (1, 2), keepdims=True) for each in (np.min, np.max))
    grey = 255 * (shown - low) / np.maximum(high - low, 1e-6)
    tiles = np.flip(grey.transpose(0, 2, 1), axis=1).astype(np.uint8)
    # White lines separate the tiles; an odd number is filled up with a white tile.
    tiles = np.pad(tiles, ((0, len(tiles) % 2), (0, 2), (0, 2)), constant_values=255)
    rows = [np.hstack([*tiles[i : i + 2]]) for i in range(0, len(tiles), 2)]
    return np.vstack(rows)[np.newaxis, :, :, np.newaxis]
