"""Cost of a model, layer by layer: multiply-accumulates, parameters, memory."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from asc_tf.core.text_table import align_columns


@dataclass(frozen=True)
class LayerCost:
    """Cost of a layer for one segment.

    `shape` is that of its output without the batch. `parameters` counts all of them,
    trained or not, and `macs` the multiply-accumulates.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int

    @property
    def activations(self) -> int:
        """Values in its output, each one byte as int8 and four as float32."""
        return math.prod(self.shape)


def list_directions(layer: Any) -> list[Any]:
    """List the two layers of a `Bidirectional`; of any other layer the layer itself."""
    if type(layer).__name__ == "Bidirectional":
        return [layer.forward_layer, layer.backward_layer]
    return [layer]


def compute_costs(model: Any) -> list[LayerCost]:
    """Compute the cost of each layer, also of models inside the model.

    Additions, activations and batch norms count no multiply-accumulates (a batch norm
    folds into its convolution when the model is exported), nor does a front-end.
    """
    costs: list[LayerCost] = []
    for layer in model.layers:
        kind = type(layer).__name__
        if hasattr(layer, "layers"):
            costs += compute_costs(layer)
        elif kind != "InputLayer":
            shape = tuple(layer.output.shape)[1:]
            count = MACS.get(kind, lambda layer, shape: 0)(layer, shape)
            costs.append(
                LayerCost(layer.name, kind, shape, layer.count_params(), count)
            )
    return costs


def count_macs(model: Any) -> int:
    """Count the multiply-accumulates for one segment, the sum over `compute_costs`."""
    return sum(cost.macs for cost in compute_costs(model))


def _count_dense(layer: Any, shape: tuple[int, ...]) -> int:
    """Count for a dense layer or a convolution: inputs of the kernel per output."""
    return math.prod(shape) * math.prod(layer.kernel.shape[:-1])


def _count_depthwise(layer: Any, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * math.prod(layer.kernel_size)


def _count_separable(layer: Any, shape: tuple[int, ...]) -> int:
    kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    return math.prod(shape[:-1]) * sum(math.prod(kernel.shape) for kernel in kernels)


def _count_recurrent(layer: Any, shape: tuple[int, ...]) -> int:
    """Count for a recurrent layer: the gates of each step, from input and state."""
    cells = [direction.cell for direction in list_directions(layer)]
    kernels = [k for cell in cells for k in (cell.kernel, cell.recurrent_kernel)]
    return tuple(layer.input.shape)[1] * sum(math.prod(k.shape) for k in kernels)


MACS: dict[str, Callable[[Any, tuple[int, ...]], int]] = {
    "Conv1D": _count_dense,
    "Conv2D": _count_dense,
    "Dense": _count_dense,
    "DepthwiseConv2D": _count_depthwise,
    "SeparableConv2D": _count_separable,
    "GRU": _count_recurrent,
    "LSTM": _count_recurrent,
    "Bidirectional": _count_recurrent,
}


def format_table(costs: Sequence[LayerCost]) -> str:
    """Write a line per layer, and the totals; of memory the largest output counts."""
    largest = max(cost.activations for cost in costs)
    heads = ("layer", "type", "output", "parameters", "MACs", "kB float32", "kB int8")
    rows: list[tuple[str, ...]] = [heads]
    for cost in costs:
        shape = " x ".join(map(str, cost.shape))
        numbers = _format_numbers(cost.parameters, cost.macs, cost.activations)
        rows.append((cost.name, cost.kind, shape, *numbers))
    totals = sum(cost.parameters for cost in costs), sum(cost.macs for cost in costs)
    rows.append(("total; largest output", "", "", *_format_numbers(*totals, largest)))
    return align_columns(rows, right=range(3, len(heads)))


def _format_numbers(parameters: int, macs: int, activations: int) -> tuple[str, ...]:
    sizes = (4 * activations / 1000, activations / 1000)
    return (f"{parameters:,}", f"{macs:,}", *(f"{size:.1f}" for size in sizes))
