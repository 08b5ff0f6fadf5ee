"""asc-tf submission: average predictions of runs, write the most probable labels."""

from pathlib import Path

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_new_path
from asc_tf.core.errors import UsageError
from asc_tf.core.files import write_text
from asc_tf.evaluation.submission import (
    average_predictions,
    describe_scores,
    format_table,
    read_facts,
    read_predictions,
)
from asc_tf.workdir import Workdir

USAGE = """
Average the predictions of runs, one for each fold, and write the most probable labels
of each file.

  asc-tf submission W1 W2 ... --output=submission.csv [--top_k=3]

Each W is an evaluated run folder (asc-tf evaluate); its test clips need no labels.
The average is geometric.
The table is that of FSDKaggle2018's competition: fname, and label, whose guesses are
apart by a blank, the most probable one first (other blanks in labels become _). Clips
that the evaluation left out get the labels that are most probable for any clip.
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("output", None, "the table to write", flag_values=values)
    flags.DEFINE_integer("top_k", 3, "guesses per file", 1, flag_values=values)


def _run(values: flags.FlagValues) -> int:
    if not values.positional:
        raise UsageError("no runs; give one or more run folders")
    output = read_new_path(values, "output")
    if output.is_dir():
        raise UsageError(f"--output={output}: a folder; name a file")
    names = [Path(name).resolve() for name in values.positional]
    if twice := [str(name) for name in names if names.count(name) > 1]:
        raise UsageError(f"{twice[0]}: given twice; name each run once")
    runs = [Workdir(Path(name)) for name in values.positional]
    average = average_predictions(
        [read_predictions(run) for run in runs], values.positional
    )
    facts = [read_facts(run) for run in runs]
    lost = sorted(set().union(*(each.excluded for each in facts)))
    write_text(output, format_table(average, values.top_k, lost))
    counts = f"{len(runs)} run{'s'[: len(runs) - 1]}, {len(average.files)} clips"
    leaky = " (LEAKY protocol)" if any(each.is_leaky for each in facts) else ""
    print(f"{counts}: {describe_scores(average)}{leaky}")
    if lost:
        print(
            f"{len(lost)} without a prediction ({', '.join(lost[:3])}"
            f"{', ...' * (len(lost) > 3)}): they get the labels that are most probable "
            "for any clip"
        )
    print(output)
    return 0


COMMAND = Command(
    name="submission",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    takes_words=True,
)
