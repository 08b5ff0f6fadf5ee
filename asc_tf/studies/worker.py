"""Child process of a study: train one run, score it, and write result.json last.

The parent writes a job as one line of JSON to the standard input and leaves that open.
When the parent ends, even by `kill -9`, the input ends, and the child ends with it.
"""

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from asc_tf.config import Config
from asc_tf.core.child_process import read_job
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import write_json
from asc_tf.core.tensorflow_start import prepare_tensorflow
from asc_tf.manifest import Clip
from asc_tf.pipeline.earlier_scans import read_scanned_clips
from asc_tf.workdir import Workdir

RESULT = "result.json"
"""File that a finished run of a study has: scores, seconds and peak of the memory."""

SCORES = ("accuracy", "macro_accuracy", "log_loss", "roc_auc")
"""Scores of a validation split that a sweep reports."""


def run_job(job: dict[str, Any]) -> None:
    """Train and score a run; what is done already is not repeated.

    Args:
        job: `config` (settings by key), `workdir`, `score` (the split to score: `test`
            writes the report of `asc-tf evaluate`, `validation` opens no test clip),
            `siblings` (run folders on the same corpus, whose scans are used).

    Raises:
        UserError: If the training or the evaluation fails, or the clips to score have
            no labels.
    """
    from asc_tf.training.train import train

    began = time.monotonic()
    workdir = Workdir(Path(job["workdir"]))
    known = read_scanned_clips(map(Path, job["siblings"]))
    train(Config().replace(job["config"]), workdir, known=known)
    if job["score"] == "test":
        from asc_tf.evaluation.evaluate import evaluate

        share_scan(workdir, known)
        report, _ = evaluate(workdir)
        scores = {name: report[name] for name in ("accuracy", "log_loss")}
    else:
        scores = score_validation(workdir)
    if scores["accuracy"] is None:
        raise UserError(
            f"the clips of the {job['score']} split have no labels, so there are no "
            "scores; train with asc-tf train, then use asc-tf submission"
        )
    result = {
        "score": job["score"],
        "scores": scores,
        "seconds": time.monotonic() - began,
        "peak_bytes": measure_peak(),
    }
    write_json(workdir.path / RESULT, result)


def score_validation(workdir: Workdir) -> dict[str, Any]:
    """Score the model of a finished run on its validation clips.

    Returns:
        The `SCORES`, `n_clips`, and `epoch` of the model.

    Raises:
        UsageError: If the run has no validation split.
        UserError: If the model is missing or a clip cannot be read.
    """
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


def measure_peak() -> int:
    """Measure the largest memory of this process in bytes; 0 where that is unknown."""
    try:
        import resource
    except ModuleNotFoundError:
        # Windows has none.
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def share_scan(workdir: Workdir, known: list[Clip]) -> None:
    """Fill in the scans of test clips that other folds have scanned for training."""
    run_config = workdir.config()
    if run_config.dataset.features or not known:
        return
    from asc_tf.audio.scan import scan

    manifest = workdir.manifest()
    root = run_config.dataset.folder
    rows = (*known, *manifest.clips)
    scanned = scan(manifest, root, ("test",), run_config.audio, known=rows)
    if scanned != manifest:
        workdir.write_manifest(scanned)


def main() -> int:
    """Run the job on the standard input; returns the exit code."""
    job = read_job()
    prepare_tensorflow()
    try:
        run_job(job)
    except UserError as error:
        print(f"failed: {error}", flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("failed: interrupted", flush=True)
        return 130
    except Exception as error:
        traceback.print_exc()
        print(f"failed: {type(error).__name__}: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    # A process that TensorFlow's threads keep alive would hold its memory.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
