"""asc-tf evaluate: a run folder in, its report out. The first to read the test part."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from asc_tf import command, metrics
from asc_tf.config import Config, Evaluate
from asc_tf.errors import UsageError, UserError
from asc_tf.manifest import SPLITS, Clip, Manifest
from asc_tf.preparation import corpus_notes, oddities, say_excluded
from asc_tf.stored import StoredFeatures
from asc_tf.workdir import PLACES, Workdir

if TYPE_CHECKING:
    from asc_tf.pipeline import Waveforms
    from asc_tf.predictor import ClipPredictions, Predictor

USAGE = """
Evaluate a trained run on a part of its corpus, and write its report folder.

  asc-tf evaluate --workdir=runs/esc10 [--split=test]
"""


SEGMENT_SCORES = ("accuracy", "micro_f1", "roc_auc", "log_loss")
"""What is told of segments too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return command.run(COMMAND, argv)


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("workdir", None, "the run folder", flag_values=values)
    flags.DEFINE_enum(
        "split", "test", SPLITS, "the part to evaluate", flag_values=values
    )


def _main(values: flags.FlagValues) -> int:
    command.no_positional(values)
    workdir = Workdir(command.existing_folder(values, "workdir"))
    changes = command.changed(values, COMMAND.configuration_keys())
    for key in PLACES:
        if folder := changes.get(key):
            changes[key] = command.absolute(folder)
    report, page = evaluate(workdir, values.split, changes)
    print(
        f"{report['split']}: {report['n_clips']} clips, accuracy "
        f"{report['accuracy']:.1%}, macro-averaged {report['macro_accuracy']:.1%}, "
        f"log loss {report['log_loss']:.3f}"
        + (" (LEAKY protocol)" if report["protocol"].get("leaky") else "")
    )
    print(page)
    return 0


def evaluate(
    workdir: Workdir, split: str = "test", changes: dict[str, Any] | None = None
) -> tuple[dict[str, Any], Path]:
    """Evaluate the best model of a run.

    Args:
        workdir: The run folder.
        split: The part to evaluate.
        changes: Configuration keys to use instead of the run's.

    Returns:
        The content of report.json, and the path of report.html.

    Raises:
        UserError: If there is no model, or no usable clip.
    """
    from asc_tf.report import write_report

    config = workdir.config().replace(changes or {})
    manifest, predictions = _predictions(config, workdir, split)
    clips = manifest.part(split)
    notes = corpus_notes(manifest, Path(config.dataset.dir), SPLITS, (split,))
    for note in notes:
        print(note, file=sys.stderr)
    report: dict[str, Any] = {"split": split}
    report |= score(manifest, split, predictions.clips)
    report |= {
        "segments": _segment_scores(
            manifest.labels, clips, predictions, config.evaluate
        ),
        "excluded": [
            {"file": clip.path, "reason": clip.reason}
            for clip in manifest.excluded
            if clip.split == split
        ],
        "protocol": manifest.protocol,
        "model": config.model.name,
        "workdir": workdir.path.name,
        "notes": [
            *notes,
            *_notes(clips, config),
            *_lost(manifest),
        ],
    }
    rows = _prediction_rows(manifest.labels, clips, predictions.clips)
    folder = workdir.report if split == "test" else workdir.report / split
    page = write_report(folder, report, rows, history=workdir.history_file)
    return report, page


def _predictions(
    config: Config, workdir: Workdir, split: str
) -> tuple[Manifest, "ClipPredictions"]:
    """What the best model says of a part, from stored features where these are used."""
    from asc_tf.predictor import load_workdir, predict_stored

    if not config.dataset.features:
        predictor = load_workdir(workdir.path)
        manifest = scanned(config, workdir, split)
        return manifest, predict_part(predictor, config, workdir, manifest, split)
    stored = StoredFeatures.open(config.dataset.features)
    stored.check(config)
    _check_same_corpus(stored, workdir, split)
    found = predict_stored(workdir.require_model(), stored, split, config.evaluate)
    return stored.manifest, found


def _check_same_corpus(stored: StoredFeatures, workdir: Workdir, split: str) -> None:
    """Refuse features of other labels, or of clips that the run has in other splits.

    Raises:
        UsageError: Naming what differs.
    """
    run, place = workdir.manifest(), f"dataset.features = {stored.path}"
    if stored.labels != run.labels:
        raise UsageError(
            f"{place}: its labels are {', '.join(stored.labels)}, those of the run "
            f"{', '.join(run.labels)}; name features of the run's corpus"
        )
    others = {(c.path, c.start): c.split for c in run.clips if c.split != split}
    for clip in stored.manifest.part(split):
        if other := others.get((clip.path, clip.start)):
            raise UsageError(
                f"{place}: {clip.path} is of its {split} part, but of the {other} part "
                "of the run; write features anew, with the run's dataset settings"
            )


