"""Average the predictions of runs and rank the labels of each clip."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asc_tf.core.errors import UsageError, UserError
from asc_tf.dsp.segments import SMALLEST
from asc_tf.evaluation import metrics
from asc_tf.workdir import Workdir


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


def describe_scores(found: Predictions) -> str:
    """The scores of the averaged predictions, if the clips have labels."""
    if not all(found.truth):
        return "they have no labels, so there are no scores"
    ids = {label: index for index, label in enumerate(found.labels)}
    truth = np.array([ids[label] for label in found.truth])
    scores = metrics.compute_metrics(found.labels, truth, found.probabilities)
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


def average_predictions(
    runs: Sequence[Predictions], names: Sequence[str]
) -> Predictions:
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
