"""Sweep: one run for each point of a search space, ranked by the validation split.

The test split is not opened: choosing settings by it would make its scores too good.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asc_tf import datasets
from asc_tf.config import Config
from asc_tf.config.checks import check_training
from asc_tf.config.options import Value, format_value
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import write_csv, write_json
from asc_tf.report.history import read_history
from asc_tf.report.sweep_page import write_sweep_page
from asc_tf.studies.folder import (
    FILE,
    check_folder,
    check_same_settings,
    lock_study,
    select_settings,
)
from asc_tf.studies.hparams import write_experiment, write_session
from asc_tf.studies.runner import StudyRun, run_all
from asc_tf.studies.search_space import Point, name_point
from asc_tf.studies.worker import SCORES
from asc_tf.workdir import Workdir

RANKINGS = {"accuracy": 1, "macro_accuracy": 1, "log_loss": -1}
"""Scores that can rank the points: 1 where more is better, -1 where less is."""


def sweep(
    base: Config,
    points: Sequence[Point],
    root: Path,
    *,
    jobs: int = 1,
    rank_by: str = "accuracy",
) -> tuple[dict[str, Any], dict[str, str]]:
    """Train a run for each point, and rank all points of the folder.

    Finished runs are kept, so that more values extend an earlier call, and a call that
    was killed continues.

    Args:
        base: Configuration of all points.
        points: Values by key; all points have the same keys.
        root: Folder of the study; each point is a run folder in it.
        jobs: Largest number of runs at a time.
        rank_by: Validation score that ranks the points, one of `RANKINGS`.

    Returns:
        Content of leaderboard.json, beside which lies leaderboard.html; and reasons of
        failed runs by name.

    Raises:
        UsageError: If a point is refused or has no validation split, or the folder
            holds something else.
        UserError: If the corpus is refused, or another process works in the folder.
    """
    points = _order_keys(root, points)
    runs = [_make_run(root, base, point) for point in points]
    for dataset in dict.fromkeys(run.config.dataset for run in runs):
        if not dataset.features:
            datasets.load(dataset)
    with lock_study(root, "sweep"):
        planned = _record(root, base, points)
        failures = run_all(
            runs,
            jobs=jobs,
            score="validation",
            siblings=[run.workdir.path for run in runs],
        )
        rows = [_make_row(root, base, point) for point in planned]
        content = _rank(rows, base, list(points[0]), rank_by)
        _write_tensorboard(root, content)
        _write_leaderboard(root, content)
    return content, failures


def _order_keys(root: Path, points: Sequence[Point]) -> list[Point]:
    """Put the keys of points in the order of an earlier call, as in its points' names.

    Raises:
        UsageError: If the folder holds something else than a sweep of these keys.
        UserError: If study.json is damaged.
    """
    keys = list(points[0])
    if (content := check_folder(root, "sweep")) is None:
        return list(points)
    if not {"keys", "base"} <= content.keys():
        raise UserError(f"{root / FILE}: cannot be read (no keys or base); restore it")
    if sorted(content["keys"]) != sorted(keys):
        raise UsageError(
            f"--workdir={root}: holds a sweep of {', '.join(content['keys'])}, and "
            f"this one is of {', '.join(keys)}; name a new folder"
        )
    return [{key: point[key] for key in content["keys"]} for point in points]


def _make_run(root: Path, base: Config, point: Point) -> StudyRun:
    name = name_point(point)
    try:
        config = base.replace(point)
        check_training(config)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    if "validation" not in config.dataset.training_splits:
        raise UsageError(
            f"{name}: dataset.validation = none: a sweep is judged by the validation "
            "split; use dataset.validation = split"
        )
    return StudyRun(name, Workdir(root / name), config)


def _record(root: Path, base: Config, points: Sequence[Point]) -> list[Point]:
    """Write study.json, or check that the folder has the same base.

    Returns:
        All points of the folder, those of earlier calls first.

    Raises:
        UsageError: If the folder has another base.
    """
    keys = list(points[0])
    settings = select_settings(base, tuple(keys))
    new = {"command": "sweep", "keys": keys, "base": settings, "points": {}}
    # Read again, under the lock.
    content: dict[str, Any] = check_folder(root, "sweep") or new
    check_same_settings(root, "", content["base"], settings)
    content["points"] |= {name_point(point): point for point in points}
    write_json(root / FILE, content)
    flats = [base.replace(values).flat() for values in content["points"].values()]
    return [{key: flat[key] for key in content["keys"]} for flat in flats]


def _make_row(root: Path, base: Config, point: Point) -> dict[str, Any]:
    """Make the row of a point; the scores of an unfinished one are None."""
    name = name_point(point)
    workdir = Workdir(root / name)
    run = StudyRun(name, workdir, base.replace(point))
    result = run.read_result("validation") or {}
    scores = result.get("scores") or {}
    curves = {}
    if result and workdir.history_file.is_file():
        curves = read_history(workdir.history_file)
    return {
        "point": name,
        "values": point,
        **{score: scores.get(score) for score in SCORES},
        "n_clips": scores.get("n_clips"),
        "epoch": scores.get("epoch"),
        "epochs": len(curves.get("epoch", ())) or None,
        "leaky": run.is_leaky,
    }


def _rank(
    rows: Sequence[dict[str, Any]], base: Config, keys: Sequence[str], rank_by: str
) -> dict[str, Any]:
    """Make the content of leaderboard.json: finished points, the best first."""
    sign = RANKINGS[rank_by]
    finished = [row for row in rows if row["accuracy"] is not None]

    def order(row: dict[str, Any]) -> tuple[float, float, str]:
        # Equal accuracies are frequent: the lower loss goes first.
        return -sign * row[rank_by], row["log_loss"], row["point"]

    ranked = [
        {"rank": rank, **row} for rank, row in enumerate(sorted(finished, key=order), 1)
    ]
    return {
        "split": "validation",
        "rank_by": rank_by,
        "keys": list(keys),
        "corpus": base.dataset.name,
        "model": base.model.name,
        "points": ranked,
        "missing": [row["point"] for row in rows if row["accuracy"] is None],
        "leaky": any(row["leaky"] for row in ranked),
    }


def _write_tensorboard(root: Path, content: dict[str, Any]) -> None:
    """Write the event files of TensorBoard's HParams tab."""
    rows = content["points"]
    if not rows:
        return
    values: dict[str, list[Value]] = {
        key: [row["values"][key] for row in rows] for key in content["keys"]
    }
    write_experiment(root / "tensorboard", values, SCORES)
    for row in rows:
        folder = root / row["point"] / "tensorboard"
        scores = {name: row[name] for name in SCORES}
        write_session(folder, row["point"], row["values"], scores)


def _write_leaderboard(root: Path, content: dict[str, Any]) -> None:
    """Write leaderboard.csv, leaderboard.html and leaderboard.json."""
    write_sweep_page(root, root.resolve().name, content)
    own = ("rank", "point", *SCORES, "n_clips", "epoch", "epochs", "leaky")
    rows = [
        {name: row[name] for name in own}
        | {key: format_value(value) for key, value in row["values"].items()}
        for row in content["points"]
    ]
    write_csv(root / "leaderboard.csv", [*own, *content["keys"]], rows)
    write_json(root / "leaderboard.json", content)
