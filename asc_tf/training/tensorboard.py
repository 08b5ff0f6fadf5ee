"""Images and sounds for TensorBoard: training examples and confusion matrices.

`keras.callbacks.TensorBoard` draws the curves. The images do not change training: they
show a batch that was trained on, and the counts of a validation that took place.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asc_tf.audio import sndfile
from asc_tf.core.errors import UserError
from asc_tf.core.files import is_disk_full
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.manifest import Clip
from asc_tf.pipeline.run import Run
from asc_tf.report import figures
from asc_tf.report.examples import describe_target, draw_examples
from asc_tf.training.trainer import Trainer, prepare_batch


@contextlib.contextmanager
def check_disk(folder: Path) -> Iterator[None]:
    """Turn the error of event files on a full disk into a message of one line.

    Raises:
        UserError: If the disk is full.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if not is_disk_full(error.message):
            raise
        raise UserError(
            f"{folder}: the disk is full; checkpoint and best model are as they were. "
            "Free disk space and run the same command again"
        ) from error


class ExampleSummaries(keras.callbacks.Callback):
    """Callback that shows training examples: augmented features, and clips to play.

    The pictures are those of the first epoch and, with `tensorboard.examples_every`, of
    later ones; the clips come once, when a new run begins.
    """

    def __init__(self, folder: Path, labels: Sequence[str], run: Run) -> None:
        super().__init__()
        self._folder, self._labels, self._run = folder, labels, run
        self._settings = run.config.tensorboard
        self.model: Trainer

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the event file."""
        self._writer = tf.summary.create_file_writer(str(self._folder / "train"))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Request the first batch of an epoch that is shown."""
        if self._is_shown(epoch):
            self.model.first_batch = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the pictures and the clips."""
        with self._writer.as_default():
            if epoch == 0:
                self._write_clips()
            if self._is_shown(epoch):
                self._write_examples(epoch)
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the file."""
        self._writer.close()

    def _is_shown(self, epoch: int) -> bool:
        every = self._settings.examples_every
        is_due = epoch % every == 0 if every else epoch == 0
        return bool(self._settings.examples) and is_due

    def _write_examples(self, epoch: int) -> None:
        if self.model.first_batch is None:
            return
        features, targets, _ = prepare_batch(
            self.model.first_batch, self.model.frontend, self.model.augment
        )
        # Embeddings cannot be shown as an image.
        if len(features.shape) <= 2:
            return
        count = self._settings.examples
        titles = [
            describe_target(target, self._labels) for target in targets.numpy()[:count]
        ]
        tf.summary.image(
            "examples",
            decode_png(draw_examples(features.numpy()[:count], titles)),
            step=epoch,
            description="Augmented training examples, standardized, with their labels.",
        )

    def _write_clips(self) -> None:
        """Write the first segments of some clips, each with its label in its tag."""
        config = self._run.config
        rate = config.audio.sample_rate
        clips = read_first_segments(self._run, self._settings.audio)
        for number, (clip, waveform) in enumerate(clips, start=1):
            tf.summary.audio(
                # Files of different folders may have one name.
                f"clips/{number} {clip.label}: {Path(clip.path).name}",
                waveform.reshape(1, len(waveform), -1),
                rate,
                step=0,
                description=f"{clip.path}, label {clip.label}, {rate} Hz",
            )


class ConfusionSummaries(keras.callbacks.Callback):
    """Callback that draws the confusion matrix of the validation split.

    Args:
        folder: Folder of the event files; a resumed run adds files to it.
        labels: Class order.
        every: Number of epochs between two matrices; the last epoch has one too. 0:
            the last epoch alone.
    """

    def __init__(self, folder: Path, labels: Sequence[str], every: int) -> None:
        super().__init__()
        self._folder, self._labels, self._every = folder, labels, every
        # The last epoch that has ended, and the last one whose matrix is written.
        self._ended = self._drawn = -1
        self._writer: tf.summary.SummaryWriter | None = None
        self.model: Trainer

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Reset the confusion matrix, which has counted training examples."""
        if self._writer is None:
            folder = str(self._folder / "validation")
            self._writer = tf.summary.create_file_writer(folder)
        self.model.confusion.assign(tf.zeros(self.model.confusion.shape))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw the matrix of an epoch that is shown."""
        self._ended = epoch
        if self._every and epoch % self._every == 0:
            self._draw()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Draw the matrix of the last epoch, and close the file."""
        if self._drawn < self._ended:
            self._draw()
        if self._writer is not None:
            self._writer.close()

    def _draw(self) -> None:
        """Write the confusion matrix of the last validation, if there was one."""
        self._drawn = self._ended
        if self._writer is None:
            return
        counts = self.model.confusion.numpy()
        with self._writer.as_default():
            tf.summary.image(
                "confusion of segments",
                draw_confusion_matrix(counts, self._labels),
                step=self._ended,
                description="Rows: true labels, columns: predicted ones.",
            )
        self._writer.flush()


def read_first_segments(run: Run, count: int) -> Iterator[tuple[Clip, np.ndarray]]:
    """Read the first segment of some training clips, as the model gets it.

    A clip that libsndfile cannot read is passed over. Runs with stored features have no
    clips to read.

    Args:
        run: The run.
        count: Number of clips: one of each label, then a second one of each, and so on.

    Yields:
        The clip and its segment, float32 `[samples]` or `[samples, 2]`.
    """
    if run.features is not None or not count:
        return
    by_label: dict[str, list[Clip]] = {}
    for clip in run.manifest.clips_in("train"):
        by_label.setdefault(clip.label, []).append(clip)
    turns = itertools.zip_longest(*(by_label[label] for label in sorted(by_label)))
    config = run.config
    preprocessing = dataclasses.replace(
        # The evaluation may take the centre segment alone.
        Preprocessing.from_config(config.audio, config.evaluate),
        segments="all",
    )
    clips = (clip for turn in turns for clip in turn if clip is not None)
    # Not all clips are tried where libsndfile can read none of them.
    for clip in itertools.islice(clips, 2 * count):
        path = config.dataset.folder / clip.path
        try:
            span = (clip.start, clip.duration)
            waveform, rate = sndfile.read(path, span, config.audio.max_seconds)
            segment = next(preprocessing.cut(waveform, rate))
        except (UserError, OSError):
            continue
        yield clip, segment
        count -= 1
        if not count:
            return


def draw_confusion_matrix(counts: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Draw counts of segments `[labels, labels]`: uint8 `[1, height, width, 3]`."""
    png = figures.draw_confusion_matrix(
        labels, counts.tolist(), percent=False, counted="segments"
    )
    return decode_png(png)


def decode_png(png: bytes) -> np.ndarray:
    """Decode a PNG file to an image, uint8 `[1, height, width, 3]`."""
    return tf.io.decode_png(png, channels=3).numpy()[np.newaxis]
