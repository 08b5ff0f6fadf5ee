"""Evaluate the model of a run: score its clips and write the report."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asc_tf import datasets
from asc_tf.config import Config
from asc_tf.core.errors import UsageError
from asc_tf.evaluation.examples_of_mistakes import collect_mistakes
from asc_tf.evaluation.scoring import (
    describe_left_out,
    describe_model_epoch,
    find_model_epoch,
    join_predictions,
    make_prediction_rows,
    score,
    score_segments,
    score_splits,
)
from asc_tf.manifest import SPLITS, Clip, Manifest
from asc_tf.pipeline.corpus_checks import (
    check_left_out,
    describe_corpus_problems,
    describe_unusual_clips,
)
from asc_tf.pipeline.evaluation_data import scan_splits
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.run import Run
from asc_tf.workdir import Workdir

if TYPE_CHECKING:
    from asc_tf.evaluation.predictor import ClipPredictions


def evaluate(
    workdir: Workdir,
    split: str | Sequence[str] = "test",
    changes: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Evaluate the model of a run.

    Args:
        workdir: Run folder.
        split: Split to evaluate, or several that are reported together.
        changes: Configuration keys to use instead of the run's.

    Returns:
        Content of report.json, and path of report.html.

    Raises:
        UsageError: If the run has no such split.
        UserError: If there is no model, no usable clip, or too many are left out.
    """
    from asc_tf.report import write_report

    splits = (split,) if isinstance(split, str) else tuple(split)
    run = Run.open(workdir, changes)
    _check_splits(run, splits)
    run, predictions = _predict_splits(run, splits)
    report = _make_report(run, splits, predictions)
    clips = run.manifest.clips_in(*splits)
    rows = make_prediction_rows(run.manifest.labels, clips, predictions.clips)
    is_test = splits == ("test",)
    folder = workdir.report if is_test else workdir.report / "_".join(splits)
    mistakes = collect_mistakes(run, clips, predictions)
    page = write_report(
        folder, report, rows, history=workdir.history_file, mistakes=mistakes
    )
    return report, page


def _make_report(
    run: Run, splits: Sequence[str], predictions: "ClipPredictions"
) -> dict[str, Any]:
    """Make the content of report.json; print what is unusual about the corpus."""
    config, manifest, workdir = run.config, run.manifest, run.workdir
    clips = manifest.clips_in(*splits)
    notes = describe_corpus_problems(manifest, Path(config.dataset.dir), SPLITS, splits)
    for note in notes:
        print(note, file=sys.stderr)
    epoch = find_model_epoch(workdir, config)
    return {
        "split": ", ".join(splits),
        "partial": describe_left_out(manifest, splits),
        "model_epoch": epoch,
        **score(manifest, splits, predictions.clips),
        "per_split": score_splits(manifest, splits, predictions.clips),
        "segments": score_segments(
            manifest.labels, clips, predictions, config.evaluate
        ),
        "excluded": [
            {"file": clip.path, "reason": clip.reason}
            for clip in manifest.excluded
            if clip.split in splits
        ],
        "protocol": manifest.protocol,
        "split_table": datasets.tabulate_splits(manifest),
        "energy": workdir.energy() or None,
        "model": config.model.name,
        "workdir": workdir.path.name,
        "notes": [
            *notes,
            *describe_model_epoch(epoch),
            *_describe_clips(clips, config),
            *_describe_excluded(manifest, splits),
        ],
    }


def _check_splits(run: Run, splits: Sequence[str]) -> None:
    """Refuse splits that the run lacks, and clips with and without labels together.

    Raises:
        UsageError: If a split is refused; the message names it.
    """
    settings = run.config.dataset
    for name in splits:
        if name not in (*settings.training_splits, "test"):
            raise UsageError(
                f"--split={name}: the run in {run.workdir.path} has no {name} split "
                f"(dataset.validation = {settings.validation}); use train or test"
            )
    if len({bool(clip.label) for clip in run.manifest.clips_in(*splits)}) > 1:
        raise UsageError(
            f"--split={','.join(splits)}: the test split of this run has no labels; "
            "evaluate it by itself"
        )


def _predict_splits(run: Run, splits: Sequence[str]) -> tuple[Run, "ClipPredictions"]:
    """Run the model of a run on splits, from stored features where the run uses them.

    Returns:
        The run with the manifest of the predictions, and the predictions.
    """
    from asc_tf.evaluation.load import load_workdir
    from asc_tf.evaluation.predictor import predict_stored

    config, workdir = run.config, run.workdir
    if not config.dataset.features:
        predictor = load_workdir(workdir.path)
        run = scan_splits(run, *splits, max_left_out=config.dataset.max_missing)
        return run, join_predictions([predictor.predict_split(run, s) for s in splits])
    stored = StoredFeatures.open(config.dataset.features)
    stored.check(config)
    check_left_out(stored.manifest, splits, config.dataset.max_missing)
    model = workdir.require_model()
    for split in splits:
        _check_same_corpus(stored, run.manifest, split)
    predictions = [predict_stored(model, stored, s, config.evaluate) for s in splits]
    return run.with_manifest(stored.manifest), join_predictions(predictions)


def _check_same_corpus(stored: StoredFeatures, manifest: Manifest, split: str) -> None:
    """Refuse features of other labels, or of clips that the run has in other splits.

    Raises:
        UsageError: If they differ; the message names a difference.
    """
    place = f"dataset.features = {stored.path}"
    if stored.labels != manifest.labels:
        raise UsageError(
            f"{place}: its labels are {', '.join(stored.labels)}, those of the run "
            f"{', '.join(manifest.labels)}; name features of the run's corpus"
        )
    others = {(c.path, c.start): c.split for c in manifest.clips if c.split != split}
    for clip in stored.manifest.clips_in(split):
        if other := others.get((clip.path, clip.start)):
            raise UsageError(
                f"{place}: {clip.path} is in its {split} split, but in the {other} "
                "split of the run; write features again, with the run's dataset "
                "settings"
            )


def _describe_clips(clips: Sequence[Clip], config: Config) -> list[str]:
    """Describe unusual clips, and a corpus that does not name its recordings."""
    notes = describe_unusual_clips(clips, config.audio)
    if all(clip.identifier == clip.path for clip in clips):
        notes.append(
            "Each file counts as a recording of its own: if some are of one recording, "
            "the split may be leaky."
        )
    return notes


def _describe_excluded(manifest: Manifest, splits: Sequence[str]) -> list[str]:
    """Describe excluded training and validation clips of splits without a report."""
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
