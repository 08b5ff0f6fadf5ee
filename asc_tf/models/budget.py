"""Whether a model stays within a budget, before it is trained.

The size of an int8 file is estimated: converting takes a trained model and a minute.
The rule: a byte per weight, then `CHANNEL` and `LAYER` for scales, biases and the
description of the graph, and the front-end. It was fitted to files of every family,
33 kB to 6 MB, with front-ends of 40 to 128 bands, and is within 6 kB of each (of a
backbone of ImageNet within 2 %). TensorFlow 2.21 writes longer names of tensors into
the file than 2.17: up to 8 kB more for 100 kB.
"""

import math
from typing import Any

from asc_tf.config import Frontend, Model
from asc_tf.core.errors import UserError
from asc_tf.models.cost import layer_costs, macs, table

CHANNEL = 25
"""Bytes per output channel of a layer with weights."""
LAYER = 680
"""Bytes per layer that is an operation of its own (batch norms and ReLU fold)."""
LOOP = 9 * LAYER
"""Bytes per direction of a recurrent layer."""
FOLDED = ("BatchNormalization", "Dropout", "InputLayer", "Normalization", "ReLU")
MEL_BLOCKS = 16
"""Of the front-end in LiteRT."""


def frontend_kb(settings: Frontend, shape: tuple[int, ...]) -> float:
    """Estimated size of the front-end in a .tflite, kB of 1000 bytes.

    Args:
        settings: The front-end settings.
        shape: Of its features, `[frames, bands]` or with channels behind.
    """
    size = 10_000 + 4 * settings.n_fft
    if settings.kind != "linear":
        widest = math.ceil(settings.n_mels / MEL_BLOCKS)
        # Blocks overlap by a band's width.
        size += 4_700 + round(1.19 * 4 * (settings.n_fft // 2 + 1) * widest)
    if settings.kind == "linear" and settings.frequency_axis == "logarithmic":
        size += 2 * settings.n_fft  # the bin of each row
    if settings.kind == "mfcc":
        size += 4 * settings.n_mels * settings.n_mfcc
    if settings.kind == "pcen":
        size += 10_000
    if settings.standardize == "per_position":
        size += 8 * math.prod(shape)
    return size / 1000


def body_kb(body: Any) -> float:
    """Estimated size of a model without front-end as int8, kB of 1000 bytes."""
    size = 0
    for layer in body.layers:
        kind = type(layer).__name__
        size += 0 if kind in FOLDED else LAYER
        ways = [layer] if hasattr(layer, "cell") else []
        if kind == "Bidirectional":
            ways = [layer.forward_layer, layer.backward_layer]
        for way in ways:
            size += LOOP + CHANNEL * way.cell.kernel.shape[-1]
            size += way.count_params()
        if ways:
            # The zeros that a loop writes its steps into.
            size += 4 * ways[0].units * tuple(layer.input.shape)[1]
        elif hasattr(layer, "kernel"):
            size += math.prod(layer.kernel.shape)
            size += CHANNEL * tuple(layer.output.shape)[-1]
    return size / 1000


def summary(body: Any, frontend: Frontend) -> str:
    """Parameters, MACs and estimated size in a line."""
    ahead = frontend_kb(frontend, tuple(body.inputs[0].shape)[1:])
    return (
        f"{body.count_params():,} parameters, {macs(body) / 1e6:.2f} million MACs a "
        f"segment, about {body_kb(body) + ahead:.0f} kB as int8 .tflite ({ahead:.0f} "
        "kB of it the front-end)"
    )


def over_budget(body: Any, settings: Model, frontend: Frontend) -> list[str]:
    """Which budgets a model is over, and what it takes; see `check_budget`."""
    shape = tuple(body.inputs[0].shape)[1:]
    found = {
        "budget_kb": body_kb(body) + frontend_kb(frontend, shape),
        "budget_mmacs": macs(body) / 1e6,
    }
    limits = {name: getattr(settings, name) for name in found}
    return [
        f"model.{name} = {limits[name]:g}: {body.name} takes about {value:.1f}"
        for name, value in found.items()
        if 0 < limits[name] < value
    ]


def check_budget(body: Any, settings: Model, frontend: Frontend) -> None:
    """Refuse a model that is over its budget.

    Args:
        body: The model, from `asc_tf.models.build`.
        settings: `budget_kb` (of the int8 file with the front-end, as estimated) and
            `budget_mmacs` (of the body, for one segment); 0: no budget.
        frontend: The front-end settings.

    Raises:
        UserError: With the table of its layers.
    """
    if over := over_budget(body, settings, frontend):
        raise UserError(
            f"{'; '.join(over)}; use smaller model.filters, or shorter segments for "
            f"fewer MACs\n{table(layer_costs(body))}\n{summary(body, frontend)}"
        )
