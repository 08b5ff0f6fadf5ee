"""Training batches: examples of every epoch, batched and augmented."""

import tensorflow as tf

from asc_tf.augment import augment_features, fold_in
from asc_tf.config import Augment, Config
from asc_tf.frontend import FrontendLayer
from asc_tf.pipeline.examples import Examples
from asc_tf.pipeline.options import AUTOTUNE, plain_python, set_options


def make_training_batches(
    examples: Examples, frontend: FrontendLayer, config: Config, first_epoch: int = 0
) -> tf.data.Dataset:
    """Make the augmented batches of all epochs from `first_epoch` on.

    Args:
        examples: Training examples.
        frontend: Front-end layer, built; its statistics are read once, here.
        config: Configuration of the run.
        first_epoch: Epoch to begin with, counted from 0.

    Returns:
        A dict with `features` float32 `[batch, frames, bands, ...]`, or with `waveform`
        float32 `[batch, segment_samples, ...]` and `seed` int64 `[batch, 2]` (the same
        for all) where features are made in the model; targets float32 `[batch,
        labels]`; and, where clips have weights, the weights, float32 `[batch]`. An
        epoch has `count_steps` batches; the last one may be smaller.
    """
    frontend = frontend.with_constants()
    run_seed = tf.constant([config.train.seed, 0], tf.int64)

    @plain_python
    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        seed = fold_in(run_seed, epoch)

        def augment(step: tf.Tensor, batch: tuple) -> tuple:
            inputs, targets, weights = batch
            own_seed = fold_in(fold_in(seed, 2), step)
            named_inputs = examples.augment_inputs(inputs, own_seed)
            weights = weights if examples.is_weighted else None
            if "waveform" in named_inputs:
                seeds = tf.tile(own_seed[tf.newaxis], [tf.shape(targets)[0], 1])
                others = (targets,) if weights is None else (targets, weights)
                return named_inputs | {"seed": seeds}, *others
            features, *changed = augment_batch(
                named_inputs["features"],
                targets,
                weights,
                own_seed,
                config.augment,
                frontend,
            )
            return {"features": features}, *changed

        return (
            examples.epoch(seed)
            .batch(config.train.batch_size)
            .enumerate()
            .map(augment, num_parallel_calls=AUTOTUNE)
        )

    epochs = set_options(tf.data.Dataset.range(first_epoch, config.train.epochs))
    return epochs.flat_map(epoch_batches).prefetch(AUTOTUNE)


def augment_batch(
    features: tf.Tensor,
    targets: tf.Tensor,
    weights: tf.Tensor | None,
    seed: tf.Tensor,
    settings: Augment,
    frontend: FrontendLayer,
) -> tuple[tf.Tensor, ...]:
    """Augment a batch of features, with the targets and weights that go with them.

    Args:
        features: float32 `[batch, frames, bands, ...]`.
        targets: float32 `[batch, labels]`.
        weights: float32 `[batch]`, or None.
        seed: int64 `[2]`.
        settings: Augmentation settings.
        frontend: Front-end layer of the features.

    Returns:
        Features, targets and, unless they are None, weights.
    """
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


def count_steps(examples: int, batch_size: int) -> int:
    """Return the number of batches in an epoch."""
    return -(-examples // batch_size)
