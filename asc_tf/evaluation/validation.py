"""Temperature and threshold of unknown clips, fitted to the validation split."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asc_tf.config import Evaluate
from asc_tf.core.files import hash_path, write_json
from asc_tf.dsp import segments
from asc_tf.evaluation.calibration import (
    TEMPERATURES,
    apply_temperature,
    fit_temperature,
    measure_calibration,
)
from asc_tf.evaluation.groups import compute_log_loss
from asc_tf.evaluation.unknown import choose_threshold, measure_acceptance
from asc_tf.workdir import Workdir

if TYPE_CHECKING:
    from asc_tf.evaluation.predictor import ClipPredictions


@dataclass(frozen=True)
class ValidationFit:
    """Settings that the validation split decides.

    Attributes:
        temperature: Divisor of the logits of a segment.
        threshold: Top probability of a clip below which it counts as unknown.
        calibrated_threshold: The same for probabilities with the temperature.
        false_accept_rate: Rate for which the thresholds were chosen, 0 to 1.
        n_validation: Number of validation clips.
        n_validation_wrong: Number of those whose answer is wrong.
        log_loss: Log loss of the validation clips in nats.
        calibrated_log_loss: The same with the temperature.
    """

    temperature: float
    threshold: float
    calibrated_threshold: float
    false_accept_rate: float
    n_validation: int
    n_validation_wrong: int
    log_loss: float
    calibrated_log_loss: float


def fit_validation(
    truth: np.ndarray, predictions: "ClipPredictions", settings: Evaluate
) -> ValidationFit:
    """Fit the temperature and choose the thresholds.

    Args:
        truth: Label ids of the validation clips, int `[clips]`.
        predictions: Predictions of the validation clips.
        settings: Settings of pooling and of the false accept rate.
    """
    temperature = fit_temperature(
        truth, predictions.segments, predictions.clip_ids, settings.pooling
    )
    calibrated = calibrate_clips(predictions, temperature, settings.pooling)
    rate = settings.false_accept_rate
    return ValidationFit(
        temperature=temperature,
        threshold=choose_threshold(truth, predictions.clips, rate),
        calibrated_threshold=choose_threshold(truth, calibrated, rate),
        false_accept_rate=rate,
        n_validation=len(truth),
        n_validation_wrong=int((predictions.clips.argmax(axis=1) != truth).sum()),
        log_loss=compute_log_loss(truth, _normalize(predictions.clips)),
        calibrated_log_loss=compute_log_loss(truth, calibrated),
    )


def calibrate_clips(
    predictions: "ClipPredictions", temperature: float, pooling: str
) -> np.ndarray:
    """Apply a temperature to segments and pool them: float64 `[clips, labels]`."""
    return segments.pool(
        apply_temperature(predictions.segments, temperature),
        predictions.clip_ids,
        len(predictions.clips),
        pooling,
    )


def _normalize(probabilities: np.ndarray) -> np.ndarray:
    """Scale rows of float32 values, whose sums are rounded, to the sum 1."""
    rows = probabilities.astype(np.float64)
    return rows / rows.sum(axis=1, keepdims=True)


def score_fit(
    fit: ValidationFit,
    truth: np.ndarray | None,
    predictions: "ClipPredictions",
    pooling: str,
) -> dict[str, Any]:
    """Measure on a split what the temperature and the threshold do.

    Args:
        fit: Result of `fit_validation`.
        truth: Label ids of the clips, int `[clips]`; None if they are not known.
        predictions: Predictions of the split.
        pooling: As in `asc_tf.dsp.segments.pool`.

    Returns:
        What `calibration`, `unknown` and the `calibration` of `segments` in report.json
        get beside what they have; under these names, the last as `segments`.
    """
    by_clip = by_segment = None
    if truth is not None:
        clips = calibrate_clips(predictions, fit.temperature, pooling)
        rows = apply_temperature(predictions.segments, fit.temperature)
        by_clip = _score_calibrated(truth, clips)
        by_segment = _score_calibrated(truth[predictions.clip_ids], rows)
    names = ("false_accept_rate", "threshold", "n_validation", "n_validation_wrong")
    temperature = {"temperature": fit.temperature}
    return {
        "calibration": temperature | {"calibrated": by_clip},
        "segments": temperature | {"calibrated": by_segment},
        "unknown": {
            **{name: getattr(fit, name) for name in names},
            **measure_acceptance(truth, predictions.clips, fit.threshold),
        },
    }


def _score_calibrated(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    measured = measure_calibration(truth, probabilities)
    return {
        "ece": measured["ece"],
        "log_loss": compute_log_loss(truth, probabilities),
        "bins": measured["bins"],
    }


def describe_fit(fit: ValidationFit, splits: Sequence[str]) -> list[str]:
    """Describe what makes a fit less reliable, one sentence for each thing."""
    notes = []
    if "validation" in splits:
        notes.append(
            "The temperature and the threshold of unknown clips were fitted to the "
            "validation clips, which are among the clips of this report."
        )
    if not TEMPERATURES[0] * 1.01 < fit.temperature < TEMPERATURES[1] / 1.01:
        notes.append(
            f"The temperature {fit.temperature:.3g} is at the end of its range: there "
            "are too few validation clips, or too few mistakes among them, to estimate "
            "it."
        )
    if not fit.n_validation_wrong:
        notes.append(
            "No validation clip is answered wrongly, so that the threshold of unknown "
            "clips is 0 and no clip counts as unknown."
        )
    elif fit.n_validation_wrong * fit.false_accept_rate < 1 > fit.false_accept_rate:
        notes.append(
            f"Only {fit.n_validation_wrong} of {fit.n_validation} validation clips are "
            "answered wrongly, so the threshold for unknown clips is only approximate."
        )
    return notes


def hash_model(workdir: Workdir) -> str:
    """Compute the SHA-256 of the files of the best weights, in hexadecimal digits."""
    # While a run with a frozen backbone goes on, only the second one changes.
    files = (workdir.model_file, workdir.best_file)
    return "".join(hash_path(path) for path in files if path.is_file())


def write_fit(workdir: Workdir, fit: ValidationFit, settings: Evaluate) -> None:
    """Write the fit to the run folder, for export.

    The file names what the fit is for: the model, and the settings of its segments.
    """
    used = dataclasses.asdict(settings)
    for name in ("batch_size", "calibrate", "false_accept_rate"):
        del used[name]
    content = {
        "model_sha256": hash_model(workdir),
        "evaluate": used,
        **dataclasses.asdict(fit),
    }
    write_json(workdir.calibration_file, content)
