"""asc-tf crossval: train and evaluate every fold and seed, and pool the reports."""

import sys

from absl import flags

from asc_tf import config as configuration
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes, read_new_path
from asc_tf.commands.study_from_flags import define_study_flags, resolve_study
from asc_tf.core.errors import UsageError
from asc_tf.studies.compare import compare
from asc_tf.studies.crossval import crossval

USAGE = """
Train and evaluate every fold of a corpus, and pool the test clips of all folds in one
report with confidence intervals.

  asc-tf crossval CONFIG --workdir=W [--seeds=3] [--folds=1,3] [--flag=value]

  asc-tf crossval esc10_small --dataset.dir=ESC-50 --workdir=runs/esc10
  asc-tf crossval esa3_strategies --dataset.dir=asc_mini --workdir=runs/esa3

CONFIG (or --config=CONFIG) is a configuration, or a study file with several named
points, which are then compared (W/compare). Each run is a run folder in W, like
W/fold1_seed0, with its output in log.txt. The same command resumes a study that was
stopped; more folds or seeds extend it. Folders and tables without folds get them with
--dataset.protocol=grouped_kfold.
"""


def _define_flags(values: flags.FlagValues) -> None:
    define_study_flags(values, "crossval")
    flags.DEFINE_integer(
        "seeds",
        None,
        "number of seeds: train.seed, train.seed + 1, ... (default: that of the study "
        "file, or 1)",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_list(
        "folds", None, "the folds to train; all if it is not given", flag_values=values
    )


def _run(values: flags.FlagValues) -> int:
    fold = read_changes(values).get("dataset.fold")
    if fold is not None:
        raise UsageError(
            f"--dataset.fold={fold}: a crossval trains all folds; name the folds to "
            f"train with --folds={fold}"
        )
    study = resolve_study(values, "crossval")
    root = read_new_path(values, "workdir")
    folds = _parse_folds(values.folds) or study.folds
    reports, failures = crossval(
        study.points,
        root,
        folds=folds,
        seeds=values.seeds or study.seeds or 1,
        jobs=values.jobs,
    )
    for name, report in reports.items():
        point = f"{name}: " if name else ""
        low, high = report["intervals"]["accuracy"]
        leaky = " (LEAKY protocol)" if report["protocol"]["leaky"] else ""
        print(
            f"{point}accuracy {report['accuracy']:.1%} "
            f"(95 %: {low:.1%} to {high:.1%}), {len(report['per_run'])} runs, "
            f"{report['n_clips']} clips{leaky}"
        )
        if report["missing"]:
            print(f"{point}PARTIAL: missing {', '.join(report['missing'])}")
        print(root / name / "report" / "report.html")
    if len(reports) > 1:
        _, page = compare([root / name for name in reports], root / "compare")
        print(page)
    for name, reason in failures.items():
        print(f"asc-tf crossval: {name} failed: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _parse_folds(texts: list[str] | None) -> tuple[int, ...] | None:
    if texts is None:
        return None
    try:
        folds = tuple(int(text) for text in texts)
    except ValueError:
        folds = ()
    if not folds or len(set(folds)) < len(folds):
        raise UsageError(
            f"--folds={','.join(texts)}: must be whole numbers, each once, like 1,3"
        )
    return folds


COMMAND = Command(
    name="crossval",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    word_flags=("config",),
    common=(
        *("dataset.name", "dataset.dir", "dataset.protocol", "dataset.folds"),
        *("train.epochs", "train.batch_size", "train.learning_rate", "train.seed"),
    ),
    keys=tuple(configuration.FIELDS),
)
