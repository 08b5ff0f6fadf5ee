"""asc-tf evaluate: score a trained run and write its report."""

import os
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf.command_line.arguments import define_workdir
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes, read_run
from asc_tf.commands.config_from_flags import make_places_absolute, parse_splits
from asc_tf.config import section_keys
from asc_tf.core.errors import UsageError
from asc_tf.evaluation.evaluate import evaluate
from asc_tf.manifest import SPLITS
from asc_tf.report.headline import format_main_scores
from asc_tf.workdir import Workdir

USAGE = """
Evaluate a trained run on one split of its corpus, and write its report folder.

  asc-tf evaluate W [--split=test]

  asc-tf evaluate runs/esc10

W is a run folder (--workdir=W is the same). --split=train,validation makes one report
of both splits, whose predictions.csv has a column that names the split of each clip. A
test split without labels gets predictions and no scores; asc-tf submission makes the
competition's table of them.
"""


def _define_flags(values: flags.FlagValues) -> None:
    define_workdir(values)
    flags.DEFINE_list(
        "split",
        "test",
        f"the split to evaluate, or several: {', '.join(SPLITS)}",
        flag_values=values,
    )


def _run(values: flags.FlagValues) -> int:
    splits = parse_splits("split", values.split)
    workdir = Workdir(read_run(values))
    if not os.access(workdir.path, os.W_OK):
        raise UsageError(
            f"--workdir={workdir.path}: may not be written to, and the report belongs "
            "there; copy the run to another folder"
        )
    changes = make_places_absolute(read_changes(values))
    report, page = evaluate(workdir, splits, changes)
    for line in _summarize(report, page.parent):
        print(line)
    print(page)
    return 0


def _summarize(report: dict[str, Any], folder: Path) -> list[str]:
    """Write a warning of missing clips, then the scores with their intervals."""
    lines = [f"PARTIAL: {report['partial']}"] if report["partial"] else []
    leaky = " (LEAKY protocol)" if report["leaky"] else ""
    counted = f"{report['split']}: {report['n_clips']} clips"
    if not report["has_labels"]:
        lines.append(f"{counted} without labels: predictions, but no scores{leaky}")
        lines += _summarize_fit(report)
        return [*lines, str(folder / "predictions.csv")]
    lines.append(f"{counted}, {format_main_scores(report)}{leaky}")
    lines += [
        f"  {row['split']}: {row['n_clips']} clips, {format_main_scores(row)}{leaky}"
        for row in report["per_split"]
    ]
    return [*lines, *_summarize_fit(report)]


def _summarize_fit(report: dict[str, Any]) -> list[str]:
    """Write lines on calibration and unknown clips, where validation decided them."""
    unknown, calibration = report["unknown"], report["calibration"]
    lines = []
    if calibrated := calibration["calibrated"]:
        lines.append(
            f"calibration error {_format_share(calibration['ece'])}; with the "
            f"temperature {calibration['temperature']:.3g} of the validation split "
            f"{_format_share(calibrated['ece'])}, log loss {calibrated['log_loss']:.3f}"
        )
    if unknown:
        line = (
            f"unknown below a top probability of {unknown['threshold']:.3f}: "
            f"{_format_share(unknown['accepted'])} of the clips are accepted"
        )
        if unknown["false_accepted"] is not None:
            line += f", {_format_share(unknown['false_accepted'])} of the wrong ones"
        lines.append(line)
    return lines


def _format_share(share: float) -> str:
    return f"{100 * share:.1f} %"


COMMAND = Command(
    name="evaluate",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    begins_with=None,
    word_flags=("workdir",),
    keys=(
        *("dataset.dir", "dataset.features", "dataset.max_missing"),
        *("audio.cache_dir", *section_keys("evaluate")),
    ),
)
