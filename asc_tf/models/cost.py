"""What a model costs, layer by layer: multiply-accumulates, parameters, memory."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from asc_tf.core.text_table import align_columns


@dataclass(frozen=True)
class LayerCost:
    """What a layer costs for one segment.

    Attributes:
        name: Of the layer.
        kind: Its class.
        shape: Of its output, without the batch.
        parameters: All of them, trained or not.
        macs: Multiply-accumulates.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int

    @property
    def activations(self) -> int:
        """Numbers in its output: so many bytes as int8, four times as many as float."""
        return math.prod(self.shape)


def layer_costs(model: Any) -> list[LayerCost]:
    """What each layer costs, models inside the model taken apart.

    Additions, activations and batch norms count no multiply-accumulates (a batch norm
    folds into its convolution when the model is exported), nor does a front-end.

    Args:
        model: A functional model of Keras or tf_keras.
    """
    found: list[LayerCost] = []
    for layer in model.layers:
        kind = type(layer).__name__
        if hasattr(layer, "layers"):
            found += layer_costs(layer)
        elif kind != "InputLayer":
            shape = tuple(layer.output.shape)[1:]
            count = MACS.get(kind, lambda layer, shape: 0)(layer, shape)
            found.append(
                LayerCost(layer.name, kind, shape, layer.count_params(), count)
            )
    return found


def macs(model: Any) -> int:
    """Multiply-accumulates for one segment, the sum over `layer_costs`."""
    return sum(cost.macs for cost in layer_costs(model))


def _dense(layer: Any, shape: tuple[int, ...]) -> int:
    """Also of convolutions: each output from all that its kernel reaches."""
    return math.prod(shape) * math.prod(layer.kernel.shape[:-1])


def _depthwise(layer: Any, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * math.prod(layer.kernel_size)


def _separable(layer: Any, shape: tuple[int, ...]) -> int:
    kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    return math.prod(shape[:-1]) * sum(math.prod(kernel.shape) for kernel in kernels)


def _recurrent(layer: Any, shape: tuple[int, ...]) -> int:
    """Each step: the gates, from the input and from the state."""
    steps = tuple(layer.input.shape)[1]
    return steps * _of_a_step(layer)


def _bidirectional(layer: Any, shape: tuple[int, ...]) -> int:
    steps = tuple(layer.input.shape)[1]
    ways = (layer.forward_layer, layer.backward_layer)
    return steps * sum(_of_a_step(way) for way in ways)


def _of_a_step(layer: Any) -> int:
    cell = layer.cell
    return math.prod(cell.kernel.shape) + math.prod(cell.recurrent_kernel.shape)


MACS: dict[str, Callable[[Any, tuple[int, ...]], int]] = {
    "Conv1D": _dense,
    "Conv2D": _dense,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "Bidirectional": _bidirectional,
}


def table(costs: Sequence[LayerCost]) -> str:
    """A line per layer, and the totals; of memory the largest output counts."""
    largest = max(cost.activations for cost in costs)
    heads = ("layer", "type", "output", "parameters", "MACs", "kB float32", "kB int8")
    rows: list[tuple[str, ...]] = [heads]
    for cost in costs:
        shape = " x ".join(map(str, cost.shape))
        numbers = _numbers(cost.parameters, cost.macs, cost.activations)
        rows.append((cost.name, cost.kind, shape, *numbers))
    totals = sum(cost.parameters for cost in costs), sum(cost.macs for cost in costs)
    rows.append(("total; largest output", "", "", *_numbers(*totals, largest)))
    return align_columns(rows, right=range(3, len(heads)))


def _numbers(parameters: int, macs: int, activations: int) -> tuple[str, ...]:
    sizes = (4 * activations / 1000, activations / 1000)
    return (f"{parameters:,}", f"{macs:,}", *(f"{size:.1f}" for size in sizes))
