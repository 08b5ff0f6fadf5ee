"""Seeds made of seeds, and the draws that several augmentations share."""

import tensorflow as tf


def fold_in(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """A new seed `[2]` from a seed and a number: an epoch, a step, an operation."""
    return tf.random.experimental.stateless_fold_in(seed, number)


def happens(seed: tf.Tensor, share: float, shape: list) -> tf.Tensor:
    """Yes with probability `share`, no otherwise: bool of the shape."""
    return tf.random.stateless_uniform(shape, seed) < share


def beta(seed: tf.Tensor, alpha: float, count: tf.Tensor | int) -> tf.Tensor:
    """Draws from Beta(alpha, alpha): float64 `[count]`.

    Made of two gammas; in float64 because small alphas make tiny numbers.
    """
    gammas = tf.random.stateless_gamma(
        [2, count], seed, tf.constant(alpha, tf.float64), dtype=tf.float64
    )
    return tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1])


def per_clip(values: tf.Tensor, rank: int) -> tf.Tensor:
    """`[n]` to `[n, 1, ...]`, to go with a batch of the rank."""
    return tf.reshape(values, [-1, *[1] * (rank - 1)])
