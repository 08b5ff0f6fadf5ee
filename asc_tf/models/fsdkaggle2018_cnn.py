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

    `filters` are those of the convolutions, `units` those of the dense layer. Published
    with 40 coefficients and a `dropout` of 0, which comes before the last layer.
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
