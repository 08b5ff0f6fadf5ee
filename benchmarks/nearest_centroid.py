"""Accuracy of a nearest-centroid classifier and of a run on the same clips.

    python benchmarks/nearest_centroid.py --workdir=runs/demo/run [--min_gap=15]

The classifier (scikit-learn) uses the mean over time of each clip's log-mel spectrum,
with and without the mean level of the clip, and is fitted on the run's training split.
The accuracy of the run comes from its report. Exits with 1 if the run is less than
`--min_gap` points ahead of the better of the two classifiers.
"""

import json
import sys
from pathlib import Path

import numpy as np
from absl import app, flags
from sklearn.neighbors import NearestCentroid

from asc_tf.core.tensorflow_start import prepare_tensorflow

prepare_tensorflow()

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "an evaluated run folder", required=True
)
_MAX_ACCURACY = flags.DEFINE_float(
    "max_accuracy", 100.0, "largest accepted accuracy of the run, per cent"
)
_MIN_GAP = flags.DEFINE_float(
    "min_gap", 0.0, "smallest accepted lead, percentage points"
)


def mean_spectra(workdir, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean log-mel spectra `[clips, n_mels]` and label ids of a split."""
    from asc_tf.dsp.preprocessing import Preprocessing
    from asc_tf.evaluation.scoring import get_label_ids
    from asc_tf.frontend import FrontendLayer
    from asc_tf.pipeline.evaluation_data import load_waveforms, scan_splits
    from asc_tf.pipeline.run import Run
    from asc_tf.pipeline.segments import make_segment_batches

    run = scan_splits(Run.open(workdir), split)
    config, manifest = run.config, run.manifest
    clips = manifest.clips_in(split)
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    preprocessing = Preprocessing.from_config(config.audio, config.evaluate)
    batches = make_segment_batches(
        load_waveforms(run, split), preprocessing, config.evaluate.batch_size
    )
    means = np.zeros((len(clips), config.frontend.n_mels))
    counts = np.bincount(
        np.concatenate([batch["clip"] for batch in batches]), minlength=len(clips)
    )
    for batch in batches:
        spectra = layer.extract(batch["waveform"]).numpy().mean(axis=1)
        np.add.at(means, batch["clip"].numpy(), spectra)
    return means / counts[:, np.newaxis], get_label_ids(manifest.labels, clips)


def main(_: list[str]) -> None:
    from asc_tf.workdir import Workdir

    workdir = Workdir(Path(_WORKDIR.value))
    report = json.loads((workdir.report / "report.json").read_text())
    train, train_ids = mean_spectra(workdir, "train")
    test, test_ids = mean_spectra(workdir, report["split"])
    accuracies = {}
    for name, level in (("mean log-mel", 0), ("the same, level taken out", 1)):
        fitted = NearestCentroid().fit(
            train - level * train.mean(axis=1, keepdims=True), train_ids
        )
        accuracies[name] = fitted.score(
            test - level * test.mean(axis=1, keepdims=True), test_ids
        )
    for name, accuracy in accuracies.items():
        print(f"nearest centroid, {name:26} {accuracy:6.1%}")
    print(f"{report['model']:44} {report['accuracy']:6.1%}")
    gap = 100 * (report["accuracy"] - max(accuracies.values()))
    print(f"lead over the better: {gap:.1f} points")
    if gap < _MIN_GAP.value:
        sys.exit(f"less than --min_gap={_MIN_GAP.value:g} points")
    if 100 * report["accuracy"] > _MAX_ACCURACY.value:
        sys.exit(f"more than --max_accuracy={_MAX_ACCURACY.value:g} %")


if __name__ == "__main__":
    app.run(main)
