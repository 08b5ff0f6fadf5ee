"""Twin of a trained network in tf_keras, for tensorflow-model-optimization.

That library accepts models of tf_keras (Keras 2) only. The twin has the layers and the
weights of the network; two kinds of layers are replaced by ones that a resumed training
repeats exactly and that have a deterministic gradient on GPUs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from asc_tf import models
from asc_tf.config import Model

Ranges = dict[str, tuple[float, float]]
"""Smallest and largest value of the output of each layer, by its name."""


class Twin:
    """Network in tf_keras that is trained further.

    Attributes:
        has_ranges: True if ranges of activations are measured during training.
        model: The network, whose layers may be wrapped.
        notes: Sentences for the user on layers that are treated otherwise.
        trainable_variables: Variables that training changes.
        variables: All variables, in a fixed order.
    """

    has_ranges = False
    model: Any
    notes: list[str]
    trainable_variables: list[tf.Variable]
    variables: list[tf.Variable]

    def __call__(self, features: tf.Tensor, training: bool) -> tf.Tensor:
        """Compute probabilities `[batch, labels]` of features."""
        return self.model(features, training=training)

    def take_weights(self, body: keras.Model) -> None:
        """Take the weights of the trained network over."""
        self._weights = list_weights(self.model, body)
        self.trainable_variables = list_trainable(self._weights, self.model, body)
        self.variables = list(self.model.variables)
        for variable, weight in zip(self._weights, body.get_weights(), strict=True):
            variable.assign(weight)

    def calibrate(self, segments: Sequence[tf.Tensor]) -> None:
        """Measure the ranges of activations on batches of features, if any."""

    def end_epoch(self) -> None:
        """Bring the weights into the form in which they are validated and exported."""

    def is_complete(self, steps: int) -> bool:
        """Tell whether the weights after so many steps may be exported."""
        return True

    def weights(self) -> list[np.ndarray]:
        """Return the weights in the order of the Keras network."""
        return [variable.numpy() for variable in self._weights]

    def ranges(self) -> Ranges:
        """Return the measured range of each layer's output; empty without any."""
        return {}


class StepDropout(tf_keras.layers.Layer):
    """Dropout whose mask is a function of its seed and of the number of the step.

    The step is a variable of the layer, so that a resumed training continues with the
    same masks.
    """

    def __init__(self, rate: float, seed: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.rate, self.seed = rate, seed

    def build(self, input_shape: Any) -> None:
        """Create the counter of steps."""
        self.step = self.add_weight(
            "step", [], tf.int64, tf_keras.initializers.Zeros(), trainable=False
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Set a share of the values to zero in training, and scale the others."""
        if not training or not self.rate:
            return inputs
        step = self.step.assign_add(1)
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"rate": self.rate, "seed": self.seed}


class FixedStatisticsNorm(tf_keras.layers.BatchNormalization):
    """Batch norm that always uses its moving statistics, and does not change them.

    It is then the scale and shift that an exported file folds into the convolution
    before it. Scale (gamma) and shift (beta) are trained.
    """

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None
    ) -> tf.Tensor:
        """Scale and shift each channel."""
        scale = tf.math.rsqrt(self.moving_variance + self.epsilon)
        if self.gamma is not None:
            scale = scale * self.gamma
        shift = -self.moving_mean * scale
        if self.beta is not None:
            shift = shift + self.beta
        return inputs * scale + shift


CUSTOM_LAYERS = {
    "StepDropout": StepDropout,
    "FixedStatisticsNorm": FixedStatisticsNorm,
}
"""Layers that a copy of a twin has to know by name."""


def build_twin(
    body: keras.Model, settings: Model, momentum: float, path: Any
) -> tf_keras.Model:
    """Build the network in tf_keras; its weights are not those of `body` yet.

    Raises:
        UserError: If the network of the run had other layers.
    """
    shape, labels = body.input_shape[1:], body.output_shape[-1]
    twin = models.build(settings, shape, labels, momentum, library=tf_keras)
    models.check_resumable(twin, path)
    models.freeze_layers(twin, settings.freeze)
    return twin


def clone_twin(
    twin: tf_keras.Model,
    wrap: Callable[[Any], Any],
    seed: int,
    *,
    has_fixed_statistics: bool,
) -> tf_keras.Model:
    """Copy a twin, with repeatable dropout.

    Args:
        twin: Model from `build_twin`.
        wrap: Function from a layer of the copy to the one that takes its place.
        seed: Seed of dropout.
        has_fixed_statistics: Whether batch norms use their moving statistics in
            training; frozen ones do in any case.
    """
    places = {layer.name: place for place, layer in enumerate(twin.layers)}

    def copy(layer: Any) -> Any:
        settings = layer.get_config()
        if isinstance(layer, tf_keras.layers.Dropout):
            names = ("name", "dtype", "trainable", "rate")
            kept = {name: settings[name] for name in names}
            return wrap(StepDropout(seed=1000 * seed + places[layer.name], **kept))
        is_norm = isinstance(layer, tf_keras.layers.BatchNormalization)
        if is_norm and (has_fixed_statistics or not layer.trainable):
            return wrap(FixedStatisticsNorm.from_config(settings))
        return wrap(type(layer).from_config(settings))

    return tf_keras.models.clone_model(twin, clone_function=copy)


def list_weights(twin: tf_keras.Model, body: keras.Model) -> list[tf.Variable]:
    """List the variables of a twin that are the weights of `body`, in their order."""
    wrappers = {_unwrap(layer).name: layer for layer in twin.layers}
    variables: list[tf.Variable] = []
    for layer in body.layers:
        inner = _unwrap(wrappers[layer.name])
        own = list(inner.weights)
        if len(own) != len(layer.weights):
            # A wrapper that quantizes a kernel has taken it from the layer.
            held = {_name(each): each for each in wrappers[layer.name].weights}
            held |= {"kernel": held.get("depthwise_kernel", held.get("kernel"))}
            own = [held[weight.name] for weight in layer.weights]
        variables += own
    for variable, weight in zip(variables, body.weights, strict=True):
        if tuple(variable.shape) != tuple(weight.shape):
            raise ValueError(f"{variable.name}: another shape than {weight.path}")
    return variables


def list_trainable(
    variables: list[tf.Variable], twin: tf_keras.Model, body: keras.Model
) -> list[tf.Variable]:
    """List those of the variables from `list_weights` that the run has trained."""
    frozen = {
        _unwrap(layer).name for layer in twin.layers if not _unwrap(layer).trainable
    }
    is_trained = [
        weight.name not in ("moving_mean", "moving_variance", "seed_generator_state")
        and layer.name not in frozen
        for layer in body.layers
        for weight in layer.weights
    ]
    return [
        variable for variable, is_on in zip(variables, is_trained, strict=True) if is_on
    ]


def _unwrap(layer: Any) -> Any:
    """Return the layer inside a wrapper of tensorflow-model-optimization."""
    is_wrapped = isinstance(layer, tf_keras.layers.Wrapper) and not isinstance(
        layer, tf_keras.layers.Bidirectional
    )
    return layer.layer if is_wrapped else layer


def _name(variable: tf.Variable) -> str:
    return variable.name.split(":")[0].split("/")[-1]
