"""Figure of the error of each layer of a quantized file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asc_tf.report.canvas import (
    LIGHT,
    PAGE,
    Theme,
    new_figure,
    shorten,
    style_axes,
    to_png,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_LOSS_DB = 1.0
"""Loss below which a layer counts as one that loses nothing."""

MAX_NAME_LENGTH = 30

MAX_ROWS = 60
"""Largest number of layers that are drawn; of more, those that lose most."""


def find_worst(layers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Find the layer that loses most; None if none loses 1 dB.

    Args:
        layers: `layers` of a row of export.json, with `loss_db`.
    """
    worst = max(layers, key=lambda row: row["loss_db"], default=None)
    return worst if worst and worst["loss_db"] >= MIN_LOSS_DB else None


def draw_layers(layers: Sequence[Mapping[str, Any]]) -> str:
    """Draw the signal-to-noise ratio after each layer, and what each layer loses.

    Args:
        layers: `layers` of a row of export.json: `name`, `sqnr_db` and `loss_db` of
            each operation in the order of the graph, one or more. The one that loses
            most has the second colour.

    Returns:
        An `svg` element.
    """
    return to_svg(_make_figure(layers, PAGE), "layers")


def draw_layers_png(
    layers: Sequence[Mapping[str, Any]], *, theme: Theme = LIGHT
) -> bytes:
    """Draw what `draw_layers` draws as a PNG file."""
    return to_png(_make_figure(layers, theme))


def _make_figure(layers: Sequence[Mapping[str, Any]], theme: Theme) -> Figure:
    rows = _choose_rows(layers)
    figure = new_figure(8.4, 1.1 + 0.21 * len(rows), theme)
    ratios, losses = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    worst = find_worst(rows)
    colours = [theme.second if row is worst else theme.first for row in rows]
    for axes, key, title in (
        (ratios, "sqnr_db", "signal to quantization noise after the layer"),
        (losses, "loss_db", "lost in the layer"),
    ):
        _draw_bars(axes, [row[key] for row in rows], colours, title, theme)
    names = [shorten(row["name"], MAX_NAME_LENGTH) for row in rows]
    ratios.set_yticks(range(len(rows)), names, fontsize=8, parse_math=False)
    ratios.set_ylim(len(rows) - 0.4, -0.6)
    for tick, row in zip(ratios.get_yticklabels(), rows, strict=True):
        if row is worst:
            tick.set_fontweight("bold")
    return figure


def _choose_rows(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Choose the layers to draw, in the order of the graph."""
    order = sorted(range(len(layers)), key=lambda place: -layers[place]["loss_db"])
    return [layers[place] for place in sorted(order[:MAX_ROWS])]


def _draw_bars(
    axes: Axes,
    values: Sequence[float],
    colours: Sequence[str],
    title: str,
    theme: Theme,
) -> None:
    """Draw horizontal bars with their values behind them."""
    style_axes(axes, theme, title, grid="x")
    axes.barh(range(len(values)), values, height=0.7, color=list(colours))
    low, high = min(*values, 0.0), max(*values, 1.0)
    gap = 0.01 * (high - low)
    for place, value in enumerate(values):
        axes.text(
            max(value, 0.0) + gap,
            place,
            f"{value:.1f}",
            va="center",
            fontsize=7.5,
            color=theme.muted,
        )
    axes.set(xlim=(low, high + 12 * gap), xlabel="dB")
    axes.spines["bottom"].set_visible(False)
