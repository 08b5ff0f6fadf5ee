"""The doctor: runs exported files, compares them with Keras and measures them."""

import contextlib
import dataclasses
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.core.files import DiskFullError
from asc_tf.dsp import segments
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.evaluation.groups import score_overall
from asc_tf.evaluation.predictor import Predictor
from asc_tf.evaluation.scoring import get_label_ids
from asc_tf.exporting.doctor import gates
from asc_tf.exporting.doctor.agreement import compare
from asc_tf.exporting.doctor.examined_files import ExaminedFile
from asc_tf.exporting.doctor.examined_tflite import ExaminedTflite, open_examined
from asc_tf.exporting.doctor.segment_file import SegmentFile
from asc_tf.exporting.formats import QUANTIZED, TRAINED
from asc_tf.manifest import Manifest, pick_evenly
from asc_tf.pipeline.evaluation_data import load_waveforms, scan_splits
from asc_tf.pipeline.run import Run

SPOOL_BYTES = 2**28
"""Size of the temporary file of segments at which the files classify them."""

LAYER_CLIPS = 16
"""Clips whose first segment the layers are compared on."""


def choose_check_split(splits: Collection[str]) -> str:
    """Choose the split on whose clips the files are compared with Keras."""
    return "validation" if "validation" in splits else "train"


def choose_clips(run: Run, split: str) -> dict[str, Run]:
    """Choose the clips on which files are examined.

    Args:
        run: The run, with the clips of `split` scanned.
        split: Split that decides: `export.check_clips` of its clips, spread evenly.

    Returns:
        The run with the clips of `split`, and with all clips of the test split (without
        it, and with a warning, where the test split cannot be used).
    """
    count = run.config.export.check_clips
    chosen = tuple(pick_evenly(run.manifest.clips_in(split), count))
    runs = {split: run.with_manifest(dataclasses.replace(run.manifest, clips=chosen))}
    try:
        runs["test"] = scan_splits(run, "test")
    except DiskFullError:
        raise
    except UserError as error:
        print(f"no figures on the test split: {error}", file=sys.stderr)
    return runs


