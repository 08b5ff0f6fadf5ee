"""Evaluate the model of a run: score its clips and write the report."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asc_tf import datasets
from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.evaluation.scoring import (
    describe_kept,
    describe_left_out,
    join_predictions,
    kept_epoch,
    prediction_rows,
    score,
    score_segments,
    score_splits,
)
from asc_tf.manifest import SPLITS, Clip, Manifest
from asc_tf.pipeline.corpus_checks import (
    check_left_out,
    corpus_notes,
    oddities,
    print_excluded,
)
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.workdir import Workdir

if TYPE_CHECKING:
    from asc_tf.evaluation.predictor import ClipPredictions, Predictor
    from asc_tf.pipeline.waveforms import Waveforms


def evaluate(
    workdir: Workdir,
    split: str | Sequence[str] = "test",
    changes: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Evaluate the model of a run.

    Args:
        workdir: The run folder.
        split: The part to evaluate, or several that are reported together.
        changes: Configuration keys to use instead of the run's.

    Returns:
        The content of report.json, and the path of report.html.

    Raises:
        UsageError: If the run has no such split.
        UserError: If there is no model, no usable clip, or too many are left out.
    """
    from asc_tf.report import write_report

    splits = (split,) if isinstance(split, str) else tuple(split)
    config = workdir.config().replace(changes or {})
    for name in splits:
        if name not in (*config.dataset.training_splits, "test"):
            raise UsageError(
                f"--split={name}: the run in {workdir.path} has no {name} part "
                f"(dataset.validation = {config.dataset.validation}); use train or test"
            )
    _check_labels(workdir.manifest().clips_in(*splits), splits)
    manifest, predictions = _predictions(config, workdir, splits)
    clips = manifest.clips_in(*splits)
    excluded = [clip for clip in manifest.excluded if clip.split in splits]
    notes = corpus_notes(manifest, Path(config.dataset.dir), SPLITS, splits)
    for note in notes:
        print(note, file=sys.stderr)
    kept = kept_epoch(workdir, config)
    report: dict[str, Any] = {
        "split": ", ".join(splits),
        "partial": describe_left_out(manifest, splits),
        "model_epoch": kept,
    }
    report |= score(manifest, splits, predictions.clips)
    report |= {
        "per_split": score_splits(manifest, splits, predictions.clips),
        "segments": score_segments(
            manifest.labels, clips, predictions, config.evaluate
        ),
        "excluded": [{"file": clip.path, "reason": clip.reason} for clip in excluded],
        "protocol": manifest.protocol,
        "split_table": datasets.split_table(manifest),
        "energy": workdir.energy() or None,
        "model": config.model.name,
        "workdir": workdir.path.name,
        "notes": [
            *notes,
            *describe_kept(kept),
            *_notes(clips, config),
            *_lost(manifest, splits),
        ],
    }
    rows = prediction_rows(manifest.labels, clips, predictions.clips)
    is_test = splits == ("test",)
    folder = workdir.report if is_test else workdir.report / "_".join(splits)
    page = write_report(folder, report, rows, history=workdir.history_file)
    return report, page


def _check_labels(clips: Sequence[Clip], splits: Sequence[str]) -> None:
    """Refuse clips with labels and clips without in one report.

    Raises:
        UsageError: If there are both.
    """
    if len({bool(clip.label) for clip in clips}) > 1:
        raise UsageError(
            f"--split={','.join(splits)}: the test part of this run has no labels; "
            "evaluate it by itself"
        )


