"""Transfer of weights: an earlier run as the start of a new one."""

import fnmatch
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from asc_tf.config import suggest
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.text_table import align_columns
from asc_tf.models.blocks import HEAD

MAX_NAMED = 8
"""Layers that a refusal names at most."""


def get_body(whole: keras.Model) -> keras.Model:
    """Get the model from features to probabilities inside one that takes waveforms."""
    return next(layer for layer in whole.layers if isinstance(layer, keras.Model))


def initialize(
    body: Any, earlier: Any, freeze: Sequence[str] = (), *, keep_head: bool = False
) -> None:
    """Give a new model the weights of an earlier one, its last layer excepted.

    The two have the same family and settings; the labels may be others. Call it before
    the model is compiled.

    Args:
        body: The new model, from `asc_tf.models.build`.
        earlier: The model of the earlier run, without front-end, from `get_body`.
        freeze: Patterns of layers that are not trained; see `freeze_layers`.
        keep_head: Copy the last layer too; the labels are the same.

    Raises:
        UserError: If the two differ, with a table of the first layers that do.
        UsageError: If a pattern matches no layer.
    """
    if body.name != earlier.name:
        raise UserError(
            f"model.init_from: its model is {earlier.name}, and this one is "
            f"{body.name}; set model.name = {earlier.name}"
        )
    new, old = _list_shapes(body), _list_shapes(earlier)
    differing = [
        name for name in dict.fromkeys((*new, *old)) if new.get(name) != old.get(name)
    ]
    if differing:
        raise UserError(
            f"model.init_from: {len(differing)} layers differ from those of this "
            f"{body.name}; use the settings and the segment of that run\n"
            + _format_table(differing, new, old)
        )
    for name in (*new, HEAD) if keep_head else new:
        body.get_layer(name).set_weights(earlier.get_layer(name).get_weights())
    freeze_layers(body, freeze)


def freeze_layers(body: Any, patterns: Sequence[str]) -> None:
    """Exclude layers from training; batch norms among them keep their statistics.

    Args:
        body: The model, from `asc_tf.models.build`.
        patterns: Patterns as for file names, `block1*` or `stage?_conv1`, of layers
            with weights. They never match the last layer, which is new.

    Raises:
        UsageError: If a pattern matches no layer.
    """
    names = list(_list_shapes(body))
    for pattern in patterns:
        chosen = fnmatch.filter(names, pattern)
        if not chosen:
            raise UsageError(
                f"model.freeze: {pattern} matches no layer of {body.name}"
                f"{suggest(pattern, names)} (asc-tf models info {body.name} "
                "--config=... lists them)"
            )
        for name in chosen:
            body.get_layer(name).trainable = False


def check_resumable(body: Any, path: Path) -> None:
    """Refuse to resume a run whose network has other layers than are built now.

    A checkpoint has weights, but no layers: weights of another network would be loaded
    where their shapes happen to be the same.

    Args:
        body: The model, from `asc_tf.models.build`.
        path: The run's `model.keras`; where it is missing, nothing is refused.

    Raises:
        UserError: Naming the first layers that differ.
    """
    there, here = _read_layers(path), [layer.name for layer in body.layers]
    differing = [name for name in (*there, *here) if (name in there) != (name in here)]
    if there and differing:
        raise UserError(
            f"{path}: this run's {body.name} was built by another version of asc_tf "
            f"(layers that differ: {', '.join(differing[:MAX_NAMED])}). It can be "
            "evaluated and exported, but not trained further; train in a new folder"
        )


def _read_layers(path: Path) -> list[str]:
    """Read the names of the body's layers in a `model.keras`; none if that fails."""
    try:
        with zipfile.ZipFile(path) as archive:
            whole = json.loads(archive.read("config.json"))["config"]
        inner = (layer["config"] for layer in whole["layers"])
        bodies = [config["layers"] for config in inner if "layers" in config]
        return [layer["config"]["name"] for body in bodies for layer in body]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return []


Shapes = dict[str, list[tuple[int, ...]]]


def _list_shapes(body: Any) -> Shapes:
    """List the shapes of the weights of each layer that has any, except the last."""
    return {
        layer.name: [tuple(weight.shape) for weight in layer.weights]
        for layer in body.layers
        if layer.weights and layer.name != HEAD
    }


def _format_table(names: Sequence[str], new: Shapes, old: Shapes) -> str:
    rows = [("layer", "there", "here")]
    for name in names[:MAX_NAMED]:
        rows.append((name, _format_shape(old.get(name)), _format_shape(new.get(name))))
    if len(names) > MAX_NAMED:
        rows.append((f"and {len(names) - MAX_NAMED} more", "", ""))
    return align_columns(rows, right=())


def _format_shape(shapes: list[tuple[int, ...]] | None) -> str:
    """Write the shape of the largest of a layer's weights, `3x3x1x24`."""
    if shapes is None:
        return "none"
    largest: tuple[int, ...] = max(shapes, key=len)
    return "x".join(map(str, largest))
