"""Convolutions of 1x1 on the two-channel segments of UrbanSound8K.

The input, log-mel and its delta of 41 frames and 60 bands, is that of K. J. Piczak,
"Environmental sound classification with convolutional neural networks" (2015).
"""

from typing import Any

from asc_tf.config import Model
from asc_tf.models.blocks import Blocks


def build(blocks: Blocks, settings: Model, shape: tuple[int, ...], labels: int) -> Any:
    """Build the network.

    Two blocks of two 1x1 convolutions, one ReLU behind the second, pooling by 2 and
    dropout; a dense layer with ReLU. There are no batch norms.

    `filters` are those of the blocks, `units` those of the dense layer; `dropout` comes
    after each block and before the last layer. Published with features `[41, 60, 2]`.
    """
    layers = blocks.layers
    features, x = blocks.features(shape)
    for number, filters in enumerate(settings.family_filters, 1):
        for step, activation in enumerate((None, "relu"), 1):
            x = layers.Conv2D(
                *(filters, 1),
                activation=activation,
                # Mean 0, standard deviation 0.05, which Keras 2 called `normal`.
                kernel_initializer="random_normal",
                name=f"block{number}_conv{step}",
            )(x)
        x = blocks.pool(x, 2, f"block{number}_pool")
        x = layers.Dropout(settings.dropout, name=f"block{number}_dropout")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(settings.family_units, activation="relu", name="dense")(x)
    return blocks.classifier(features, x, settings.dropout, labels, settings.name)
