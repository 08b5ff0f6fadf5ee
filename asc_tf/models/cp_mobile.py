"""A network of inverted residual blocks after CP-Mobile, for small devices.

Source: F. Schmid, T. Morocutti, S. Masoudian, K. Koutini and G. Widmer, "Distilling the
knowledge of Transformers and CNNs with CP-Mobile" (DCASE 2023). What differs from it:

- the filters, (20, 40, 88), there (32, 56, 104), so that body and front-end together
  stay within 128 kB as one int8 file;
- the third block halves frames and bands, there the third the one and the fourth the
  other: TensorFlow's depthwise kernels want equal strides;
- no global response norm, which int8 handles badly;
- blocks expand by 2, there by 2.1;
- the last maps are averaged before the last layer, there after it.
"""

from typing import Any

from asc_tf.config import Model
from asc_tf.models.blocks import Blocks, Tensor

BLOCKS = ((0, 1), (0, 1), (0, 2), (1, 1), (1, 1), (2, 1))
"""Index in `filters` and stride of each block."""
EXPANSION = 2


def build(blocks: Blocks, settings: Model, shape: tuple[int, ...], labels: int) -> Any:
    """Build the network.

    Two convolutions with stride 2, six inverted residual blocks, an average.

    `filters` are those of the three stages; the first convolution has a quarter of the
    first number. `dropout` is published with 0.
    """
    stages = settings.family_filters
    features, x = blocks.features(shape)
    x = blocks.conv(x, max(stages[0] // 4, 1), 3, "conv1", strides=2)
    x = blocks.conv(x, stages[0], 3, "conv2", strides=2)
    for number, (stage, stride) in enumerate(BLOCKS, 1):
        x = _inverted_residual(blocks, x, stages[stage], stride, f"block{number}")
    x = blocks.layers.GlobalAveragePooling2D(name="mean")(x)
    return blocks.classifier(features, x, settings.dropout, labels, settings.name)


def _inverted_residual(
    blocks: Blocks, x: Tensor, filters: int, stride: int, name: str
) -> Tensor:
    """Expand, convolve each map, project; add the input where filters are equal."""
    layers, before = blocks.layers, x
    x = blocks.conv(x, EXPANSION * x.shape[-1], 1, f"{name}_expand")
    x = blocks.depthwise(x, f"{name}_depthwise", stride)
    x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
    x = blocks.linear(x, filters, 1, f"{name}_project")
    if before.shape[-1] == filters:
        if stride > 1:
            pool = layers.AveragePooling2D(3, stride, "same", name=f"{name}_shortcut")
            before = pool(before)
        x = layers.Add(name=f"{name}_add")([x, before])
    return layers.ReLU(name=f"{name}_relu")(x)
