"""Average the predictions of runs and rank the labels of each clip."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import format_csv
from asc_tf.dsp.segments import SMALLEST
from asc_tf.evaluation import metrics
from asc_tf.workdir import Workdir


class Predictions(NamedTuple):
    """Predictions of a run for the test split.

    Attributes:
        files: Paths of the clips.
        labels: Class order.
        truth: Label of each clip; empty for all of them if they have no labels.
        probabilities: Probabilities, float64 `[clips, labels]`.
    """

    files: tuple[str, ...]
    labels: tuple[str, ...]
    truth: tuple[str, ...]
    probabilities: np.ndarray


def describe_scores(predictions: Predictions) -> str:
    """Format the scores of predictions, if the clips have labels."""
    _, labels, truth, probabilities = predictions
    if not all(truth):
        return "they have no labels, so there are no scores"
    ids = np.array([labels.index(label) for label in truth])
    scores = metrics.compute_metrics(labels, ids, probabilities)
    return f"mAP@3 {scores['map_at_3']:.3f}, accuracy {scores['accuracy']:.1%}"


def read_predictions(run: Workdir) -> Predictions:
    """Read the predictions for the test split that `asc-tf evaluate` wrote.

    Raises:
        UsageError: If the run has no predictions.
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
            raise ValueError("no rows" if not rows else "unknown labels or values")
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a table of predictions ({error}); run asc-tf evaluate "
            f"--workdir={run.path} again"
        ) from error
    return Predictions(files, labels, truth, np.array(values))


class RunFacts(NamedTuple):
    """Facts of an evaluation: files left out, and whether its protocol is leaky."""

    excluded: frozenset[str]
    is_leaky: bool


def read_facts(run: Workdir) -> RunFacts:
    """Read from the report of a run what its predictions do not say.

    Raises:
        UserError: If the report is damaged.
    """
    path = run.report / "report.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = frozenset(str(clip["file"]) for clip in content["excluded"])
        return RunFacts(files, bool(content.get("protocol", {}).get("leaky")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a report ({error}); run asc-tf evaluate "
            f"--workdir={run.path} again"
        ) from error


def average_predictions(
    runs: Sequence[Predictions], names: Sequence[str]
) -> Predictions:
    """Average predictions: normalized geometric mean of the probabilities.

    Args:
        runs: Predictions of each run.
        names: Folder of each run, for messages.

    Raises:
        UserError: If two runs do not have the same clips and labels.
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
                "folds that validate on different clips share a test split, those of "
                "folds that test on different clips do not"
            )
    logs = [np.log(np.maximum(run.probabilities, SMALLEST)) for run in runs]
    mean = np.exp(np.mean(logs, axis=0))
    return first._replace(probabilities=mean / mean.sum(axis=1, keepdims=True))


def format_table(
    predictions: Predictions, top_k: int, excluded: Sequence[str] = ()
) -> str:
    """Format a CSV table with the `top_k` most probable labels of each clip.

    Args:
        predictions: Averaged predictions.
        top_k: Number of labels per clip.
        excluded: Paths of clips without a prediction, which get the mean of all.

    Raises:
        UserError: If two clips are in files of the same name.
    """
    names = [Path(file).name for file in (*predictions.files, *excluded)]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(
            f"{repeated[0]}: the name of several clips; a submission has one row for "
            "each file name, so the files must have different names and one clip each"
        )
    words = [label.replace(" ", "_") for label in predictions.labels]
    mean = predictions.probabilities.mean(axis=0)
    means = np.tile(mean, (len(excluded), 1))
    probabilities = np.concatenate([predictions.probabilities, means])
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    rows = [
        {"fname": name, "label": " ".join(words[index] for index in best)}
        for name, best in zip(names, order, strict=True)
    ]
    return format_csv(("fname", "label"), rows)
