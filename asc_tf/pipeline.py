"""Manifest rows to batches: the tf.data graphs of training and evaluation.

No Python runs per clip. Everything random comes after the cache and is a function of
the run's seed, the epoch and the position in it, so that each epoch is new and a
resumed run goes on as if it had never stopped.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from asc_tf.audio.decode import DECODERS, decode_clip
from asc_tf.audio.segment import all_segments, random_segment
from asc_tf.augment import augment_features, augment_waveforms, fold_in
from asc_tf.config import Audio, Config
from asc_tf.errors import UserError
from asc_tf.frontend import LogMel
from asc_tf.manifest import Clip

AUTOTUNE = tf.data.AUTOTUNE

_FILE_ERRORS = (
    tf.errors.NotFoundError,
    tf.errors.InvalidArgumentError,
    tf.errors.PermissionDeniedError,
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
)


class Waveforms:
    """The decoded clips of one part of the manifest.

    Args:
        clips: Scanned rows.
        root: The corpus folder.
        labels: Class order.
        audio: The audio settings.
    """

    def __init__(
        self, clips: Sequence[Clip], root: Path, labels: Sequence[str], audio: Audio
    ) -> None:
        self.count = len(clips)
        self._audio = audio
        used = {clip.route for clip in clips}
        self._routes = [route for route in DECODERS if route in used]
        label_ids = {label: index for index, label in enumerate(labels)}
        rows = {
            "path": [str(root / clip.path) for clip in clips],
            "route": [clip.route for clip in clips],
            "rate": tf.constant([clip.sample_rate for clip in clips], tf.int64),
            "span": tf.constant([(c.start, c.duration) for c in clips], tf.float64),
            "clip": tf.range(len(clips)),
            "target": tf.one_hot([label_ids[c.label] for c in clips], len(labels)),
        }
        self._rows = tf.data.Dataset.from_tensor_slices(rows)
        if audio.cache == "memory":
            self._rows = self._decoded(self._rows).cache()

    def in_order(self) -> tf.data.Dataset:
        """Each clip once: `waveform` `[samples]`, `clip` `[]`, `target` `[labels]`."""
        return self._decoded(self._rows)

    def shuffled(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Each clip once, in the order that the seed (int64 `[]`) gives."""
        return self._decoded(
            self._rows.shuffle(self.count, seed=seed, reshuffle_each_iteration=False)
        )

    def _decoded(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        """Decode rows that are not decoded yet."""
        if "waveform" in rows.element_spec:
            return rows

        def decode(row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            waveform = decode_clip(
                tf.io.read_file(row["path"]),
                row["route"],
                row["rate"],
                row["span"],
                self._audio,
                self._routes,
            )
            return {
                "waveform": tf.ensure_shape(waveform, [None]),
                "clip": row["clip"],
                "target": row["target"],
            }

        return rows.map(decode, num_parallel_calls=AUTOTUNE)


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Say in one line what a graph found wrong with a file while it ran.

    Raises:
        UserError: If a file has gone or has changed since it was scanned.
    """
    try:
        yield
    except _FILE_ERRORS as error:
        reason = error.message.split("\n")[0]
        raise UserError(
            f"a clip could not be read ({reason}); if files have changed, run the same "
            "command again, which scans them anew"
        ) from error


def training_batches(
    waveforms: Waveforms, frontend: LogMel, config: Config, first_epoch: int = 0
) -> tf.data.Dataset:
    """Augmented batches of all epochs from `first_epoch` on.

    Args:
        waveforms: The training part.
        frontend: The front-end, with its statistics.
        config: The configuration.
        first_epoch: The epoch to begin with, counted from 0.

    Returns:
        Features float32 `[batch, frames, n_mels]` and targets float32
        `[batch, labels]`; `steps_per_epoch` batches an epoch, the last of an epoch
        with what is left.
    """
    length = config.audio.segment_samples
    run_seed = tf.constant([config.train.seed, 0], tf.int64)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        seed = fold_in(run_seed, epoch)

        def segment(position: tf.Tensor, row: dict[str, tf.Tensor]) -> tuple:
            own_seed = fold_in(fold_in(seed, 1), position)
            return random_segment(row["waveform"], length, own_seed), row["target"]

        def augmented(step: tf.Tensor, batch: tuple) -> tuple[tf.Tensor, tf.Tensor]:
            segments, targets = batch
            own_seed = fold_in(fold_in(seed, 2), step)
            segments = augment_waveforms(segments, own_seed, config.augment)
            return augment_features(
                frontend(segments), targets, own_seed, config.augment
            )

        return (
            waveforms.shuffled(seed[0])
            .enumerate()
            .map(segment, num_parallel_calls=AUTOTUNE)
            .batch(config.train.batch_size)
            .enumerate()
            .map(augmented, num_parallel_calls=AUTOTUNE)
        )

    epochs = tf.data.Dataset.range(first_epoch, config.train.epochs)
    return epochs.flat_map(epoch_batches).prefetch(AUTOTUNE)


def steps_per_epoch(clips: int, batch_size: int) -> int:
    """Batches in an epoch."""
    return -(-clips // batch_size)


def segment_batches(
    waveforms: Waveforms, audio: Audio, batch_size: int
) -> tf.data.Dataset:
    """All segments of all clips, in order and unaugmented.

    Returns:
        Dicts of `waveform` float32 `[batch, segment_samples]`, `clip` int32 `[batch]`
        (position among the clips) and `target` float32 `[batch, labels]`.
    """

    def segments(row: dict[str, tf.Tensor]) -> tf.data.Dataset:
        cut = all_segments(row["waveform"], audio.segment_samples, audio.hop_samples)
        cut = tf.ensure_shape(cut, [None, audio.segment_samples])
        repeated = {
            "waveform": cut,
            "clip": tf.repeat(row["clip"], tf.shape(cut)[0]),
            "target": tf.repeat(row["target"][tf.newaxis], tf.shape(cut)[0], axis=0),
        }
        return tf.data.Dataset.from_tensor_slices(repeated)

    return waveforms.in_order().flat_map(segments).batch(batch_size).prefetch(AUTOTUNE)


def validation_batches(
    waveforms: Waveforms, frontend: LogMel, config: Config
) -> tf.data.Dataset:
    """Features and targets of all segments; with a cache, computed once and kept."""

    def features(row: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return frontend(row["waveform"]), row["target"]

    batches = segment_batches(waveforms, config.audio, config.evaluate.batch_size)
    batches = batches.map(features, num_parallel_calls=AUTOTUNE)
    if config.audio.cache == "memory":
        batches = batches.cache()
    # Counting them fills the cache, and Keras likes to know.
    count = sum(1 for _ in batches)
    return batches.apply(tf.data.experimental.assert_cardinality(count))
