"""asc-tf demo: run every stage on the built-in synthetic scenes."""

import sys
import time
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf import config as configuration
from asc_tf.command_line.arguments import define_workdir
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes, read_new_path
from asc_tf.command_line.prediction_rows import format_lines
from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.workdir import Workdir

USAGE = """
See every stage on the built-in synthetic scenes: write clips, train, evaluate, export,
predict. Run it again to resume, or to see the table once more.

  asc-tf demo [FOLDER]

FOLDER is runs/demo unless another is given (--workdir=FOLDER is the same).
"""

CONFIGURATION = "demo"


def _define_flags(values: flags.FlagValues) -> None:
    define_workdir(values, "the folder for clips, run and export", "runs/demo")


def _run(values: flags.FlagValues) -> int:
    config = configuration.read(configuration.find(CONFIGURATION))
    config = config.replace(read_changes(values))
    print(run_demo(config, read_new_path(values, "workdir")))
    return 0


def run_demo(config: Config, folder: Path) -> str:
    """Run every stage on synthetic scenes.

    Args:
        config: The configuration; its `dataset.dir` is set here.
        folder: Folder for `scenes/` (the clips), `run/` (the run folder) and `export/`.

    Returns:
        Table of the results, with the path of report.html.
    """
    from asc_tf.evaluation.evaluate import evaluate
    from asc_tf.evaluation.load import load
    from asc_tf.exporting.export import describe_rejections, export
    from asc_tf.training.train import train

    _check_folder(folder)
    began = time.monotonic()
    scenes = (folder / "scenes").resolve()
    config = config.replace({"dataset.name": "synthetic", "dataset.dir": str(scenes)})
    workdir = Workdir(folder / "run")
    _say("1/5 write synthetic scenes, 2/5 train")
    train(config, workdir, interactive=sys.stdout.isatty())
    _say("3/5 evaluate on the test split")
    report, page = evaluate(workdir)
    _say("4/5 export and try every file")
    described = export(workdir, folder / "export")
    if described["rejected"]:
        raise UserError("; ".join(describe_rejections(described)))
    _say("5/5 predict one test clip with the int8 file, as a Raspberry Pi would")
    clip = workdir.manifest().clips_in("test")[0]
    path = str(folder / "scenes" / clip.path)
    result = load(folder / "export" / "int8.tflite").predict_files([path])[0]
    print(format_lines(result, 3, len(path)))
    minutes = (time.monotonic() - began) / 60
    return f"{format_table(report, described)}\n\n{minutes:.1f} minutes; {page}"


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier demo."""
    if folder.is_file():
        raise UsageError(f"--workdir={folder}: a file, not a folder")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    # A file manager leaves hidden files, and so does an export that was killed.
    visible = {name for name in names if not name.startswith(".")}
    if foreign := sorted(visible - {"scenes", "run", "export"}):
        raise UsageError(
            f"--workdir={folder}: holds {foreign[0]}, which is no part of a demo; "
            "name a new folder"
        )


def format_table(report: dict[str, Any], described: dict[str, Any]) -> str:
    """Write accuracy, agreement, size and latency of Keras and each exported file."""
    lines = [
        f"{'':12}{'test accuracy':>14}{'agreement':>11}{'kB':>9}{'ms/segment':>12}",
        f"{'Keras':12}{report['accuracy']:>14.1%}{'':>11}{'':>9}{'':>12}",
    ]
    for name, row in described["formats"].items():
        # A file that fails on a test clip has no scores there.
        test = row.get("test")
        scores = (
            f"{test['accuracy']:>14.1%}{test['agreement']:>11.1%}"
            if test
            else f"{'-':>14}{'-':>11}"
        )
        size, latency = row["bytes"] / 1000, row["latency_ms"]["p50"]
        lines.append(f"{name:12}{scores}{size:>9.1f}{latency:>12.2f}")
    return "\n".join(lines)


def _say(stage: str) -> None:
    print(f"\n== {stage}", flush=True)


COMMAND = Command(
    name="demo",
    begins_with=CONFIGURATION,
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    word_flags=("workdir",),
    keys=(
        *("dataset.locations", "dataset.takes", "dataset.seconds", "dataset.seed"),
        *("train.epochs", "train.seed"),
    ),
)
