"""asc-tf submission: evaluated runs in, a table of their best guesses together out."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from asc_tf import command, metrics
from asc_tf.errors import UsageError, UserError
from asc_tf.files import write_text
from asc_tf.segments import SMALLEST
from asc_tf.workdir import Workdir

USAGE = """
Average the predictions of runs, one for each fold, and write the best guesses per file.

  asc-tf submission W1 W2 ... --output=submission.csv [--top_k=3]

Each W is a run folder that asc-tf evaluate has been through; its test clips need no
labels. The average is geometric.
The table is that of FSDKaggle2018's competition: fname, and label, whose guesses are
apart by a blank, the most probable one first (other blanks in labels become _). Clips
that the evaluation left out are in it too, with what is most probable for any clip.
"""


class Predictions(NamedTuple):
    """What one run says of the test part.

    Attributes:
        files: Paths of the clips.
        labels: Class order.
        truth: Label of each clip, or the empty string for all of them.
        probabilities: float64 `[clips, labels]`.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...]
    truth: tuple[str, ...]
    probabilities: np.ndarray


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return command.run(COMMAND, argv)


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("output", None, "the table to write", flag_values=values)
    flags.DEFINE_integer("top_k", 3, "guesses per file", 1, flag_values=values)


def _main(values: flags.FlagValues) -> int:
    if not values.positional:
        raise UsageError("no runs; give one or more run folders")
    output = command.new_path(values, "output")
    if output.is_dir():
        raise UsageError(f"--output={output}: a folder; name a file")
    names = [Path(name).resolve() for name in values.positional]
    if twice := [str(name) for name in names if names.count(name) > 1]:
        raise UsageError(f"{twice[0]}: given twice; name each run once")
    runs = [Workdir(Path(name)) for name in values.positional]
    found = averaged([read_predictions(run) for run in runs], values.positional)
    lost = left_out(runs)
    write_text(output, table(found, values.top_k, lost))
    runs_and_clips = f"{len(runs)} run{'s'[: len(runs) - 1]}, {len(found.files)} clips"
    print(f"{runs_and_clips}: {describe_scores(found)}")
    if lost:
        print(
            f"{len(lost)} without a prediction ({', '.join(lost[:3])}"
            f"{', ...' * (len(lost) > 3)}): they get what is most probable for any clip"
        )
    print(output)
    return 0


def describe_scores(found: Predictions) -> str:
    """The scores of the averaged predictions, if the clips have labels."""
    if not all(found.truth):
        return "they have no labels, so there are no scores"
    ids = {label: index for index, label in enumerate(found.labels)}
    truth = np.array([ids[label] for label in found.truth])
    scores = metrics.evaluate(found.labels, truth, found.probabilities)
    return f"mAP@3 {scores['map_at_3']:.3f}, accuracy {scores['accuracy']:.1%}"


def read_predictions(run: Workdir) -> Predictions:
    """The predictions of the test part that `asc-tf evaluate` has written.

    Raises:
        UsageError: If there are none.
        UserError: If the table is damaged.
    """
    path = run.report / "predictions.csv"
    if not path.is_file():
        raise UsageError(
            f"{run.path}: no report/predictions.csv; run asc-tf evaluate "
            f"--workdir={run.path} first"
        )
    labels = run.labels()
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        values = [[float(row[f"p_{label}"]) for label in labels] for row in rows]
        truth = tuple(row["label"] for row in rows)
        files = tuple(row["file"] for row in rows)
        known = all(label in labels for label in truth) or not any(truth)
        if not rows or not known or not np.isfinite(values).all():
            raise ValueError("no rows" if not rows else "values that are none")
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path}: no table of predictions ({error}); run asc-tf evaluate "
            f"--workdir={run.path} again"
        ) from error
    return Predictions(files, labels, truth, np.array(values))


def left_out(runs: Sequence[Workdir]) -> tuple[str, ...]:
    """Paths of the test clips that an evaluation left out, by its report.

    Raises:
        UserError: If a report is damaged.
    """
    found: set[str] = set()
    for run in runs:
        path = run.report / "report.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found.update(str(clip["file"]) for clip in content["excluded"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: no report ({error}); run asc-tf evaluate "
                f"--workdir={run.path} again"
            ) from error
    return tuple(sorted(found))


def averaged(runs: Sequence[Predictions], names: Sequence[str]) -> Predictions:
    """The normalized geometric mean of the runs' probabilities.

    Args:
        runs: What each run says.
        names: Their folders, for messages.

    Raises:
        UserError: If two of them are not of the same clips and labels.
    """
    first = runs[0]
    for name, run in zip(names[1:], runs[1:], strict=True):
        if run.labels != first.labels:
            raise UserError(f"{name}: its labels are not those of {names[0]}")
        if (run.files, run.truth) != (first.files, first.truth):
            odd = sorted(set(run.files) ^ set(first.files))
            about = f", {odd[0]} for one" if odd else ""
            raise UserError(
                f"{name}: its test clips are not those of {names[0]}{about}; runs of "
                "folds that validate on different clips share a test part, those of "
                "folds that test on different clips do not"
            )
    logs = [np.log(np.maximum(run.probabilities, SMALLEST)) for run in runs]
    mean = np.exp(np.mean(logs, axis=0))
    return first._replace(probabilities=mean / mean.sum(axis=1, keepdims=True))


def table(found: Predictions, top_k: int, lost: Sequence[str] = ()) -> str:
    """The text of the table: a row per clip, its `top_k` most probable labels.

    Args:
        found: The predictions.
        top_k: Guesses per clip.
        lost: Paths of clips without a prediction; theirs is the mean of all.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["fname", "label"])
    words = [label.replace(" ", "_") for label in found.labels]
    usual = np.tile(found.probabilities.mean(axis=0), (len(lost), 1))
    probabilities = np.concatenate([found.probabilities, usual])
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    for file, best in zip((*found.files, *lost), order, strict=True):
        guesses = " ".join(words[index] for index in best)
        writer.writerow([Path(file).name, guesses])
    return text.getvalue()


COMMAND = command.Command(
    name="submission", usage=USAGE, main=_main, define=_define, takes_words=True
)

if __name__ == "__main__":
    sys.exit(main())
