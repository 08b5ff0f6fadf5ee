"""What a model costs: multiply-accumulates for one segment."""

import math

import keras
from keras import layers


def macs(model: keras.Model) -> int:
    """Multiply-accumulates of the convolutions and dense layers, for one segment.

    The front-end does not count, nor do additions, activations and batch norms (which
    fold into the convolutions when the model is exported).
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            total += macs(layer)
        elif isinstance(layer, layers.DepthwiseConv2D):
            positions = math.prod(layer.output.shape[1:])
            total += positions * math.prod(layer.kernel_size)
        elif isinstance(layer, layers.Conv2D | layers.Dense):
            outputs = math.prod(layer.output.shape[1:])
            total += outputs * math.prod(layer.kernel.shape[:-1])
    return total
