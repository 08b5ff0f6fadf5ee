"""leaderboard.html: the points of a sweep, the best first."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from asc_tf.config.options import format_value
from asc_tf.report import html
from asc_tf.report.headline import SCORE_NAMES
from asc_tf.report.study_figures import draw_values


def write_sweep_page(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write leaderboard.html and its figure; return its path.

    `content` is the content of leaderboard.json; see `asc_tf.studies.sweep`.
    """
    rows: Sequence[Mapping[str, Any]] = content["points"]
    keys: Sequence[str] = content["keys"]
    rank_by = content["rank_by"]
    points = [{**row["values"], "score": row[rank_by]} for row in rows]
    score = f"validation {SCORE_NAMES[rank_by]}"
    draw = partial(draw_values, points, keys, score)
    return html.write_page(
        folder / "leaderboard.html",
        "sweep.html",
        {"leaderboard.png": draw} if rows else {},
        page="sweep",
        title=f"Sweep: {name}",
        content=content,
        leaky=_name_leaky(rows),
        rank_by=SCORE_NAMES[rank_by],
        rows=[
            {**row, "shown": [format_value(row["values"][k], ", ") for k in keys]}
            for row in rows
        ],
        facts_shown={
            "corpus": content["corpus"],
            "model": content["model"],
            "n_points": len(rows),
        },
    )


def _name_leaky(rows: Sequence[Mapping[str, Any]]) -> str:
    """Name the leaky points, if there are others; ends with a colon and a space."""
    names = [row["point"] for row in rows if row["leaky"]]
    return f"{', '.join(names)}: " if len(names) < len(rows) else ""