def scanned(config: Config, workdir: Workdir, split: str) -> Manifest:
    """The manifest of a run with one part scanned.

    What the scan of the test part found is noted in the run folder; the other parts
    stay there as training found them.

    Raises:
        UserError: If no clip of the part can be used.
    """
    from asc_tf.scan import scan

    known = workdir.manifest()
    manifest = scan(
        known,
        Path(config.dataset.dir),
        (split,),
        config.audio,
        known=known.clips,
    )
    if not manifest.part(split):
        raise UserError(
            f"the {split} part has no usable clip below {config.dataset.dir}; when the "
            "corpus has moved, give --dataset.dir"
        )
    say_excluded(manifest, (split,))
    if split == "test" and manifest != known:
        workdir.write_manifest(manifest)
    return manifest


def part_waveforms(
    config: Config, workdir: Workdir, manifest: Manifest, split: str
) -> "Waveforms":
    """The clips of a scanned part, which are decoded once: memory keeps none."""
    from asc_tf.pipeline import Waveforms

    audio = config.audio
    if audio.cache == "memory":
        audio = dataclasses.replace(audio, cache="none")
    return Waveforms(
        manifest.part(split),
        Path(config.dataset.dir),
        manifest.labels,
        audio,
        workdir.audio_cache(config.audio),
    )


def predict_part(
    predictor: "Predictor",
    config: Config,
    workdir: Workdir,
    manifest: Manifest,
    split: str,
) -> "ClipPredictions":
    """Run a predictor on the clips of a scanned part."""
    waveforms = part_waveforms(config, workdir, manifest, split)
    return predictor.predict_clips(waveforms, config.evaluate)


def score(manifest: Manifest, split: str, probabilities: np.ndarray) -> dict[str, Any]:
    """Metrics of the clips of one part; see `asc_tf.metrics.evaluate`."""
    clips = manifest.part(split)
    return metrics.evaluate(
        manifest.labels,
        truth_of(manifest.labels, clips),
        probabilities,
        devices=[clip.device for clip in clips],
        cities=[clip.city for clip in clips],
    )


def truth_of(labels: Sequence[str], clips: Sequence[Clip]) -> np.ndarray:
    """Label ids of clips: int64 `[clips]`."""
    ids = {label: index for index, label in enumerate(labels)}
    return np.array([ids[clip.label] for clip in clips])


def _segment_scores(
    labels: Sequence[str],
    clips: Sequence[Clip],
    predictions: "ClipPredictions",
    settings: Evaluate,
) -> dict[str, Any]:
    truth = truth_of(labels, clips)[predictions.clip_ids]
    scores = metrics.evaluate(labels, truth, predictions.segments)
    return {
        "n_segments": len(truth),
        **{name: scores[name] for name in SEGMENT_SCORES},
        "which": settings.segments,
        "pooling": settings.pooling,
    }


def _notes(clips: Sequence[Clip], config: Config) -> list[str]:
    notes = oddities(clips, config.audio)
    if all(clip.identifier == clip.path for clip in clips):
        notes.append(
            "Each file counts as a recording of its own: if some are of one recording, "
            "the split may be leaky."
        )
    return notes


def _lost(manifest: Manifest) -> list[str]:
    """What training went without."""
    notes = []
    for split in ("train", "validation"):
        if lost := [clip for clip in manifest.excluded if clip.split == split]:
            notes.append(
                f"{len(lost)} {split} clips were left out, {lost[0].path} for one "
                f"({lost[0].reason}); manifest.csv names them all"
            )
    return notes


def _prediction_rows(
    labels: Sequence[str], clips: Sequence[Clip], probabilities: np.ndarray
) -> list[dict[str, Any]]:
    rows = []
    for clip, values in zip(clips, probabilities, strict=True):
        best, second = np.argsort(-values, kind="stable")[:2]
        rows.append(
            {
                "file": clip.path,
                "start": clip.start,
                "label": clip.label,
                "predicted": labels[best],
                "probability": float(values[best]),
                "second": labels[second],
                "second_probability": float(values[second]),
                "identifier": clip.identifier,
                "city": clip.city,
                "device": clip.device,
            }
            | {f"p_{name}": float(p) for name, p in zip(labels, values, strict=True)}
        )
    return rows


COMMAND = command.Command(
    name="evaluate",
    usage=USAGE,
    main=_main,
    define=_define,
    sections=("evaluate",),
    keys=("dataset.dir", "dataset.features", "audio.cache_dir"),
)

if __name__ == "__main__":
    sys.exit(main())
