"""Examples and batches: augmented for training, unaugmented for validation.

Examples come from audio or from stored features. With `frontend.placement = model` the
batches hold waveforms, and `asc_tf.training.trainer` computes and augments their
features with the same functions and seeds.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import tensorflow as tf

from asc_tf.augment import NoiseBanks, augment_waveforms
from asc_tf.config import Config, Evaluate
from asc_tf.core.memory import fits_memory
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.frontend import FrontendLayer
from asc_tf.pipeline.feature_size import stored_bytes
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.options import AUTOTUNE, plain_python
from asc_tf.pipeline.segments import (
    make_segment_batches,
    make_training_segments,
)
from asc_tf.pipeline.waveforms import Waveforms

STATISTICS_BATCH = 32
NO_BANKS = NoiseBanks()


class Examples(Protocol):
    """Examples of the training and the validation split.

    Attributes:
        is_weighted: Whether some clips have less weight than others.
    """

    is_weighted: bool

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Make the training examples of an epoch.

        Args:
            seed: int64 `[2]`, different in every epoch.

        Returns:
            Tuples of input, target float32 `[labels]` and weight float32 `[]`.
        """

    def augment_inputs(
        self, inputs: tf.Tensor, seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Augment a batch of inputs as waveforms, and name them as the model does.

        Returns:
            `features`, or `waveform` where the model computes the features.
        """

    def validation(self) -> tf.data.Dataset:
        """Make the batches of the validation split: inputs of the model and targets."""


class SegmentExamples(Examples, Protocol):
    """Examples whose segments can also be read in order and unaugmented."""

    def training_features(self) -> tf.data.Dataset:
        """Make batches of all training features before standardization."""

    def ordered_segments(self, split: str) -> tf.data.Dataset:
        """Make batches of all segments of a split, in order and unaugmented.

        Returns:
            Dicts of `example` int32 `[batch]` (segments of one example follow each
            other), `target` `[batch, labels]`, `weight` `[batch]` and the values that
            `plain_inputs` takes.
        """

    def plain_inputs(self, row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return a batch of `ordered_segments` as inputs of the model."""


class ClipExamples:
    """Examples from audio; see `SegmentExamples`.

    Args:
        training: Waveforms of the training split.
        validation: Waveforms of the validation split, or None where there is none.
        frontend: Front-end layer.
        config: Configuration of the run.
        banks: Noise and impulse responses for augmentation.
        caches_validation: Whether memory may hold the features of validation.
    """

    def __init__(
        self,
        training: Waveforms,
        validation: Waveforms | None,
        frontend: FrontendLayer,
        config: Config,
        banks: NoiseBanks = NO_BANKS,
        caches_validation: bool = True,
    ) -> None:
        self._caches_validation = caches_validation
        self._training, self._validation = training, validation
        self._frontend, self._config = frontend, config
        # Converted once, so that all graphs share the constants.
        self._banks = NoiseBanks(*(b if b is None else tf.constant(b) for b in banks))
        self.is_weighted = training.is_weighted

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Make the training segments of an epoch."""
        return make_training_segments(self._training, self._config, seed)

    def augment_inputs(
        self, inputs: tf.Tensor, seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Augment waveforms; return their features where the pipeline makes these."""
        waveforms = augment_waveforms(
            inputs,
            seed,
            self._config.augment,
            self._banks,
            self._config.audio.channels == "mid_side",
        )
        return self._make_inputs(waveforms)

    def training_features(self) -> tf.data.Dataset:
        """Make batches of the features of all training segments."""

        @plain_python
        def features(row: dict[str, tf.Tensor]) -> tf.Tensor:
            waveforms = row["waveform"]
            if self._config.augment.random_channel:
                waveforms = tf.reduce_mean(waveforms, axis=2)
            return clip_by_clip(self._frontend.extract, waveforms)

        all_segments = Preprocessing.from_config(self._config.audio, Evaluate())
        batches = make_segment_batches(self._training, all_segments, STATISTICS_BATCH)
        return batches.map(features, num_parallel_calls=AUTOTUNE)

    def ordered_segments(self, split: str) -> tf.data.Dataset:
        """Make batches of all training segments, or of the validated segments."""
        evaluate = self._config.evaluate
        waveforms = self._validation
        if split == "train":
            waveforms = self._training
            evaluate = dataclasses.replace(evaluate, segments="all", overlap=0.0)
        assert waveforms is not None
        preprocessing = Preprocessing.from_config(self._config.audio, evaluate)
        return make_segment_batches(waveforms, preprocessing, evaluate.batch_size)

    def plain_inputs(self, row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the waveforms of a batch, or their features."""
        return self._make_inputs(row["waveform"])

    def validation(self) -> tf.data.Dataset:
        """Make the validation batches; features that fit in memory are made once."""
        audio, batches = self._config.audio, self.ordered_segments("validation")
        batches = batches.map(
            plain_python(lambda row: (self.plain_inputs(row), row["target"])),
            num_parallel_calls=AUTOTUNE,
        )
        # Where the model makes features, the clips are cached like those of training.
        has_features = self._config.frontend.placement == "dataset"
        is_cached = has_features and audio.cache == "memory" and self._caches_validation
        return _count_batches(batches.cache() if is_cached else batches)

    def _make_inputs(self, waveforms: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return waveforms, or their features where the pipeline computes them."""
        if self._config.frontend.placement == "model":
            return {"waveform": waveforms}
        return {"features": clip_by_clip(self._frontend.with_constants(), waveforms)}


class StoredExamples:
    """Examples from stored features; see `SegmentExamples`.

    Args:
        stored: Stored features.
        frontend: Front-end layer, which standardizes them.
        config: Configuration of the run.
    """

    def __init__(
        self, stored: StoredFeatures, frontend: FrontendLayer, config: Config
    ) -> None:
        self._stored, self._frontend, self._config = stored, frontend, config
        self.is_weighted = stored.is_weighted("train")
        for split in config.dataset.training_splits:
            stored.verify(split)
        self._cached_rows: tf.data.Dataset | None = None
        in_memory, size = config.audio.cache == "memory", stored_bytes(stored, "train")
        validation = stored_bytes(stored, "validation", config.frontend)
        self._caches_validation = in_memory and fits_memory(validation)
        size += validation if self._caches_validation else 0
        # With one segment in each clip, a random segment is that segment.
        has_single = stored.n_segments("train") == stored.n_clips("train")
        takes_all = has_single or config.train.segments == "all"
        if in_memory and takes_all and fits_memory(size):
            self._cached_rows = stored.dataset("train").cache()

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Make the stored segments of an epoch."""
        copies, which = self._config.augment.copies, self._config.train.segments
        if self._cached_rows is None:
            rows = self._stored.shuffled("train", seed[0], copies, which)
        else:
            rows = self._cached_rows.repeat(copies).shuffle(
                copies * self._stored.n_segments("train"),
                seed=seed[0],
                reshuffle_each_iteration=False,
            )
        return rows.map(
            plain_python(lambda row: (row["features"], row["target"], row["weight"]))
        )

    def augment_inputs(
        self, inputs: tf.Tensor, seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Standardize features; no augmentation of waveforms acts on them."""
        del seed
        return {"features": self._frontend.with_constants().standardize(inputs)}

    def training_features(self) -> tf.data.Dataset:
        """Make batches of the features of all training segments."""
        rows = self._stored.batches("train", STATISTICS_BATCH)
        return rows.map(plain_python(lambda row: row["features"]))

    def ordered_segments(self, split: str) -> tf.data.Dataset:
        """Make batches of all stored segments; an example is a clip with all views."""
        batches = self._stored.batches(split, self._config.evaluate.batch_size)
        return batches.map(plain_python(lambda row: row | {"example": row["clip"]}))

    def plain_inputs(self, row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return the standardized features of a batch."""
        return {
            "features": self._frontend.with_constants().standardize(row["features"])
        }

    def validation(self) -> tf.data.Dataset:
        """Make batches of all stored segments of the validation split."""
        batches = self.ordered_segments("validation")
        batches = batches.map(
            plain_python(lambda row: (self.plain_inputs(row), row["target"]))
        )
        return _count_batches(batches.cache() if self._caches_validation else batches)


def clip_by_clip(
    function: Callable[[tf.Tensor], tf.Tensor], waveforms: tf.Tensor
) -> tf.Tensor:
    """Apply a batch function to each segment by itself, several in parallel.

    On a CPU this is faster than whole batches, whose frames and spectra take hundreds
    of megabytes, more than a cache holds; `benchmarks/frontend.py` compares the two.
    """
    return tf.map_fn(
        lambda waveform: function(waveform[tf.newaxis])[0],
        waveforms,
        fn_output_signature=tf.float32,
        parallel_iterations=4,
    )


def _count_batches(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Give a dataset its cardinality, which Keras shows; counting fills its cache."""
    count = sum(1 for _ in batches)
    return batches.apply(tf.data.experimental.assert_cardinality(count))
