"""asc-tf evaluate: a run folder in, its report out."""

from pathlib import Path
from typing import Any

from absl import flags

from asc_tf.command_line.arguments import define_workdir
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes, read_run
from asc_tf.commands.config_from_flags import make_places_absolute, parse_splits
from asc_tf.config import section_keys
from asc_tf.evaluation.evaluate import evaluate
from asc_tf.manifest import SPLITS
from asc_tf.report.headline import headline
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
    changes = make_places_absolute(read_changes(values))
    report, page = evaluate(workdir, splits, changes)
    for line in _summarize(report, page.parent):
        print(line)
    print(page)
    return 0


def _summarize(report: dict[str, Any], folder: Path) -> list[str]:
    """Write a warning of missing clips, then the scores."""
    lines = [f"PARTIAL: {report['partial']}"] if report["partial"] else []
    counted = f"{report['split']}: {report['n_clips']} clips"
    if not report["has_labels"]:
        lines.append(f"{counted} without labels: predictions, but no scores")
        return [*lines, str(folder / "predictions.csv")]
    shown = ", ".join(f"{name} {text}" for name, text in headline(report)[:3])
    leaky = " (LEAKY protocol)" if report["protocol"].get("leaky") else ""
    lines.append(f"{counted}, {shown}{leaky}")
    lines += [
        f"  {row['split']}: {row['n_clips']} clips, accuracy {row['accuracy']:.1%}"
        for row in report["per_split"]
    ]
    return lines


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
