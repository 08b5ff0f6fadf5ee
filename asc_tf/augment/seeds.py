"""Seeds derived from seeds, and the draws that several augmentations share."""

import tensorflow as tf

NUMBERS = {
    "time_roll": 0,
    "gain": 1,
    "mixup": 2,
    "time_mask": 3,
    "frequency_mask": 4,
    "random_channel": 5,
    "time_reverse": 6,
    "convolve": 7,
    "add_noise": 8,
    "frequency_warp": 9,
    "eq_tilt": 10,
    "mixstyle": 11,
}
"""Number of each augmentation in its seed; never changed, so that a resumed run draws
what it would have drawn."""


def fold_in(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """Derive a seed `[2]` from a seed and a number: an epoch, a step, a draw.

    The new seed has the integer type of the number, int32 for a Python integer.
    """
    return tf.random.experimental.stateless_fold_in(seed, number)


def derive_seed(seed: tf.Tensor, name: str) -> tf.Tensor:
    """Derive the seed `[2]` of an augmentation from the seed of its batch."""
    return fold_in(seed, NUMBERS[name])


def draw_bernoulli(seed: tf.Tensor, share: float, shape: list) -> tf.Tensor:
    """Bernoulli(share) samples, bool of the shape."""
    return tf.random.stateless_uniform(shape, seed) < share


def draw_beta(seed: tf.Tensor, alpha: float, count: tf.Tensor | int) -> tf.Tensor:
    """Beta(alpha, alpha) samples, float64 `[count]`.

    They are made of two gammas, in float64 because small alphas make tiny numbers.
    """
    gammas = tf.random.stateless_gamma(
        [2, count], seed, tf.constant(alpha, tf.float64), dtype=tf.float64
    )
    return tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1])


def expand_per_clip(values: tf.Tensor, rank: int) -> tf.Tensor:
    """Reshape `[n]` to `[n, 1, ...]`, to go with a batch of the rank."""
    return tf.reshape(values, [-1, *[1] * (rank - 1)])
