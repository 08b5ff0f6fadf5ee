"""Pictures of training examples with their labels, for TensorBoard."""

from collections.abc import Sequence

import numpy as np

from asc_tf.report.canvas import LIGHT, Theme, new_figure, shorten, style_axes, to_png

COLUMNS = 2
MAX_TITLE_LENGTH = 46
MIN_SHARE = 0.005
"""Smallest share of a label that a title names."""


def describe_target(target: np.ndarray, labels: Sequence[str]) -> str:
    """Name the labels of an example: `hum`, or of a mixture `hum 70 %, hiss 30 %`.

    Args:
        target: Shares of the labels, `[labels]`.
        labels: Class order.
    """
    order = np.argsort(-target, kind="stable")
    named = [index for index in order if target[index] >= MIN_SHARE]
    if len(named) == 1:
        return labels[named[0]]
    return ", ".join(f"{labels[index]} {100 * target[index]:.0f} %" for index in named)


def draw_examples(
    features: np.ndarray, titles: Sequence[str], *, theme: Theme = LIGHT
) -> bytes:
    """Draw examples in two columns, each with its title.

    Args:
        features: float32 `[examples, frames, bands, ...]`; of several channels, the
            first one is shown. Colours reach from the least value of an example to the
            greatest.
        titles: Title of each example.
        theme: Colours.

    Returns:
        A PNG file; time goes to the right, and low bands are at the bottom.
    """
    shown = features.reshape(*features.shape[:3], -1)[..., 0]
    rows = -(-len(shown) // COLUMNS)
    figure = new_figure(8.4, 1.9 * rows, theme)
    for index, (values, title) in enumerate(zip(shown, titles, strict=True)):
        axes = figure.add_subplot(rows, COLUMNS, index + 1)
        style_axes(axes, theme, shorten(title, MAX_TITLE_LENGTH))
        axes.imshow(
            values.T, origin="lower", aspect="auto", cmap="magma", interpolation="none"
        )
        axes.set_xlabel("frame", fontsize=8)
        axes.set_ylabel("band", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.locator_params(integer=True)
    return to_png(figure)
