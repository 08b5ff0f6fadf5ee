"""leaderboard.html: the points of a sweep, the best first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asc_tf.core.files import write_atomically, write_text
from asc_tf.report import html
from asc_tf.report.canvas import DARK, LIGHT
from asc_tf.report.headline import SCORE_NAMES
from asc_tf.report.study_figures import draw_values

FIGURE = "leaderboard.png"


def write_sweep_page(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write leaderboard.html and its figure.

    Args:
        folder: Folder to write to.
        name: Name of the sweep.
        content: Content of leaderboard.json; see `asc_tf.studies.sweep`.

    Returns:
        Path of leaderboard.html.
    """
    rows: Sequence[Mapping[str, Any]] = content["points"]
    light: dict[str, bytes] = {}
    dark: dict[str, bytes] = {}
    if rows:
        rank_by = content["rank_by"]
        score = f"validation {SCORE_NAMES[rank_by]}"
        points = [{**row["values"], "score": row[rank_by]} for row in rows]
        for drawn, theme in ((light, LIGHT), (dark, DARK)):
            drawn[FIGURE] = draw_values(points, content["keys"], score, theme=theme)
        with write_atomically(folder / FIGURE) as temporary:
            temporary.write_bytes(light[FIGURE])
    page = html.render(
        "sweep.html",
        page="sweep",
        title=f"Sweep: {name}",
        content=content,
        leaky=_name_leaky(rows),
        rank_by=SCORE_NAMES[content["rank_by"]],
        rows=[
            {**row, "shown": [_show(row["values"][key]) for key in content["keys"]]}
            for row in rows
        ],
        facts_shown={
            "corpus": content["corpus"],
            "model": content["model"],
            "n_points": len(rows),
        },
        light=light,
        dark=dark,
    )
    write_text(folder / "leaderboard.html", page)
    return folder / "leaderboard.html"


def _name_leaky(rows: Sequence[Mapping[str, Any]]) -> str:
    """Name the leaky points, if there are others; ends with a colon and a space."""
    names = [row["point"] for row in rows if row["leaky"]]
    return f"{', '.join(names)}: " if len(names) < len(rows) else ""


def _show(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
