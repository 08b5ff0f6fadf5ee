"""The layer of a quantized file that loses most."""

from collections.abc import Mapping, Sequence
from typing import Any

MIN_LOSS_DB = 1.0
"""Loss in dB below which a layer counts as one that loses nothing."""


def find_worst(layers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Find the layer that loses most; None if none loses 1 dB.

    Args:
        layers: `layers` of a row of export.json, with `loss_db`.
    """
    worst = max(layers, key=lambda row: row["loss_db"], default=None)
    return worst if worst and worst["loss_db"] >= MIN_LOSS_DB else None
