"""asc-tf export: write the files of a run for other programs, and check each."""

from typing import Any

from absl import flags

from asc_tf.command_line.arguments import define_workdir
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes, read_new_path, read_run
from asc_tf.commands.config_from_flags import make_places_absolute
from asc_tf.config import section_keys
from asc_tf.core.errors import UserError
from asc_tf.exporting.doctor.examine import choose_check_split
from asc_tf.workdir import Workdir

USAGE = """
Export a trained run for serving and for the edge.

  asc-tf export W --output=E [--formats=saved_model,float32,int8]

  asc-tf export runs/esc10 --output=exports/esc10

W is a run folder (--workdir=W is the same), E the folder to write: SavedModel, TFLite
files, and a page that compares them. Every file is run against the Keras model on
validation clips before it is accepted (on training clips where the run has no
validation split). One that fails is written as NAME.rejected beside those that pass;
the exit code is 1. asc-tf doctor shows all checks and figures of a file.
"""


def _define_flags(values: flags.FlagValues) -> None:
    define_workdir(values)
    flags.DEFINE_string("output", None, "the folder to write", flag_values=values)
    flags.DEFINE_list("formats", None, "short for --export.formats", flag_values=values)


def _run(values: flags.FlagValues) -> int:
    # It imports TensorFlow, which is slow and writes to stderr.
    from asc_tf.exporting.export import describe_rejections, export

    workdir = Workdir(read_run(values))
    output = read_new_path(values, "output")
    changes = make_places_absolute(read_changes(values))
    if values.formats:
        changes["export.formats"] = values.formats
    for sentence in workdir.config().replace(changes).export.find_unused():
        if sentence.split()[0] in changes:
            print(sentence)
    described = export(workdir, output, changes)
    for name, row in described["formats"].items():
        print(format_summary(name, row))
    print(output)
    if described["rejected"]:
        raise UserError("; ".join(describe_rejections(described)))
    return 0


def format_summary(name: str, row: dict[str, Any]) -> str:
    """Write one line on an exported format."""
    test = row.get("test") or {}
    is_scored = test.get("accuracy") is not None
    accuracy = f"{test['accuracy']:.1%} on test, " if is_scored else ""
    split = choose_check_split(row)
    return (
        f"{name:12} {row['bytes'] / 1000:8.1f} kB  {row['latency_ms']['p50']:7.2f} "
        f"ms per segment  {accuracy}agreement with Keras "
        f"{row[split]['agreement']:.1%}, probabilities differ by up to "
        f"{row[split]['max_difference']:.1g} ({split})"
    )


COMMAND = Command(
    name="export",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    begins_with=None,
    word_flags=("workdir",),
    keys=(
        *("dataset.dir", "dataset.max_missing", "audio.cache_dir"),
        *("evaluate.batch_size", "evaluate.segments", "evaluate.overlap"),
        *("evaluate.pooling", *section_keys("export")),
    ),
)
