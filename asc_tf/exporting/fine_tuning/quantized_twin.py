"""Twin in tf_keras that computes as the int8 file will: quantization-aware training.

Source: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (2018), section 3. Weights and activations are
rounded to 8 bits in the forward pass; gradients pass as if nothing were rounded, but
not through values that are clipped.

tensorflow-model-optimization wraps the layers. Its default scheme differs from the
files that `asc_tf.exporting.conversion` writes (dense and depthwise layers have one
scale per tensor there, and ranges are averages over augmented batches, which start at
-6 to 6), so that this module says what is quantized where:

- weights of convolutions and dense layers: symmetric, -127 to 127, one scale for each
  output channel. Batch norms only scale channels, so that to quantize a kernel before
  they are folded into it is the same as to quantize it after that;
- the features, and the output of each layer behind which LiteRT stores a tensor:
  asymmetric, one scale. A convolution, its batch norm and its ReLU are one operation,
  as are a sum and its ReLU; reshaping and maximum pooling keep the scale, an average
  pooling has that of its input; the inputs of a concatenation have its scale.

Ranges go from the smallest to the largest value of training segments that are not
augmented, as the network of the file meets them. They are measured before the first
epoch, and again after each.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from asc_tf.config import Model
from asc_tf.exporting.fine_tuning.int8_simulation import (
    KERNEL_LAYERS,
    AnnotatedScheme,
    DeployedConfig,
    FeatureQuantizer,
    RangeQuantizer,
)
from asc_tf.exporting.fine_tuning.twin import (
    CUSTOM_LAYERS,
    Ranges,
    Twin,
    build_twin,
    clone_twin,
)
from asc_tf.exporting.formats import FEATURES

# mypy does not follow these packages, and takes an alias for a variable.
layers: Any = tf_keras.layers
quantization: Any = tfmot.quantization.keras

SAME_SCALE = (
    *(layers.InputLayer, layers.Reshape, layers.Flatten, layers.MaxPooling2D),
    *(layers.Dropout, layers.Softmax),
)
"""Layers whose output has the scale of their input, or is float."""
POOLED = (
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D),
    layers.GlobalMaxPooling2D,
)
OWN_SCALE = (
    *KERNEL_LAYERS,
    *POOLED,
    *(layers.BatchNormalization, layers.ReLU, layers.Add, layers.Concatenate),
    *(layers.Bidirectional, layers.GRU, layers.LSTM),
)
RECURRENT = (layers.Bidirectional, layers.GRU, layers.LSTM)


def find_ranges(twin: tf_keras.Model) -> dict[str, str]:
    """Find the layers whose output LiteRT stores with a scale of its own.

    Returns:
        Name of each such layer, with the name of the layer whose range it shares, or
        an empty text where the range is its own.

    Raises:
        ValueError: Naming a layer whose quantization is not known here.
    """
    found: dict[str, str] = {}
    scale_of: dict[str, str] = {}
    for layer in twin.layers:
        followers = [node.layer for node in layer.outbound_nodes]
        source: Any = layer.inbound_nodes[0].inbound_layers or None
        if isinstance(layer, layers.AveragePooling2D):
            found[layer.name] = scale_of[source.name]
            scale_of[layer.name] = scale_of[source.name]
            continue
        if isinstance(layer, SAME_SCALE):
            scale_of[layer.name] = scale_of[source.name] if source else FEATURES
            continue
        if not isinstance(layer, OWN_SCALE):
            raise ValueError(f"{layer.name} ({type(layer).__name__})")
        scale_of[layer.name] = layer.name
        next_layer = followers[0] if len(followers) == 1 else None
        joined: tuple = ()
        if isinstance(layer, (*KERNEL_LAYERS, layers.Add, layers.BatchNormalization)):
            joined = (layers.BatchNormalization, layers.ReLU)
        elif isinstance(layer, POOLED):
            joined = (layers.Concatenate,)
        if not isinstance(next_layer, joined):
            found[layer.name] = ""
    return found


class QuantizedTwin(Twin):
    """Network that computes with simulated int8; see `Twin`."""

    has_ranges = True

    def __init__(
        self,
        body: keras.Model,
        settings: Model,
        seed: int,
        path: Any = "model.keras",
    ) -> None:
        # Batch norms do not move.
        twin = build_twin(body, settings, 1.0, path)
        ranges = find_ranges(twin)

        def annotate(layer: Any) -> Any:
            has_range = layer.name in ranges
            if not has_range and not isinstance(layer, KERNEL_LAYERS):
                return layer
            shares = ranges.get(layer.name, "")
            config = DeployedConfig(has_range, shares)
            return quantization.quantize_annotate_layer(layer, config)

        own = {"DeployedConfig": DeployedConfig, "RangeQuantizer": RangeQuantizer}
        with quantization.quantize_scope(own | CUSTOM_LAYERS):
            annotated = clone_twin(twin, annotate, seed, has_fixed_statistics=True)
            self.model = quantization.quantize_apply(
                annotated, scheme=AnnotatedScheme()
            )
        self._quantizers = {FEATURES: RangeQuantizer()}
        self._features = FeatureQuantizer(self._quantizers[FEATURES])
        self._features.build(body.input_shape)
        for layer in self.model.layers:
            quantizer = getattr(
                getattr(layer, "quantize_config", None), "quantizer", None
            )
            if quantizer:
                self._quantizers[layer.layer.name] = quantizer
        for quantizer in self._quantizers.values():
            if quantizer.shares:
                quantizer.source = self._quantizers[quantizer.shares]
        self.take_weights(body)
        self.variables += self._features.variables
        self.notes = [
            f"{layer.name} ({type(layer).__name__}): only its output is quantized in "
            "this training, because tensorflow-model-optimization cannot wrap the "
            "steps of a recurrent layer; the file has its weights in int8, too"
            for layer in twin.layers
            if isinstance(layer, RECURRENT)
        ]

    def __call__(self, features: tf.Tensor, training: bool) -> tf.Tensor:
        """Compute probabilities with rounded weights and activations."""
        return self.model(self._features(features, training=training), training)

    def calibrate(self, segments: Sequence[tf.Tensor]) -> None:
        """Measure the ranges.

        Args:
            segments: Batches of features, float32 `[batch, frames, ...]`.
        """
        own = [each for each in self._quantizers.values() if not each.shares]
        for quantizer in own:
            quantizer.observed = []
        for features in segments:
            self(features, training=False)
        for quantizer in own:
            lows, highs = zip(*(quantizer.observed or [(0.0, 0.0)]), strict=True)
            quantizer.low.assign(min(*lows, 0.0))
            quantizer.high.assign(max(*highs, 0.0))
            quantizer.observed = None

    def ranges(self) -> Ranges:
        """Return the measured range of each output that has one of its own."""
        return {
            name: (float(quantizer.low.numpy()), float(quantizer.high.numpy()))
            for name, quantizer in self._quantizers.items()
            if not quantizer.shares
        }
