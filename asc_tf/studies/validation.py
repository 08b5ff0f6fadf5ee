"""Scores of the validation split of a run, without opening a test clip."""

from typing import Any

from asc_tf.core.errors import UsageError
from asc_tf.workdir import Workdir

SCORES = ("accuracy", "macro_accuracy", "log_loss", "roc_auc")
"""Scores of a validation split that a sweep reports."""


def score_validation(workdir: Workdir) -> dict[str, Any]:
    """Score the model of a run on its validation clips.

    Args:
        workdir: Run folder of a finished training.

    Returns:
        The `SCORES`, `n_clips`, and `epoch` of the model.

    Raises:
        UsageError: If the run has no validation split.
        UserError: If the model is missing or a clip cannot be read.
    """
    # The process of a sweep takes the names above, and needs no TensorFlow.
    from asc_tf.evaluation.scoring import find_model_epoch, score
    from asc_tf.evaluation.split_predictor import SplitPredictor
    from asc_tf.pipeline.run import Run

    run = Run.open(workdir)
    if "validation" not in run.config.dataset.training_splits:
        raise UsageError(f"--workdir={workdir.path}: the run has no validation split")
    run, (predictions,) = SplitPredictor(run).predict(("validation",), 1.0)
    scores = score(run.manifest, "validation", predictions.clips)
    epoch = find_model_epoch(workdir, run.config) or {}
    return {
        **{name: scores[name] for name in ("n_clips", *SCORES)},
        "epoch": epoch.get("epoch"),
    }
