"""Budgets of size and multiply-accumulates, checked before a model is trained.

The size of an int8 file is estimated: converting takes a trained model and a minute.
The rule: a byte per weight, then `CHANNEL` and `LAYER` for scales, biases and the
description of the graph, the front-end, and the metadata. It was fitted to files of
every family, 29 to 301 kB, with front-ends of 40 to 128 bands, and is within 2 kB of
each.
"""

import math
from typing import Any

from asc_tf.config import Frontend, Model
from asc_tf.core.errors import UserError
from asc_tf.models.cost import (
    compute_costs,
    count_macs,
    format_table,
    list_directions,
)

CHANNEL = 13
"""Bytes per output channel of a layer with weights: bias, scales."""
LAYER = 210
"""Bytes per layer that is an operation of its own (batch norms and ReLU fold)."""
LOOP = 20 * LAYER
"""Bytes per direction of a recurrent layer."""
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
FOLDED = ("BatchNormalization", "Dropout", "InputLayer", "Normalization", "ReLU")
MEL_BLOCKS = 16
"""Blocks of the mel matrix of the front-end in LiteRT."""
METADATA = 2_000
"""Bytes of the metadata behind the model, compressed."""


def estimate_frontend_kb(settings: Frontend, shape: tuple[int, ...]) -> float:
    """Estimate the size of front-end and metadata in a .tflite, kB of 1000 bytes.

    Args:
        settings: The front-end settings.
        shape: Shape of its features, `[frames, bands]` or with channels behind.
    """
    size = METADATA + 4_900 + 4 * settings.n_fft
    if settings.kind != "linear":
        width = settings.n_mels / MEL_BLOCKS
        # Blocks overlap by a band's width.
        size += 6_300 + round(1.08 * 4 * (settings.n_fft // 2 + 1) * width)
    if settings.kind == "linear" and settings.frequency_axis == "logarithmic":
        size += 2 * settings.n_fft  # the bin of each row
    if settings.kind == "mfcc":
        size += 4 * settings.n_mels * settings.n_mfcc
    if settings.kind == "pcen":
        size += 5_800
    if settings.standardize == "per_position":
        size += 8 * math.prod(shape)
    return size / 1000


def estimate_body_kb(body: Any) -> float:
    """Estimate the size of a model without front-end as int8, kB of 1000 bytes."""
    size = 0
    for layer in body.layers:
        kind = type(layer).__name__
        size += 0 if kind in FOLDED else LAYER
        directions = [each for each in list_directions(layer) if hasattr(each, "cell")]
        for direction in directions:
            size += LOOP + CHANNEL * direction.cell.kernel.shape[-1]
            size += direction.count_params()
        if directions:
            # A loop writes its steps into zeros that the file holds.
            size += 4 * directions[0].units * tuple(layer.input.shape)[1]
        elif kernels := [getattr(layer, k) for k in KERNELS if hasattr(layer, k)]:
            size += sum(math.prod(kernel.shape) for kernel in kernels)
            size += CHANNEL * tuple(layer.output.shape)[-1]
    return size / 1000


def summarize(body: Any, frontend: Frontend) -> str:
    """Write parameters, MACs and estimated size in a line."""
    ahead = estimate_frontend_kb(frontend, tuple(body.inputs[0].shape)[1:])
    whole, millions = estimate_body_kb(body) + ahead, count_macs(body) / 1e6
    return (
        f"{body.count_params():,} parameters, {millions:.2f} million MACs a segment, "
        f"about {whole:.0f} kB as int8 .tflite ({ahead:.0f} kB of it the front-end)"
    )


def list_over_budget(body: Any, settings: Model, frontend: Frontend) -> list[str]:
    """List the exceeded budgets with the values of the model; see `check_budget`."""
    shape = tuple(body.inputs[0].shape)[1:]
    costs = {
        "budget_kb": estimate_body_kb(body) + estimate_frontend_kb(frontend, shape),
        "budget_mmacs": count_macs(body) / 1e6,
    }
    limits = {name: getattr(settings, name) for name in costs}
    return [
        f"model.{name} = {limits[name]:g}: {body.name} takes about {value:.1f}"
        for name, value in costs.items()
        if 0 < limits[name] < value
    ]


def check_budget(body: Any, settings: Model, frontend: Frontend) -> None:
    """Refuse a model that exceeds its budget.

    Args:
        body: The model, from `asc_tf.models.build`.
        settings: Model settings: `budget_kb` of the int8 file with the front-end, as
            estimated, and `budget_mmacs` of the body for one segment; 0: no budget.
        frontend: The front-end settings.

    Raises:
        UserError: With the table of its layers.
    """
    if exceeded := list_over_budget(body, settings, frontend):
        table = format_table(compute_costs(body))
        raise UserError(
            f"{'; '.join(exceeded)}; use smaller model.filters, or shorter segments "
            f"for fewer MACs\n{table}\n{summarize(body, frontend)}"
        )
