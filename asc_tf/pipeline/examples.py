"""Examples to batches: augmented ones to train on, plain ones to validate with.

Examples come from clips, or from features that were stored. With `frontend.placement =
model` batches hold waveforms, and `asc_tf.training.trainer` makes features of them,
with the same functions and seeds.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import tensorflow as tf

from asc_tf.augment import NoiseBanks, augment_features, augment_waveforms, fold_in
from asc_tf.config import Augment, Config, Evaluate
from asc_tf.core.memory import fits_memory
from asc_tf.frontend import FrontendLayer
from asc_tf.pipeline.feature_size import stored_bytes
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.waveforms import (
    AUTOTUNE,
    Waveforms,
    segment_batches,
    segments_per_epoch,
    training_segments,
)

STATISTICS_BATCH = 32
NO_SOUNDS = NoiseBanks()


class Examples(Protocol):
    """Where training and validation come from.

    Attributes:
        is_weighted: Whether some clips weigh less than others.
    """

    is_weighted: bool

    def count(self) -> int:
        """Training examples in an epoch."""

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Training examples of an epoch: input, target `[labels]`, weight `[]`."""

    def prepared(self, inputs: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """A batch of inputs, augmented as waveforms are, as the learner takes it."""

    def extracted(self) -> tf.data.Dataset:
        """The training part's features before standardization, for statistics."""

    def in_order(self, split: str) -> tf.data.Dataset:
        """Batches of all segments of `train` or `validation`, unaugmented.

        Dicts of `example` int32 `[batch]` (segments of one follow each other), `target`
        `[batch, labels]`, `weight` `[batch]` and what `plain` takes.
        """

    def plain(self, row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A batch of `in_order` as the learner takes it."""

    def validation(self) -> tf.data.Dataset:
        """Batches of the validation part: what the learner takes, and targets."""


class ClipExamples:
    """Examples from audio; see `Examples`.

    Args:
        training: The training part.
        validation: The validation part, or None where there is none.
        frontend: The front-end.
        config: The configuration.
        banks: The sounds that waveforms are augmented with.
        keeps_validation: Whether there is memory for the features of validation.
    """

    def __init__(
        self,
        training: Waveforms,
        validation: Waveforms | None,
        frontend: FrontendLayer,
        config: Config,
        banks: NoiseBanks = NO_SOUNDS,
        keeps_validation: bool = True,
    ) -> None:
        self._keeps_validation = keeps_validation
        self._training, self._validation = training, validation
        self._frontend, self._config = frontend, config
        # Once, not for every graph.
        self._banks = NoiseBanks(*(b if b is None else tf.constant(b) for b in banks))
        self.is_weighted = training.is_weighted

    def count(self) -> int:
        """Training examples in an epoch."""
        return segments_per_epoch(self._training, self._config)

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Training segments of an epoch."""
        return training_segments(self._training, self._config, seed)

    def prepared(self, inputs: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Waveforms augmented; as features, unless these are made in the model."""
        waveforms = augment_waveforms(
            inputs,
            seed,
            self._config.augment,
            self._banks,
            self._config.audio.channels == "mid_side",
        )
        return self._inputs(waveforms)

    def extracted(self) -> tf.data.Dataset:
        """The features of all training segments."""

        def features(row: dict[str, tf.Tensor]) -> tf.Tensor:
            waveforms = row["waveform"]
            if self._config.augment.random_channel:
                waveforms = tf.reduce_mean(waveforms, axis=2)
            return clip_by_clip(self._frontend.extract, waveforms)

        batches = segment_batches(
            self._training, self._config.audio, Evaluate(), STATISTICS_BATCH
        )
        return batches.map(features, num_parallel_calls=AUTOTUNE)

    def in_order(self, split: str) -> tf.data.Dataset:
        """All segments of a part's clips; of validation those that are evaluated."""
        heard = self._config.evaluate
        if split == "train":
            waveforms: Waveforms | None = self._training
            heard = dataclasses.replace(heard, segments="all")
        else:
            waveforms = self._validation
        assert waveforms is not None
        return segment_batches(waveforms, self._config.audio, heard)

    def plain(self, row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Waveforms, or their features."""
        return self._inputs(row["waveform"])

    def validation(self) -> tf.data.Dataset:
        """All segments; features, with a cache in memory, are computed once."""
        audio, batches = self._config.audio, self.in_order("validation")
        batches = batches.map(
            lambda row: (self.plain(row), row["target"]), num_parallel_calls=AUTOTUNE
        )
        # Where they are waveforms, their clips are kept as those of training are.
        are_features = self._config.frontend.placement == "dataset"
        keeps = are_features and audio.cache == "memory" and self._keeps_validation
        return _counted(batches.cache() if keeps else batches)

    def _inputs(self, waveforms: tf.Tensor) -> dict[str, tf.Tensor]:
        if self._config.frontend.placement == "model":
            return {"waveform": waveforms}
        return {"features": clip_by_clip(self._frontend, waveforms)}


class StoredExamples:
    """Examples from stored features; see `Examples`.

    Args:
        stored: The features folder.
        frontend: The front-end, which standardizes them.
        config: The configuration.
    """

    def __init__(
        self, stored: StoredFeatures, frontend: FrontendLayer, config: Config
    ) -> None:
        self._stored, self._frontend, self._config = stored, frontend, config
        self.is_weighted = stored.is_weighted("train")
        for split in config.dataset.training_splits:
            stored.verify(split)
        self._kept: tf.data.Dataset | None = None
        in_memory, size = config.audio.cache == "memory", stored_bytes(stored, "train")
        validation = stored_bytes(stored, "validation", config.frontend)
        self._keeps_validation = in_memory and fits_memory(validation)
        size += validation if self._keeps_validation else 0
        # One segment of each clip: then a random one is that one.
        are_whole = stored.n_segments("train") == stored.n_clips("train")
        takes_all = are_whole or config.train.segments == "all"
        if in_memory and takes_all and fits_memory(size):
            self._kept = stored.dataset("train").cache()

    def count(self) -> int:
        """Training examples in an epoch."""
        copies, which = self._config.augment.copies, self._config.train.segments
        return self._stored.n_segments("train", which, copies)

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Stored segments of an epoch."""
        copies, which = self._config.augment.copies, self._config.train.segments
        if self._kept is None:
            rows = self._stored.shuffled("train", seed[0], copies, which)
        else:
            rows = self._kept.repeat(copies).shuffle(
                self.count(), seed=seed[0], reshuffle_each_iteration=False
            )
        return rows.map(lambda row: (row["features"], row["target"], row["weight"]))

    def prepared(self, inputs: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Features as the model takes them."""
        del seed  # Nothing acts on waveforms.
        return {"features": self._frontend.standardize(inputs)}

    def extracted(self) -> tf.data.Dataset:
        """The features of all training segments."""
        rows = self._stored.batches("train", STATISTICS_BATCH)
        return rows.map(lambda row: row["features"])

    def in_order(self, split: str) -> tf.data.Dataset:
        """All stored segments of a part; an example is a clip with all its views."""
        batches = self._stored.batches(split, self._config.evaluate.batch_size)
        return batches.map(lambda row: row | {"example": row["clip"]})

    def plain(self, row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Features as the model takes them."""
        return {"features": self._frontend.standardize(row["features"])}

    def validation(self) -> tf.data.Dataset:
        """All stored segments of the validation part."""
        batches = self.in_order("validation")
        batches = batches.map(lambda row: (self.plain(row), row["target"]))
        return _counted(batches.cache() if self._keeps_validation else batches)


def clip_by_clip(
    function: Callable[[tf.Tensor], tf.Tensor], waveforms: tf.Tensor
) -> tf.Tensor:
    """Apply a batch function to one segment at a time, several at once.

    On a CPU that is faster than whole batches, whose frames and spectra are hundreds of
    megabytes, which no cache holds; `benchmarks/frontend.py` compares the two.
    """
    return tf.map_fn(
        lambda waveform: function(waveform[tf.newaxis])[0],
        waveforms,
        fn_output_signature=tf.float32,
        parallel_iterations=4,
    )


def training_batches(
    examples: Examples, frontend: FrontendLayer, config: Config, first_epoch: int = 0
) -> tf.data.Dataset:
    """Augmented batches of all epochs from `first_epoch` on.

    Args:
        examples: Where they come from.
        frontend: The front-end, with its statistics.
        config: The configuration.
        first_epoch: The epoch to begin with, counted from 0.

    Returns:
        A dict with `features` float32 `[batch, frames, bands, ...]`, or with `waveform`
        float32 `[batch, segment_samples, ...]` and `seed` int64 `[batch, 2]` (the same
        for all) where features are made in the model; targets float32 `[batch,
        labels]`; and, where clips have weights, these, float32 `[batch]`. An epoch has
        `steps_per_epoch` batches, the last with what is left.
    """
    run_seed = tf.constant([config.train.seed, 0], tf.int64)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        seed = fold_in(run_seed, epoch)

        def augmented(step: tf.Tensor, batch: tuple) -> tuple:
            inputs, targets, weights = batch
            own_seed = fold_in(fold_in(seed, 2), step)
            found = examples.prepared(inputs, own_seed)
            weights = weights if examples.is_weighted else None
            if "waveform" in found:
                seeds = tf.tile(own_seed[tf.newaxis], [tf.shape(targets)[0], 1])
                described = (targets,) if weights is None else (targets, weights)
                return found | {"seed": seeds}, *described
            features, *changed = augment_batch(
                found["features"], targets, weights, own_seed, config.augment, frontend
            )
            return {"features": features}, *changed

        return (
            examples.epoch(seed)
            .batch(config.train.batch_size)
            .enumerate()
            .map(augmented, num_parallel_calls=AUTOTUNE)
        )

    epochs = tf.data.Dataset.range(first_epoch, config.train.epochs)
    return epochs.flat_map(epoch_batches).prefetch(AUTOTUNE)


def augment_batch(
    features: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor | None,
    seed: tf.Tensor,
    settings: Augment,
    frontend: FrontendLayer,
) -> tuple[tf.Tensor, ...]:
    """Features, targets and, unless they are None, weights of a batch, augmented."""
    units = frontend.per_decibel if settings.eq_tilt_db else None
    if weights is None:
        return augment_features(features, targets, seed, settings, units)
    # In a mixture a label counts by its clip's share and weight.
    weights = weights[:, tf.newaxis]
    described = tf.concat([targets * weights, weights], axis=1)
    features, described = augment_features(features, described, seed, settings, units)
    weights = described[:, -1]
    targets = tf.math.divide_no_nan(described[:, :-1], weights[:, tf.newaxis])
    return features, targets, weights


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Batches in an epoch."""
    return -(-examples // batch_size)


def _counted(batches: tf.data.Dataset) -> tf.data.Dataset:
    # Counting them fills the cache, and Keras likes to know.
    count = sum(1 for _ in batches)
    return batches.apply(tf.data.experimental.assert_cardinality(count))
