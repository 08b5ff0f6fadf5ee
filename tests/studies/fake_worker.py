"""A worker that makes up its predictions: the process of a run without TensorFlow.

The environment variable `BEHAVIOUR` says what it does, as JSON by the name of the run:
`fail`, `end` (without a word), `crash`, `hang`, or nothing for success.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from asc_tf.config import Config
from asc_tf.core.child_process import read_job
from asc_tf.studies.worker import RESULT
from asc_tf.workdir import Workdir


def write_run(config: Config, workdir: Workdir, score: str) -> dict:
    """Write the files of a finished run; returns its scores."""
    # A process that fails or hangs needs none of these.
    import numpy as np

    from asc_tf import datasets
    from asc_tf.core.files import format_csv
    from asc_tf.evaluation.metrics import compute_metrics
    from asc_tf.evaluation.scoring import get_label_ids, make_prediction_rows

    manifest = datasets.load(config.dataset)
    workdir.begin(config, manifest)
    workdir.history_file.write_text("epoch,loss,accuracy\n1,0.9,0.4\n2,0.7,0.6\n")
    clips = manifest.clips_in(score)
    truth = get_label_ids(manifest.labels, clips)
    seed = [config.train.seed, config.dataset.fold + 1, config.train.batch_size]
    ones = np.ones(len(manifest.labels))
    values = np.random.default_rng(seed).dirichlet(ones, len(clips))
    report = compute_metrics(manifest.labels, truth, values) | {
        "protocol": manifest.protocol,
        "excluded": [],
        "model_epoch": {"epoch": 2, "epochs": 2},
    }
    if score == "validation":
        write_own_session(workdir)
    if score == "test":
        workdir.report.mkdir()
        rows = make_prediction_rows(manifest.labels, clips, values)
        (workdir.report / "predictions.csv").write_text(format_csv(list(rows[0]), rows))
        (workdir.report / "report.json").write_text(json.dumps(report))
    return report


def write_own_session(workdir: Workdir) -> None:
    """Write the settings of the run for TensorBoard, as a training does."""
    from asc_tf.training.hparams_file import write_hparams

    write_hparams(workdir.path / "tensorboard", {"train.epochs": 3}, {})


def run_job(job: dict) -> int:
    """Behave like a run; returns the exit code."""
    config = Config().replace(job["config"])
    workdir = Workdir(Path(job["workdir"]))
    with (workdir.path.parent / "begun.txt").open("a") as stream:
        stream.write(f"{workdir.path.name}\n")
    wanted = json.loads(os.environ.get("BEHAVIOUR", "{}"))
    behaviour = wanted.get(workdir.path.name, "")
    if behaviour == "fail":
        print("a line of the log\nfailed: train.x = 1: too small")
        return 2
    if behaviour == "end":
        return 3
    if behaviour == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "hang":
        time.sleep(600)
    report = write_run(config, workdir, job["score"])
    names = ("accuracy", "macro_accuracy", "log_loss", "roc_auc", "n_clips")
    result = {"score": job["score"], "scores": {n: report[n] for n in names}}
    (workdir.path / RESULT).write_text(json.dumps(result | {"peak_bytes": 10**6}))
    return 0


def main() -> int:
    job = read_job()
    return run_job(job)


if __name__ == "__main__":
    sys.exit(main())