def examine(
    files: Mapping[str, Path],
    model: Any,
    runs: Mapping[str, Run],
    folder: Path,
    tensor_names: Mapping[str, Sequence[str]] | None = None,
    references: Mapping[str, Path] | None = None,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Run files, compare them with the Keras model, and measure them.

    Each clip is decoded once. A .tflite runs in a child process, whose crash is a
    finding.

    Args:
        files: Files by format.
        model: Keras model of the run, with the temperature of the files folded in.
        runs: The run with the clips of each split; the first split decides.
        folder: Folder for temporary files.
        tensor_names: Names of the tensors of a format by index, where its file does not
            have them.
        references: Float32 file whose layers those of a format are compared with, where
            it is not `files["float32"]`, which has other weights than the formats that
            were trained further.

    Returns:
        The scores of Keras by split (none if no file can be run), and for each format
        the row of export.json; it has a `reason` if a check has failed.

    Raises:
        DiskFullError: If the disk is full.
        UserError: If a clip can no longer be read, or the model has other labels than
            the run.
    """
    from asc_tf.models.precision import allow_tensor_float_32
    from asc_tf.training.device_memory import explain_full_memory

    allow_tensor_float_32(False)
    split, run = next(iter(runs.items()))
    keras = _make_predictor(run, model)
    scores: dict[str, Any] = {}
    memory = explain_full_memory(run.config, "evaluate")
    with memory, contextlib.ExitStack() as stack:
        examined = [
            stack.enter_context(contextlib.closing(open_examined(name, path, folder)))
            for name, path in files.items()
        ]
        for each in examined:
            each.open(keras.labels, keras.preprocessing)
        if any(each.is_usable for each in examined):
            answers, names = _Answers(keras, examined, folder), tensor_names or {}
            scores = {
                each: answers.compare(of, each, is_gate=each == split)
                for each, of in runs.items()
            }
            for each in examined:
                _check_and_measure(each, run, split, scores[split]["accuracy"])
                usual = None if each.name in TRAINED else files.get("float32")
                reference = (references or {}).get(each.name, usual)
                _compare_layers(each, reference, names, answers.layer_segments)
    return scores, {each.name: complete_row(each) for each in examined}


def _make_predictor(run: Run, model: Any) -> Predictor:
    """Make the predictor of the Keras model.

    Raises:
        UserError: If it has other labels than the run.
    """
    labels = run.manifest.labels
    if model.output_shape[-1] != len(labels):
        raise UserError(
            f"{run.workdir.path}: {len(labels)} labels, but the model has "
            f"{model.output_shape[-1]}; restore manifest.csv or train again"
        )
    config = run.config
    preprocessing = Preprocessing.from_config(config.audio, config.evaluate)
    return Predictor(labels, preprocessing, model.predict_on_batch)


def _check_and_measure(
    file: ExaminedFile, run: Run, split: str, accuracy: float | None
) -> None:
    """Check the agreement with Keras on a split, and measure memory and latency."""
    if split in file.row:
        file.findings += gates.check_agreement(
            file.name, file.row[split], accuracy, split, run.config.export
        )
    if file.is_usable:
        file.attempt("run", file.measure)


def _compare_layers(
    file: ExaminedFile,
    reference: Path | None,
    names: Mapping[str, Sequence[str]],
    segments: SegmentFile,
) -> None:
    """Compare the layers with those of a float32 file, if it is a quantized .tflite."""
    is_quantized = file.is_usable and file.name in QUANTIZED
    if is_quantized and isinstance(file, ExaminedTflite):
        both = [names.get(key, ()) for key in (file.name, "float32")]
        file.compare_layers(reference, both, segments)


def _cut_clips(
    run: Run, split: str, preprocessing: Preprocessing
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the segments of a scanned split in batches, and the clip of each."""
    from asc_tf.pipeline.segments import make_segment_batches
    from asc_tf.pipeline.waveforms import explain_read_errors

    waveforms = load_waveforms(run, split)
    size = run.config.evaluate.batch_size
    with explain_read_errors():
        for batch in make_segment_batches(waveforms, preprocessing, size):
            yield batch["waveform"].numpy(), batch["clip"].numpy()


class _Answers:
    """Probabilities of Keras and of the files under examination, split by split.

    Attributes:
        layer_segments: Some segments of the first split.
    """

    def __init__(
        self, keras: Predictor, examined: Sequence[ExaminedFile], folder: Path
    ) -> None:
        shape = keras.preprocessing.segment_shape
        self._keras, self._examined = keras, examined
        self._spool = SegmentFile(folder / "segments.float32", shape)
        self.layer_segments = SegmentFile(folder / "layers.float32", shape)

    def compare(self, run: Run, split: str, is_gate: bool) -> dict[str, Any]:
        """Compare all files with Keras on a split.

        Args:
            run: The run, with the clips of the split scanned.
            split: Split of the clips.
            is_gate: Whether a file has to answer; otherwise its failure is noted.

        Returns:
            The scores of Keras.
        """
        clips = run.manifest.clips_in(split)
        by_segment, ids = self._predict(run, split, is_gate)
        how = self._keras.preprocessing.pooling
        reference = _pool(by_segment, ids, len(clips), how)
        for each in self._examined:
            if not each.is_usable:
                continue
            probabilities = each.take_answers()
            if probabilities is None:
                continue
            finding = gates.check_probabilities(probabilities)
            if not finding["passed"] and not is_gate:
                text = f"on {split} clips, which do not decide, it {finding['text']}"
                finding = gates.make_finding("finite", None, text)
            if finding not in each.findings:
                each.findings.append(finding)
            if finding["passed"]:
                order = [each.labels.index(label) for label in self._keras.labels]
                pooled = _pool(probabilities[:, order], ids, len(clips), how)
                each.row[split] = compare(run.manifest, split, pooled, reference)
        return {"n_clips": len(clips), **_score(run.manifest, split, reference)}

    def _predict(
        self, run: Run, split: str, is_gate: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Classify a split with Keras and all files.

        Returns:
            Probabilities of Keras `[segments, labels]`, and the clip of each segment.
        """
        from tqdm import tqdm

        n_clips = len(run.manifest.clips_in(split))
        shown = set(pick_evenly(range(n_clips), LAYER_CLIPS))
        rows, ids = [], []
        batches = _cut_clips(run, split, self._keras.preprocessing)
        with tqdm(total=n_clips, unit=" clips", leave=False, disable=None) as progress:
            for waveforms, own in batches:
                rows.append(self._keras.predict_segments(waveforms))
                ids.append(own)
                self._spool.append(waveforms)
                self._add_layer_segments(waveforms, own, shown)
                if self._spool.bytes >= SPOOL_BYTES:
                    self._run_files(split, is_gate)
                progress.update(int(own.max()) + 1 - progress.n)
        self._run_files(split, is_gate)
        return np.concatenate(rows), np.concatenate(ids)

    def _add_layer_segments(
        self, waveforms: np.ndarray, clip_ids: np.ndarray, shown: set[int]
    ) -> None:
        """Keep the first segment of the first clips that are to be shown."""
        for segment, clip in zip(waveforms, clip_ids.tolist(), strict=True):
            if clip in shown and self.layer_segments.count < LAYER_CLIPS:
                shown.remove(clip)
                self.layer_segments.append(segment[np.newaxis])

    def _run_files(self, split: str, is_gate: bool) -> None:
        """Let every file classify the segments, which are removed afterwards."""
        if self._spool.count:
            for each in self._examined:
                each.predict(self._spool, split, is_gate)
        self._spool.clear()


def _pool(
    probabilities: np.ndarray, clip_ids: np.ndarray, n_clips: int, how: str
) -> np.ndarray:
    """Pool the probabilities of segments to clips: float64 rows that sum to 1."""
    scaled = probabilities.astype(np.float64)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return segments.pool(scaled, clip_ids, n_clips, how)


def _score(
    manifest: Manifest, split: str, probabilities: np.ndarray
) -> dict[str, float | None]:
    """Compute the main scores of clips; None where they have no labels."""
    clips = manifest.clips_in(split)
    if not all(clip.label for clip in clips):
        return dict.fromkeys(("accuracy", "macro_accuracy", "log_loss"))
    return dict(score_overall(get_label_ids(manifest.labels, clips), probabilities))


def complete_row(examined: ExaminedFile) -> dict[str, Any]:
    """Return the row of a file with its findings, and the reason if it has failed."""
    row = {**examined.row, "findings": examined.findings}
    if reasons := gates.list_failures(examined.findings):
        row["reason"] = "; ".join(dict.fromkeys(reasons))
    return row
