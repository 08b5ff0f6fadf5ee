"""asc-tf sweep: train runs of a grid or of random values, and rank them."""

import dataclasses
import shlex
import sys
from typing import Any

from absl import flags

from asc_tf import config as configuration
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes, read_new_path
from asc_tf.commands.study_from_flags import define_study_flags, resolve_study
from asc_tf.core.errors import UsageError
from asc_tf.core.text_table import align_columns
from asc_tf.studies.search_space import (
    Point,
    draw_points,
    make_grid,
    parse_assignments,
    parse_distribution,
    parse_values,
)
from asc_tf.studies.study_file import Study
from asc_tf.studies.sweep import RANKINGS, sweep

USAGE = """
Train a run for each point of a grid, or for points drawn at random, and rank them by
the validation split. The test split is not opened.

  asc-tf sweep CONFIG --workdir=W --grid=KEY=VALUES [--grid=...] [--flag=value]
  asc-tf sweep CONFIG --workdir=W --random=KEY=RANGE [--random=...] --trials=20

  asc-tf sweep esc10_small --dataset.dir=ESC-50 --workdir=runs/grid \\
    --grid=train.learning_rate=0.001,0.003,0.01 --grid=train.batch_size=8,16
  asc-tf sweep esc10_small --dataset.dir=ESC-50 --workdir=runs/drawn \\
    --random=train.learning_rate=log:1e-4..1e-1 --trials=20

VALUES are separated by commas; where a value is a list itself, values are separated by
slashes: model.filters=8,16/16,32. RANGE is LOW..HIGH (uniform), log:LOW..HIGH (uniform
in the logarithm), or VALUES, of which one is drawn. CONFIG (or --config=CONFIG) is a
configuration, or a study file with a grid. Each point is a run folder in W, named by
its values, with its output in log.txt. The same command resumes a sweep that was
stopped; more values or trials extend it. tensorboard --logdir=W shows the points in the
HParams tab.
"""

SHOWN = 10
"""Number of points that the terminal shows."""


def _define_flags(values: flags.FlagValues) -> None:
    define_study_flags(values, "sweep")
    flags.DEFINE_multi_string(
        "grid", [], "a key and its values; once for each key", flag_values=values
    )
    flags.DEFINE_multi_string(
        "random", [], "a key and its range; once for each key", flag_values=values
    )
    flags.DEFINE_integer(
        "trials",
        None,
        "number of points to draw with --random",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "draw_seed", 0, "seed of the draws", lower_bound=0, flag_values=values
    )
    flags.DEFINE_enum(
        "rank_by",
        "accuracy",
        [*RANKINGS],
        "the validation score that ranks the points",
        flag_values=values,
    )


def _run(values: flags.FlagValues) -> int:
    study = _read_space(values, resolve_study(values, "sweep"))
    points = _list_points(values, study)
    root = read_new_path(values, "workdir")
    content, failures = sweep(
        study.points[""], points, root, jobs=values.jobs, rank_by=values.rank_by
    )
    if content["points"]:
        print(format_leaderboard(content))
        best = shlex.quote(str(root / content["points"][0]["point"]))
        print(f"\nNext: asc-tf evaluate {best}")
    if content["missing"]:
        print(f"PARTIAL: missing {', '.join(content['missing'])}")
    print(root / "leaderboard.html")
    for name, reason in failures.items():
        print(f"asc-tf sweep: {name} failed: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _read_space(values: flags.FlagValues, study: Study) -> Study:
    """Read --grid and --random, which replace those of a study file."""
    if values.grid and values.random:
        raise UsageError(
            "--grid and --random are both given: give one of them; a value of --random "
            "may be a list of values as well"
        )
    grid, random = study.grid, study.random
    if values.grid:
        given = parse_assignments("grid", values.grid)
        grid, random = {k: parse_values(k, v) for k, v in given.items()}, {}
    elif values.random:
        given = parse_assignments("random", values.random)
        grid, random = {}, {k: parse_distribution(k, v) for k, v in given.items()}
    for key, value in read_changes(values).items():
        if key in grid or key in random:
            raise UsageError(
                f"--{key}={value}: the sweep varies {key}; leave the flag out, or its "
                "values"
            )
    return dataclasses.replace(study, grid=grid, random=random)


def _list_points(values: flags.FlagValues, study: Study) -> list[Point]:
    """List the points of the grid, or draw them."""
    trials = values.trials or study.trials
    if study.random:
        if not trials:
            raise UsageError("--trials is missing (the number of points to draw)")
        return draw_points(study.random, trials, values.draw_seed)
    if not study.grid:
        raise UsageError(
            "nothing to vary: give --grid=KEY=VALUES or --random=KEY=RANGE, for "
            "example --grid=train.learning_rate=0.001,0.01"
        )
    for name in ("trials", "draw_seed"):
        if values[name].present:
            raise UsageError(f"--{name}: has no effect without --random")
    return make_grid(study.grid)


def format_leaderboard(content: dict[str, Any]) -> str:
    """Write the best points as a table."""
    heads = ("rank", "point", "validation accuracy", "log loss", "")
    rows = [
        (
            str(row["rank"]),
            row["point"],
            f"{row['accuracy']:.1%}",
            f"{row['log_loss']:.3f}",
            "LEAKY" if row["leaky"] else "",
        )
        for row in content["points"][:SHOWN]
    ]
    return align_columns([heads, *rows], right=(0, 2, 3))


COMMAND = Command(
    name="sweep",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    word_flags=("config",),
    common=(
        *("dataset.name", "dataset.dir", "train.epochs"),
        *("train.batch_size", "train.learning_rate", "train.seed"),
    ),
    keys=tuple(configuration.FIELDS),
)
