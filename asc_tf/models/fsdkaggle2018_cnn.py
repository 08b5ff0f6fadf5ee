"""Four wide convolutions on MFCC, after a well-known notebook for FSDKaggle2018.

Source: Zafar, "Beginner's Guide to Audio Data" (Kaggle, 2018).
"""

from typing import Any

from asc_tf.config import Model
from asc_tf.models.blocks import Blocks


def build(blocks: Blocks, settings: Model, shape: tuple[int, ...], labels: int) -> Any:
    """Build the network.

    Four times a convolution of 10 frames and 4 coefficients with batch norm, ReLU and
    pooling by 2; a dense layer with batch norm and ReLU.

    Args:
        blocks: Layers of Keras or tf_keras.
        settings: Model settings: `filters` of the convolutions, `units` of the dense
            layer, `dropout` before the last layer (published with 0).
        shape: Shape of a segment's features, published with 40 coefficients.
        labels: Number of classes.

    Returns:
        A model from `[batch, *shape]` to probabilities `[batch, labels]`.
    """
    layers = blocks.layers
    features, x = blocks.features(shape)
    for number, filters in enumerate(settings.family_filters, 1):
        x = blocks.conv(x, filters, (10, 4), f"conv{number}")
        x = blocks.pool(x, 2, f"pool{number}")
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(settings.family_units, use_bias=False, name="dense")(x)
    x = blocks.norm_relu(x, "dense")
    return blocks.classifier(features, x, settings.dropout, labels, settings.name)
