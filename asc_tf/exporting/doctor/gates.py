"""Gates of the doctor: what an exported file has to fulfil, as findings."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from asc_tf.config import Export
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.edge.tflite_metadata import UNKNOWN
from asc_tf.exporting.formats import FLOAT

Finding = dict[str, Any]
"""`check` (name), `passed` (None: could not be checked) and `text` (one sentence)."""

MAX_FLOAT_DIFFERENCE = 1e-3
"""Largest accepted difference between the probabilities of a float file and Keras."""

MAX_SUM_ERROR = 1e-3
"""Largest accepted difference between the sum of probabilities and 1."""


def make_finding(check: str, passed: bool | None, text: str) -> Finding:
    """Make a finding.

    Args:
        check: Name of the check.
        passed: True if it passed; None if it could not be made.
        text: Result of the check, in a sentence.
    """
    return {"check": check, "passed": passed, "text": text}


def list_failures(findings: Iterable[Finding]) -> list[str]:
    """List the texts of the checks that failed."""
    return [each["text"] for each in findings if each["passed"] is False]


def check_labels(labels: Sequence[str], expected: Sequence[str]) -> Finding:
    """Check that a file has the labels of the run, in the same order."""
    if tuple(labels) == tuple(expected):
        return make_finding("labels", True, f"{len(labels)} labels, as in the run")
    if len(labels) != len(expected):
        text = f"it has {len(labels)} labels, but the run has {len(expected)}"
    else:
        place = next(
            place
            for place, pair in enumerate(zip(labels, expected, strict=True))
            if pair[0] != pair[1]
        )
        text = (
            f"its labels are not those of the run: label {place + 1} is "
            f"{labels[place]}, but {expected[place]} in the run"
        )
    return make_finding("labels", False, f"{text}; export the run again")


def check_preprocessing(found: Preprocessing, expected: Preprocessing) -> Finding:
    """Check that a file has the sample rate, segments, channels ... of the run."""
    pairs = {
        name: (getattr(found, name), value) for name, value in vars(expected).items()
    }
    different = [
        f"{name} is {ours} in the file and {theirs} in the run"
        for name, (ours, theirs) in pairs.items()
        if ours != theirs
    ]
    if not different:
        text = "sample rate, segments, channels and pooling are those of the run"
        return make_finding("metadata", True, text)
    text = (
        f"{'; '.join(different)}; give the settings with which it was exported, or "
        "export again"
    )
    return make_finding("metadata", False, text)


def check_probabilities(probabilities: np.ndarray) -> Finding:
    """Check that probabilities of segments `[n, labels]` are finite and sum to 1."""
    bad = int((~np.isfinite(probabilities).all(axis=1)).sum())
    if bad:
        text = (
            f"gives probabilities that are not finite for {bad} of "
            f"{len(probabilities)} segments; export it again, or leave the format out "
            "of --formats"
        )
        return make_finding("finite", False, text)
    error = float(np.abs(probabilities.sum(axis=1) - 1).max(initial=0.0))
    if error > MAX_SUM_ERROR or probabilities.min(initial=0.0) < 0:
        text = (
            "gives outputs that are not probabilities: their sum differs from 1 by up "
            f"to {error:.1g}, and the smallest is {probabilities.min():.1g}"
        )
        return make_finding("finite", False, text)
    return make_finding("finite", True, "all probabilities are finite and sum to 1")


def check_agreement(
    name: str,
    row: dict[str, Any],
    keras_accuracy: float | None,
    split: str,
    export: Export,
) -> list[Finding]:
    """Apply the gates to the comparison on the split that decides.

    Args:
        name: Format of the file.
        row: Comparison with Keras, from `asc_tf.exporting.doctor.agreement.compare`.
        keras_accuracy: Accuracy of Keras on the same clips; None without true labels.
        split: Split of the clips.
        export: Settings, with the limits.
    """
    findings = []
    # The strictest gates apply to a file of an unknown format.
    if name in (*FLOAT, UNKNOWN):
        findings.append(_check_difference(row, split))
    findings.append(_check_labels_agree(row, split, export))
    if keras_accuracy is not None:
        findings.append(_check_accuracy(row, keras_accuracy, split, export))
    return findings


def _check_difference(row: dict[str, Any], split: str) -> Finding:
    largest = row["max_difference"]
    text = f"probabilities differ from Keras by up to {largest:.1e} on {split} clips"
    # The comparison is false for NaN too.
    if largest <= MAX_FLOAT_DIFFERENCE:
        return make_finding("difference", True, text)
    text = (
        f"probabilities differ from Keras by {largest:.1e} on {split} clips, more than "
        f"{MAX_FLOAT_DIFFERENCE:.0e}"
    )
    return make_finding("difference", False, text)


def _check_labels_agree(row: dict[str, Any], split: str, export: Export) -> Finding:
    """Check the share of equal labels; one other label is always allowed."""
    n_clips, agreement = row["n_clips"], row["agreement"]
    n_other = round((1 - agreement) * n_clips)
    text = f"agrees with Keras on {agreement:.1%} of {n_clips} {split} clips"
    if agreement >= export.min_agreement or n_other <= 1:
        return make_finding("agreement", True, text)
    text += (
        f", less than export.min_agreement = {export.min_agreement:.1%}; more "
        "export.calibration_segments may help, or leave it out of --formats"
    )
    return make_finding("agreement", False, text)


def _check_accuracy(
    row: dict[str, Any], keras_accuracy: float, split: str, export: Export
) -> Finding:
    """Check the loss of accuracy; one clip is always allowed."""
    n_clips, drop = row["n_clips"], keras_accuracy - row["accuracy"]
    text = (
        f"accuracy is {row['accuracy']:.1%} on {n_clips} {split} clips, Keras has "
        f"{keras_accuracy:.1%}"
    )
    if drop <= export.max_accuracy_drop + 1e-9 or round(drop * n_clips) <= 1:
        return make_finding("accuracy", True, text)
    text += (
        f": a loss of {100 * drop:.1f} points, more than export.max_accuracy_drop = "
        f"{100 * export.max_accuracy_drop:.1f} points"
    )
    return make_finding("accuracy", False, text)