def _predictions(
    config: Config, workdir: Workdir, splits: Sequence[str]
) -> tuple[Manifest, "ClipPredictions"]:
    """What the model says of splits, from stored features where these are used."""
    from asc_tf.evaluation.predictor import load_workdir, predict_stored

    if not config.dataset.features:
        predictor = load_workdir(workdir.path)
        limit = config.dataset.max_missing
        manifest = scan_splits(config, workdir, *splits, max_left_out=limit)
        found = [
            predict_split(predictor, config, workdir, manifest, split)
            for split in splits
        ]
        return manifest, join_predictions(found)
    stored = StoredFeatures.open(config.dataset.features)
    stored.check(config)
    check_left_out(stored.manifest, splits, config.dataset.max_missing)
    model = workdir.require_model()
    for split in splits:
        _check_same_corpus(stored, workdir, split)
    found = [predict_stored(model, stored, split, config.evaluate) for split in splits]
    return stored.manifest, join_predictions(found)


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
    for clip in stored.manifest.clips_in(split):
        if other := others.get((clip.path, clip.start)):
            raise UsageError(
                f"{place}: {clip.path} is of its {split} part, but of the {other} part "
                "of the run; write features anew, with the run's dataset settings"
            )


def scan_splits(
    config: Config, workdir: Workdir, *splits: str, max_left_out: float = 1.0
) -> Manifest:
    """The manifest of a run with some parts scanned.

    What the scan of the test part found is noted in the run folder; the other parts
    stay there as training found them.

    Args:
        config: The configuration.
        workdir: The run folder.
        splits: The parts.
        max_left_out: Share of clips that may be left out; see `check_left_out`.

    Raises:
        UserError: If no clip of a part can be used, or too few can.
    """
    from asc_tf.audio.scan import scan

    known = workdir.manifest()
    manifest = scan(
        known,
        Path(config.dataset.dir),
        splits,
        config.audio,
        known=known.clips,
    )
    for split in splits:
        if not manifest.clips_in(split):
            raise UserError(
                f"the {split} part has no usable clip below {config.dataset.dir}; when "
                "the corpus has moved, give --dataset.dir"
            )
    print_excluded(manifest, splits)
    check_left_out(manifest, splits, max_left_out)
    if "test" in splits:
        noted = dataclasses.replace(manifest, clips=_with_test(known, manifest))
        if noted != known:
            workdir.write_manifest(noted)
    return manifest


def _with_test(known: Manifest, scanned: Manifest) -> tuple[Clip, ...]:
    """The rows of a run, those of the test part as they were scanned now."""
    pairs = zip(known.clips, scanned.clips, strict=True)
    return tuple(new if new.split == "test" else old for old, new in pairs)


def load_waveforms(
    config: Config, workdir: Workdir, manifest: Manifest, split: str
) -> "Waveforms":
    """The clips of a scanned part, which are decoded once: memory keeps none."""
    from asc_tf.pipeline.waveforms import Waveforms

    audio = config.audio
    if audio.cache == "memory":
        audio = dataclasses.replace(audio, cache="none")
    return Waveforms(
        manifest.clips_in(split),
        Path(config.dataset.dir),
        manifest.labels,
        audio,
        workdir.audio_cache(config.audio),
    )


def predict_split(
    predictor: "Predictor",
    config: Config,
    workdir: Workdir,
    manifest: Manifest,
    split: str,
) -> "ClipPredictions":
    """Run a predictor on the clips of a scanned part."""
    waveforms = load_waveforms(config, workdir, manifest, split)
    return predictor.predict_clips(waveforms, config.evaluate)


def _notes(clips: Sequence[Clip], config: Config) -> list[str]:
    notes = oddities(clips, config.audio)
    if all(clip.identifier == clip.path for clip in clips):
        notes.append(
            "Each file counts as a recording of its own: if some are of one recording, "
            "the split may be leaky."
        )
    return notes


def _lost(manifest: Manifest, splits: Sequence[str]) -> list[str]:
    """Notes on excluded training and validation clips, if these are not reported."""
    notes = []
    for split in ("train", "validation"):
        if split in splits:
            continue
        if lost := [clip for clip in manifest.excluded if clip.split == split]:
            notes.append(
                f"{len(lost)} {split} clips were left out, {lost[0].path} for one "
                f"({lost[0].reason}); manifest.csv names them all"
            )
    return notes
