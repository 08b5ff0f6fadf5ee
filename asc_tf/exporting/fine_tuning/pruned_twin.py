"""Twin in tf_keras whose small weights are set to zero while it is trained.

Source: M. Zhu and S. Gupta, "To prune, or not to prune: exploring the efficacy of
pruning for model compression" (2017): sparsity rises from 0 with the third power of the
steps that are left.
"""

from typing import Any

import keras
import tensorflow_model_optimization as tfmot
import tf_keras

from asc_tf.config import Model
from asc_tf.exporting.fine_tuning.twin import Twin, build_twin, clone_twin

layers, sparsity_api = tf_keras.layers, tfmot.sparsity.keras

RISE = 0.5
"""Share of the training in which the sparsity rises; after that, weights recover."""

UPDATES = 50
"""Number of times that weights are chosen, at most."""


class PrunedTwin(Twin):
    """Network with a rising share of zeros in its kernels; see `Twin`.

    Kernels of convolutions and dense layers are pruned, each to the same sparsity. Not
    pruned are depthwise kernels and the first convolution, which are small and whose
    every weight matters, frozen layers, biases, and batch norms.

    Args:
        body: Trained model from features to probabilities.
        settings: Model settings of its run.
        sparsity: Share of the weights of a kernel that become zero, 0 to 1.
        steps: Number of steps of the whole training.
        momentum: Momentum of the statistics of batch norms.
        seed: Seed of dropout.
        path: File of the trained model, for messages.
    """

    def __init__(
        self,
        body: keras.Model,
        settings: Model,
        sparsity: float,
        steps: int,
        momentum: float,
        seed: int,
        path: Any = "model.keras",
    ) -> None:
        twin = build_twin(body, settings, momentum, path)
        frequency = max(1, round(RISE * steps) // UPDATES)
        self._last = max(1, round(RISE * steps) // frequency) * frequency
        schedule = sparsity_api.PolynomialDecay(
            0.0, sparsity, begin_step=0, end_step=self._last, frequency=frequency
        )
        chosen = _choose_layers(twin)

        def wrap(layer: Any) -> Any:
            if layer.name not in chosen:
                return layer
            return sparsity_api.prune_low_magnitude(layer, schedule)

        self.model = clone_twin(twin, wrap, seed, has_fixed_statistics=False)
        self._pruned = [
            layer for layer in self.model.layers if hasattr(layer, "pruning_vars")
        ]
        for layer in self._pruned:
            layer.pruning_step.assign(0)
        self.take_weights(body)
        self.notes = [
            f"{layer.name} ({type(layer).__name__}) is not pruned: "
            "tensorflow-model-optimization has no rule for it"
            for layer in twin.layers
            if isinstance(layer, layers.Bidirectional)
        ]

    def end_epoch(self) -> None:
        """Set the pruned weights to zero, which the last step has changed."""
        for layer in self._pruned:
            for weight, mask, _ in layer.pruning_vars:
                weight.assign(weight * mask)

    def is_complete(self, steps: int) -> bool:
        """Tell whether the sparsity has reached its end after so many steps."""
        return steps >= self._last


def _choose_layers(twin: tf_keras.Model) -> set[str]:
    """Choose the layers whose kernels are pruned."""
    kinds = (layers.Conv2D, layers.Dense)
    convolutions = [each for each in twin.layers if isinstance(each, layers.Conv2D)]
    first = convolutions[0].name if convolutions else ""
    return {
        layer.name
        for layer in twin.layers
        if isinstance(layer, kinds)
        and not isinstance(layer, layers.DepthwiseConv2D)
        and layer.trainable
        and layer.name != first
    }
