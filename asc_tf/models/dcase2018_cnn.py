"""Two 5x5 convolutions on the log-mel features of the DCASE 2018 scenes.

The input, 500 frames of 40 bands for 10 s, is that of the baseline of A. Mesaros, T.
Heittola and T. Virtanen, "A multi-device dataset for urban acoustic scene
classification" (DCASE 2018).
"""

from typing import Any

from asc_tf.config import Model
from asc_tf.models.blocks import Blocks


def build(blocks: Blocks, settings: Model, shape: tuple[int, ...], labels: int) -> Any:
    """Build the network.

    Twice a 5x5 convolution with batch norm, ReLU, pooling (of 4 frames and 2 bands,
    then of 2 and 2) and dropout; the maximum over all, and the last layer.

    `filters` are those of the convolutions. Published with features `[500, 40]` and a
    `dropout` of 0.2.
    """
    layers = blocks.layers
    first, second = settings.family_filters
    features, x = blocks.features(shape)
    x = blocks.pool(blocks.conv(x, first, 5, "conv1"), (4, 2), "pool1")
    x = layers.Dropout(settings.dropout, name="dropout1")(x)
    x = blocks.pool(blocks.conv(x, second, 5, "conv2"), (2, 2), "pool2")
    # Dropout of maps differs from dropout of their maxima: as published, it comes
    # before, and the last layer has none.
    x = layers.Dropout(settings.dropout, name="dropout2")(x)
    x = layers.GlobalMaxPooling2D(name="maximum")(x)
    return blocks.classifier(features, x, 0.0, labels, settings.name)
