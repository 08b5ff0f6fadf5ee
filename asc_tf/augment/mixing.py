"""Augmentations that mix the clips of a batch with each other."""

import tensorflow as tf

from asc_tf.augment.seeds import draw_bernoulli, draw_beta, expand_per_clip, fold_in

MIN_VARIANCE = 1e-6
"""Number added before the root, so that a constant band is not divided by zero."""


def mixup(
    features: tf.Tensor,
    targets: tf.Tensor,
    seed: tf.Tensor,
    alpha: float,
    per: str = "sample",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix each example with another of the batch, features and targets alike.

    The partners are a fresh permutation of the batch; each example has its own share
    from Beta(alpha, alpha), or all have one.

    Source: H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.

    Args:
        features: float32 `[batch, ...]`.
        targets: float32 `[batch, labels]`.
        seed: int64 `[2]`.
        alpha: Both parameters of the Beta distribution.
        per: `sample`, or `batch` for one share.

    Returns:
        Mixed features and targets, of the same shapes.
    """
    batch = tf.shape(features)[0]
    share = draw_beta(fold_in(seed, 0), alpha, batch if per == "sample" else 1)
    partner = _draw_partners(batch, fold_in(seed, 1))

    def mix(values: tf.Tensor) -> tf.Tensor:
        weight = expand_per_clip(tf.cast(share, values.dtype), len(values.shape))
        return weight * values + (1 - weight) * tf.gather(values, partner)

    return mix(features), mix(targets)


def mixstyle(
    features: tf.Tensor, seed: tf.Tensor, alpha: float, share: float = 0.5
) -> tf.Tensor:
    """Give clips the band statistics of a mixture of two clips (Freq-MixStyle).

    Mean and deviation over time of each band (and channel) of a clip are replaced by
    those of the clip and of another of the batch, weighted by the clip's own draw from
    Beta(alpha, alpha). It happens to the whole batch or not at all, as published.

    Source: F. Schmid, S. Masoudian, K. Koutini, G. Widmer, "Knowledge Distillation From
    Transformers For Low-Complexity Acoustic Scene Classification", DCASE Workshop 2022,
    after K. Zhou et al., "Domain Generalization with MixStyle", ICLR 2021.

    Args:
        features: float32 `[batch, frames, bands]`, or with channels behind.
        seed: int64 `[2]`.
        alpha: Both parameters of the Beta distribution.
        share: Share of the batches that are mixed.

    Returns:
        float32 of the same shape.
    """

    def mix() -> tf.Tensor:
        batch = tf.shape(features)[0]
        weight = tf.cast(draw_beta(fold_in(seed, 1), alpha, batch), features.dtype)
        weight = expand_per_clip(weight, len(features.shape))
        partner = _draw_partners(batch, fold_in(seed, 2))
        mean, variance = tf.nn.moments(features, axes=[1], keepdims=True)
        deviation = tf.sqrt(variance + MIN_VARIANCE)
        new_mean, new_deviation = (
            weight * own + (1 - weight) * tf.gather(own, partner)
            for own in (mean, deviation)
        )
        return (features - mean) * (new_deviation / deviation) + new_mean

    is_mixed = draw_bernoulli(fold_in(seed, 0), share, [])
    return tf.cond(is_mixed, mix, lambda: features)


def _draw_partners(batch: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw a permutation of the batch: int32 `[batch]`."""
    return tf.random.experimental.stateless_shuffle(tf.range(batch), seed)
