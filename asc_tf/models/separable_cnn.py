"""A compact CNN of depthwise-separable convolutions.

Source of the block: A. G. Howard et al., "MobileNets" (2017).
"""

from typing import Any

from asc_tf.config import Model
from asc_tf.models.blocks import Blocks, Tensor


def build(blocks: Blocks, settings: Model, shape: tuple[int, ...], labels: int) -> Any:
    """Build the network.

    A full convolution with stride 2 makes the first feature maps; each further block is
    two separable convolutions and a pooling by 2 in both directions. The last maps are
    averaged.

    `filters` are those of the first convolution, then of each block.
    """
    first, *others = settings.family_filters
    features, x = blocks.features(shape)
    x = blocks.conv(x, first, 3, "conv", strides=2)
    for number, filters in enumerate(others, 1):
        x = _convolve_separably(blocks, x, filters, f"block{number}a")
        x = _convolve_separably(blocks, x, filters, f"block{number}b")
        x = blocks.pool(x, 2, f"block{number}_pool", padding="same")
    x = blocks.layers.GlobalAveragePooling2D(name="mean")(x)
    return blocks.classifier(features, x, settings.dropout, labels, settings.name)


def _convolve_separably(blocks: Blocks, x: Tensor, filters: int, name: str) -> Tensor:
    x = blocks.depthwise(x, f"{name}_depthwise")
    return blocks.conv(x, filters, 1, f"{name}_pointwise")
