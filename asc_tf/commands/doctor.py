"""asc-tf doctor: run exported files on LiteRT and compare them with Keras."""

import contextlib
import itertools
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf.command_line.arguments import define_workdir
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes, read_new_path, read_run
from asc_tf.commands.config_from_flags import make_places_absolute
from asc_tf.core.errors import UsageError
from asc_tf.core.files import write_atomically
from asc_tf.core.paths import expand_home
from asc_tf.exporting.doctor.by_hand import examine_by_hand, list_exported_files
from asc_tf.report.doctor_text import format_examination
from asc_tf.report.layer_figures import draw_layers_png
from asc_tf.workdir import Workdir

USAGE = """
Run exported files, and compare them with the Keras model of their run.

  asc-tf doctor FILES... --workdir=W [--json] [--plots=FOLDER]

  asc-tf doctor exports/esc10 --workdir=runs/esc10
  asc-tf doctor int8.tflite --workdir=runs/esc10 --plots=layers

FILES are .tflite files, SavedModels, or folders that asc-tf export wrote. Each .tflite
runs in a process of its own on LiteRT, whose crash is reported like any other finding.
Shown are size, memory, latency, the agreement with Keras on validation and test clips,
the clip whose probabilities differ most, and every check. The layers of a quantized
file are compared with those of the float32.tflite beside it. asc-tf export makes the
same checks. A file that fails is named on stderr, and the exit code is 1.
"""


def _define_flags(values: flags.FlagValues) -> None:
    define_workdir(values, "the run folder that the files were exported from")
    flags.DEFINE_boolean(
        "json", False, "one JSON object per file, line by line", flag_values=values
    )
    flags.DEFINE_string(
        "plots",
        None,
        "folder for a PNG of the layers of each quantized file",
        flag_values=values,
    )


def _run(values: flags.FlagValues) -> int:
    if not values.positional:
        raise UsageError("no files; give exported files or folders")
    paths = [
        path
        for word in values.positional
        for path in list_exported_files(expand_home(word))
    ]
    workdir = Workdir(read_run(values))
    plots = read_new_path(values, "plots") if values.plots else None
    changes = make_places_absolute(read_changes(values))
    failed, output = False, sys.stdout
    drawn: set[Path] = set()
    # Notes on the clips of the run are no part of the output.
    with contextlib.redirect_stdout(sys.stderr):
        for row in examine_by_hand(paths, workdir, changes):
            text = json.dumps(row) if values.json else format_examination(row) + "\n"
            print(text, file=output, flush=True)
            if plots and "layers" in row:
                _write_plot(plots, row, drawn)
            if not row["passed"]:
                failed = True
                print(f"asc-tf doctor: {row['file']}: {row['reason']}", file=sys.stderr)
    return int(failed)


def _choose_free(path: Path, taken: Collection[Path]) -> Path:
    """Number a path if another file of this command has its name."""
    numbered = (path.with_stem(f"{path.stem}_{n}") for n in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if each not in taken)


def _write_plot(folder: Path, row: dict[str, Any], drawn: set[Path]) -> None:
    """Draw the layers of a file; the name says which folder it is from."""
    origin = Path(row["file"]).resolve().parent.name
    path = _choose_free(folder / f"{origin}_{row['format']}_layers.png", drawn)
    drawn.add(path)
    with write_atomically(path) as temporary:
        temporary.write_bytes(draw_layers_png(row["layers"]))
    print(path)


COMMAND = Command(
    name="doctor",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    begins_with=None,
    takes_words=True,
    keys=(
        *("dataset.dir", "dataset.max_missing", "audio.cache_dir"),
        *("evaluate.batch_size", "evaluate.segments", "evaluate.overlap"),
        *("evaluate.pooling", "export.check_clips", "export.min_agreement"),
        "export.max_accuracy_drop",
    ),
)
