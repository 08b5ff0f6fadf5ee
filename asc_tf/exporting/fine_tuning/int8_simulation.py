"""Simulation of int8 arithmetic in layers of tf_keras, for quantization-aware training.

Wrappers of tensorflow-model-optimization call these quantizers. They round as the files
do that `asc_tf.exporting.conversion.tflite` writes.
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from asc_tf.exporting.formats import FEATURES

# mypy does not follow the package, and takes an alias for a variable.
layers: Any = tf_keras.layers

SMALLEST_BOUND = 1e-9
"""Largest magnitude that is assumed of weights that are all zero."""

KERNEL_LAYERS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
"""Layers whose kernel is int8 in the file."""


@tf.custom_gradient
def round_to_int8(values: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> Any:
    """Round values to the 256 steps of a range that contains zero.

    The gradient is written out because that of TensorFlow's operation has no
    deterministic kernel on GPUs.

    Args:
        values: float32 of any shape; values outside of the range are clipped.
        low: Smallest value of the range, float32 `[]`, at most 0.
        high: Largest value of the range, float32 `[]`, at least 0.
    """
    rounded = tf.quantization.fake_quant_with_min_max_vars(values, low, high)

    def gradient(upstream: tf.Tensor) -> tuple:
        is_inside = (values >= low) & (values <= high)
        return tf.where(is_inside, upstream, tf.zeros_like(upstream)), None, None

    return rounded, gradient


class ChannelQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Symmetric int8 weights with one scale for each output channel.

    The scale always follows from the present weights, as in the exported file.
    """

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Create no variables."""
        return {}

    def __call__(
        self, inputs: tf.Tensor, training: Any, weights: Any, **kwargs: Any
    ) -> tf.Tensor:
        """Round weights; gradients pass unchanged, because nothing is clipped."""
        kernel = tf.convert_to_tensor(inputs)
        is_depthwise = "depthwise" in inputs.name
        channels = np.prod(kernel.shape[-2:]) if is_depthwise else kernel.shape[-1]
        by_channel = tf.reshape(kernel, [-1, channels])
        largest = tf.reduce_max(tf.abs(by_channel), axis=0)
        bound = tf.stop_gradient(tf.maximum(largest, SMALLEST_BOUND))
        step = bound / 127
        steps = tf.stop_gradient(tf.round(by_channel / step))
        rounded = by_channel + tf.stop_gradient(steps * step - by_channel)
        return tf.reshape(rounded, kernel.shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {}


class RangeQuantizer(tfmot.quantization.keras.quantizers.Quantizer):
    """Asymmetric int8 activations within a measured range.

    Attributes:
        low: Variable of the smallest value, float32 `[]`.
        high: Variable of the largest value.
        source: Quantizer of the layer in `shares`, from the time when it is known.
        observed: While not None, nothing is rounded, and the range of each batch is
            appended.
    """

    def __init__(self, shares: str = "") -> None:
        self.shares = shares
        self.source: RangeQuantizer | None = None
        self.observed: list[tuple[float, float]] | None = None

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Create the variables of the range."""
        if self.shares:
            return {}
        zero, one = tf_keras.initializers.Zeros(), tf_keras.initializers.Ones()
        self.low = layer.add_weight(f"{name}_low", [], None, zero, trainable=False)
        self.high = layer.add_weight(f"{name}_high", [], None, one, trainable=False)
        return {"low": self.low, "high": self.high}

    def __call__(
        self, inputs: tf.Tensor, training: Any, weights: Any, **kwargs: Any
    ) -> tf.Tensor:
        """Round activations, or note their range."""
        owner = self.source if self.shares else self
        if owner is None or owner.observed is not None:
            if self.observed is not None:
                values = inputs.numpy()
                self.observed.append((float(values.min()), float(values.max())))
            return inputs
        return round_to_int8(
            inputs,
            tf.convert_to_tensor(owner.low),
            # A range of no width would divide by zero.
            tf.maximum(tf.convert_to_tensor(owner.high), owner.low + SMALLEST_BOUND),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"shares": self.shares}


class DeployedConfig(tfmot.quantization.keras.QuantizeConfig):
    """Quantization of a layer.

    Args:
        has_range: True if the output is quantized.
        shares: Name of the layer whose range is used, or an empty text.
    """

    def __init__(self, has_range: bool, shares: str = "") -> None:
        self.quantizer = RangeQuantizer(shares) if has_range else None
        self._settings = {"has_range": has_range, "shares": shares}

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        """Return the kernel of a layer and its quantizer."""
        if not isinstance(layer, KERNEL_LAYERS):
            return []
        return [(getattr(layer, _kernel_name(layer)), ChannelQuantizer())]

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        """Return nothing: outputs are quantized, behind the activation."""
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """Let the layer compute with the rounded kernel."""
        for kernel in quantize_weights:
            setattr(layer, _kernel_name(layer), kernel)

    def set_quantize_activations(
        self, layer: Any, quantize_activations: list[Any]
    ) -> None:
        """Change nothing."""

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        """Return the quantizer of the output, or none."""
        return [self.quantizer] if self.quantizer else []

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return self._settings


def _kernel_name(layer: Any) -> str:
    is_depthwise = isinstance(layer, layers.DepthwiseConv2D)
    return "depthwise_kernel" if is_depthwise else "kernel"


class _NoTransforms(tfmot.quantization.keras.QuantizeLayoutTransform):
    def apply(self, model: Any, layer_quantize_map: Any) -> tuple[Any, Any]:
        return model, layer_quantize_map


class _NoDefaults(tfmot.quantization.keras.QuantizeRegistry):
    def supports(self, layer: Any) -> bool:
        return False

    def get_quantize_config(self, layer: Any) -> Any:
        return None


class AnnotatedScheme(tfmot.quantization.keras.QuantizeScheme):
    """Scheme that quantizes what is annotated, and nothing else."""

    def get_layout_transformer(self) -> Any:
        """Return a transformer that changes nothing."""
        return _NoTransforms()

    def get_quantize_registry(self) -> Any:
        """Return a registry without defaults."""
        return _NoDefaults()


class FeatureQuantizer(tf_keras.layers.Layer):
    """Quantization of the features, in front of the first layer."""

    def __init__(self, quantizer: RangeQuantizer) -> None:
        super().__init__(name=FEATURES)
        self.quantizer = quantizer

    def build(self, input_shape: Any) -> None:
        """Create the variables of the range."""
        self.quantizer.build(input_shape, FEATURES, self)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Round the features."""
        return self.quantizer(inputs, training, None)
