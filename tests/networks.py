"""Small networks of all families, whose answers differ between inputs."""

import keras
import numpy as np

from asc_tf.config import Model

SMALL = {
    "esa3_cnn": Model(name="esa3_cnn", filters=(4, 6, 8), units=8),
    "esa3_crnn": Model(name="esa3_crnn", filters=(4, 6, 8), units=8),
    "us8k_cnn": Model(name="us8k_cnn", filters=(4, 6), units=8),
    "dcase2018_cnn": Model(name="dcase2018_cnn", filters=(4, 6)),
    "fsdkaggle2018_cnn": Model(name="fsdkaggle2018_cnn", filters=(4, 4, 6, 6), units=8),
    "cp_mobile": Model(name="cp_mobile", filters=(4, 6, 8)),
    "separable_cnn": Model(filters=(4, 6, 8)),
}


def randomize(body: keras.Model, seed: int = 0) -> None:
    """Add noise to all weights."""
    generator = np.random.default_rng(seed)
    for layer in body.layers:
        layer.set_weights(
            [w + generator.normal(0, 0.1, w.shape) for w in layer.get_weights()]
        )


def spread_answers(body: keras.Model, features, deviation: float = 1.0) -> None:
    """Give the logits of some features the mean 0 and a standard deviation."""
    head = body.get_layer("logits")
    before = keras.Model(body.inputs[0], head.input)(features).numpy()
    kernel, _ = head.get_weights()
    kernel *= deviation / (before @ kernel).std(axis=0)
    head.set_weights([kernel, -(before @ kernel).mean(axis=0)])
