"""The stages of `esa3_cnn`, read frame by frame by a bidirectional GRU.

The pattern, convolutions that leave time alone before a recurrent layer, is that of E.
Cakir et al., "Convolutional recurrent neural networks for polyphonic sound event
detection" (2017).
"""

from typing import Any

from asc_tf.config import Model
from asc_tf.models.blocks import Blocks
from asc_tf.models.esa3_cnn import DEPTHS, build_stage


def build(blocks: Blocks, settings: Model, shape: tuple[int, ...], labels: int) -> Any:
    """Build the network.

    After each stage bands are pooled by 4, frames never. The remaining bands of a frame
    are one step of the sequence; the outputs of the GRU are averaged over time, then a
    dense layer of as many units as they have, with ReLU.

    `filters` are those of the stages, `units` those of the GRU in each direction.
    """
    layers = blocks.layers
    features, x = blocks.features(shape)
    stages = zip(settings.family_filters, DEPTHS, strict=True)
    for number, (filters, depth) in enumerate(stages, 1):
        x = build_stage(blocks, x, filters, depth, number)
        x = blocks.pool(x, (1, BANDS), f"stage{number}_pool", padding="same")
    frames, bands, channels = x.shape[1:]
    x = layers.Reshape((frames, bands * channels), name="sequence")(x)
    gru = layers.GRU(settings.family_units, return_sequences=True, name="gru")
    x = layers.Bidirectional(gru, name="both_ways")(x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    x = layers.Dense(2 * settings.family_units, activation="relu", name="dense")(x)
    return blocks.classifier(features, x, settings.dropout, labels, settings.name)


BANDS = 4
"""Neighbouring bands that each stage pools."""
