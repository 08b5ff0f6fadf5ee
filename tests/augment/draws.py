"""Seeds and random values for the tests of augmentations."""

import numpy as np
import tensorflow as tf


def seed(number: int) -> tf.Tensor:
    return tf.constant([number, 7], tf.int64)


def normal(*shape: int, number: int = 0) -> np.ndarray:
    values = np.random.default_rng(number).standard_normal(shape)
    return values.astype(np.float32)
