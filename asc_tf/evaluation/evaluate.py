"""Evaluate the model of a run: score its clips and write the report."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asc_tf import datasets
from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import DiskFullError
from asc_tf.evaluation.examples_of_mistakes import collect_mistakes
from asc_tf.evaluation.scoring import (
    add_fit,
    describe_left_out,
    describe_model_epoch,
    describe_origin,
    find_model_epoch,
    get_label_ids,
    join_predictions,
    make_prediction_rows,
    score,
    score_segments,
    score_splits,
)
from asc_tf.evaluation.split_predictor import SplitPredictor, say
from asc_tf.evaluation.validation import (
    ValidationFit,
    describe_fit,
    fit_validation,
    write_fit,
)
from asc_tf.manifest import SPLITS, Clip, Manifest
from asc_tf.pipeline.corpus_checks import (
    describe_corpus_problems,
    describe_missing_recordings,
    describe_unusual_clips,
)
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
    predictor = SplitPredictor(run)
    run, by_split = predictor.predict(splits, run.config.dataset.max_missing)
    predictions = join_predictions(by_split)
    fit, notes = _fit_validation(predictor, run, splits, by_split)
    say("computing the scores and their intervals ...")
    report = _make_report(run, splits, predictions, fit, notes)
    clips = run.manifest.clips_in(*splits)
    threshold = fit.threshold if fit else None
    rows = make_prediction_rows(
        run.manifest.labels, clips, predictions.clips, threshold
    )
    say("writing the report ...")
    is_test = splits == ("test",)
    folder = workdir.report if is_test else workdir.report / "_".join(splits)
    mistakes = collect_mistakes(run, clips, predictions)
    page = write_report(
        folder, report, rows, history=workdir.history_file, mistakes=mistakes
    )
    if fit:
        write_fit(workdir, fit, run.config.evaluate)
    return report, page


def _make_report(
    run: Run,
    splits: Sequence[str],
    predictions: "ClipPredictions",
    fit: ValidationFit | None,
    fit_notes: Sequence[str],
) -> dict[str, Any]:
    """Make the content of report.json; print what is unusual about the corpus."""
    config, manifest, workdir = run.config, run.manifest, run.workdir
    clips = manifest.clips_in(*splits)
    notes = describe_corpus_problems(manifest, config.dataset.folder, SPLITS, splits)
    for note in notes:
        print(note, file=sys.stderr)
    epoch = find_model_epoch(workdir, config)
    report = {
        "split": ", ".join(splits),
        "partial": describe_left_out(manifest, splits),
        "leaky": bool(manifest.protocol.get("leaky")),
        "model_epoch": epoch,
        **score(manifest, splits, predictions.clips),
        "per_split": score_splits(manifest, splits, predictions.clips),
        "segments": score_segments(manifest, clips, predictions, config.evaluate),
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
            *fit_notes,
        ],
        **describe_origin(config),
    }
    return add_fit(report, fit, clips, predictions, config.evaluate)


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


def _fit_validation(
    predictor: SplitPredictor,
    run: Run,
    splits: Sequence[str],
    predictions: Sequence["ClipPredictions"],
) -> tuple[ValidationFit | None, list[str]]:
    """Fit temperature and threshold to the validation split, if there is one.

    Returns:
        The fit, and notes on it; None and a note if it cannot be computed.
    """
    settings = run.config.evaluate
    if not settings.calibrate or "validation" not in run.manifest.splits:
        return None, []
    try:
        if "validation" in splits:
            found = predictions[list(splits).index("validation")]
        else:
            run, (found,) = predictor.predict(["validation"], max_left_out=1.0)
    except DiskFullError:
        raise
    except UserError as error:
        note = f"No temperature and no threshold for unknown clips: {error}"
        say(note)
        return None, [note]
    clips = run.manifest.clips_in("validation")
    fit = fit_validation(get_label_ids(run.manifest.labels, clips), found, settings)
    return fit, describe_fit(fit, splits)


def _describe_clips(clips: Sequence[Clip], config: Config) -> list[str]:
    """Describe unusual clips, and a corpus that does not name its recordings."""
    return [*describe_unusual_clips(clips, config), *describe_missing_recordings(clips)]


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
