"""Colours of a figure, and the matplotlib canvases that it is drawn on.

The object interface on an Agg canvas needs no display and leaves a caller's own pyplot
figures alone.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Two pixels of the PNG for each pixel of the page: sharp on phones and on paper.
CSS_PIXELS_PER_INCH = 96
DPI = 2 * CSS_PIXELS_PER_INCH


@dataclass(frozen=True)
class Theme:
    """Colours of a figure.

    Attributes:
        surface: Background.
        text: Text.
        muted: Text that matters less.
        grid: Lines of the grid.
        first: Colour of the first series, of Okabe and Ito (2008): distinct from
            `second` under the common colour vision deficiencies.
        second: Colour of the second series.
        low: Lower end of the colour scale of a matrix.
        high: Upper end of that scale, of the same hue.
        text_on_high: Text on colours of the scale from `turn` on.
        turn: Share of the scale, in [0, 1].
    """

    surface: str
    text: str
    muted: str
    grid: str
    first: str
    second: str
    low: str
    high: str
    text_on_high: str
    turn: float


LIGHT = Theme(
    surface="#ffffff",
    text="#1f2933",
    muted="#616e7c",
    grid="#e4e7eb",
    first="#0072b2",
    second="#e69f00",
    low="#f5f8fb",
    high="#0b4f82",
    text_on_high="#ffffff",
    turn=0.66,
)
DARK = Theme(
    surface="#1b2027",
    text="#e4e7eb",
    muted="#9aa5b1",
    grid="#323a45",
    first="#56b4e9",
    second="#e69f00",
    low="#222932",
    high="#8fd0f7",
    text_on_high="#10151b",
    turn=0.47,
)

# matplotlib wants colours, a page has variables: each stands for the variable of its
# name until the figure is written.
PAGE = Theme(
    surface="none",
    text="#010203",
    muted="#010204",
    grid="#010205",
    first="#010206",
    second="#010207",
    low="#010208",
    high="#010209",
    text_on_high="#01020a",
    turn=0.66,
)
PAGE_COLOURS = {
    str(getattr(PAGE, item.name)): f"var(--figure-{item.name.replace('_', '-')})"
    for item in fields(PAGE)
    if str(getattr(PAGE, item.name)).startswith("#")
}


def new_figure(
    width: float,
    height: float,
    theme: Theme,
    *,
    layout: Literal["constrained"] | None = "constrained",
) -> Figure:
    """Make a figure of `width` times `height` inches."""
    from matplotlib.figure import Figure

    return Figure(
        figsize=(width, height), dpi=DPI, layout=layout, facecolor=theme.surface
    )


def style_axes(
    axes: Axes,
    theme: Theme,
    title: str = "",
    *,
    grid: Literal["both", "x"] | None = None,
) -> None:
    """Give axes the colours of the theme, and no more lines than they need."""
    axes.set_facecolor(theme.surface)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.grid)
    axes.tick_params(which="both", length=0, labelcolor=theme.text, labelsize=9)
    axes.xaxis.label.set(fontsize=9, color=theme.muted)
    axes.yaxis.label.set(fontsize=9, color=theme.muted)
    if grid:
        axes.grid(axis=grid, color=theme.grid, linewidth=0.8)
    axes.set_title(
        title, fontsize=10, color=theme.text, loc="left", pad=8, parse_math=False
    )


def add_legend_below(figure: Figure, theme: Theme, handles: Any, names: Any) -> None:
    """Write a legend of three columns below the panels of a figure."""
    legend = figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8.5,
        labelcolor=theme.text,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def shorten(text: str, length: int) -> str:
    """Cut a text to a number of characters; the last one is then an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def to_png(figure: Figure) -> bytes:
    """Encode the figure, cut to what is drawn, as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A script that the font lacks shows as boxes; the page's tables have the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        FigureCanvasAgg(figure).print_figure(
            buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.08
        )
    return buffer.getvalue()


def to_svg(figure: Figure, name: str) -> str:
    """Encode a figure that is drawn in the colours of `PAGE` as an `svg` element.

    The page's style sheet gives the colours and the font, so that one figure serves the
    light page, the dark page and print.

    Args:
        figure: The figure; its texts are not those of users.
        name: Name of the figure, unique in its page.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_figure(
            buffer,
            format="svg",
            bbox_inches="tight",
            pad_inches=0.04,
            metadata=no_metadata,
        )
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<style.*?</style>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"font-family: [^;\"]*;?", "", drawn)
    drawn = re.sub(r"<!--.*?-->\s*", "", drawn, flags=re.DOTALL)
    # Only the ids that are referred to are unique; they are hashes.
    drawn = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", drawn)
    drawn = re.sub(r"\s*\n\s*", " ", drawn)
    return re.sub(r"#0102[0-9a-f]{2}", lambda match: PAGE_COLOURS[match[0]], drawn)
