"""Three stages of 3x3 convolutions, and the average and maximum over all of the last.

The pattern of small kernels and doubling filters is that of K. Simonyan and A.
Zisserman, "Very deep convolutional networks for large-scale image recognition" (2014).
"""

from typing import Any

from asc_tf.config import Model
from asc_tf.models.blocks import Blocks, Tensor


def build(blocks: Blocks, settings: Model, shape: tuple[int, ...], labels: int) -> Any:
    """Build the network.

    Three convolutions, pooling by 2, two convolutions, pooling by 2, one convolution;
    its average and its maximum side by side, then a dense layer with ReLU.

    `filters` are those of the stages, `units` those of the dense layer; `dropout` is
    published with 0.5.
    """
    layers = blocks.layers
    features, x = blocks.features(shape)
    stages = zip(settings.family_filters, DEPTHS, strict=True)
    for number, (filters, depth) in enumerate(stages, 1):
        x = build_stage(blocks, x, filters, depth, number)
        if number < len(DEPTHS):
            x = blocks.pool(x, 2, f"stage{number}_pool")
    mean = layers.GlobalAveragePooling2D(name="mean")(x)
    maximum = layers.GlobalMaxPooling2D(name="maximum")(x)
    x = layers.Concatenate(name="mean_maximum")([mean, maximum])
    x = layers.Dense(settings.family_units, activation="relu", name="dense")(x)
    return blocks.classifier(features, x, settings.dropout, labels, settings.name)


DEPTHS = (3, 2, 1)
"""Number of convolutions of each stage."""


def build_stage(
    blocks: Blocks, x: Tensor, filters: int, depth: int, number: int
) -> Tensor:
    """Build `depth` convolutions 3x3 with batch norm and ReLU."""
    for step in range(1, depth + 1):
        x = blocks.conv(x, filters, 3, f"stage{number}_conv{step}")
    return x
