"""Predictions of the splits of a run, from its audio or its stored features."""

import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asc_tf.core.errors import UsageError
from asc_tf.manifest import Manifest
from asc_tf.pipeline.corpus_checks import check_left_out
from asc_tf.pipeline.evaluation_data import scan_splits
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.run import Run

if TYPE_CHECKING:
    from asc_tf.evaluation.predictor import ClipPredictions


def say(text: str) -> None:
    """Print on stderr what evaluation does next."""
    print(text, file=sys.stderr, flush=True)


class SplitPredictor:
    """Model of a run that classifies its splits; it is loaded once.

    Raises:
        UserError: If the model is missing or damaged.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        run.workdir.require_model()
        if not run.config.dataset.features:
            from asc_tf.evaluation.load import load_workdir

            say("loading the model ...")
            self._predictor = load_workdir(run.workdir.path)

    def predict(
        self, splits: Sequence[str], max_left_out: float
    ) -> tuple[Run, "list[ClipPredictions]"]:
        """Scan splits and classify their clips.

        Args:
            splits: Splits; their clips are checked together.
            max_left_out: Share of clips that may be left out, 0 to 1.

        Returns:
            The run with the manifest of the predictions, and those of each split.

        Raises:
            UserError: If a split has no usable clip, or too few.
        """
        if self._run.config.dataset.features:
            return self._predict_stored(splits, max_left_out)
        say(f"checking the files of {' and '.join(splits)} ...")
        run = scan_splits(self._run, *splits, max_left_out=max_left_out)
        predictions = []
        for split in splits:
            say(f"predicting {len(run.manifest.clips_in(split))} clips of {split} ...")
            predictions.append(self._predictor.predict_split(run, split))
        return run, predictions

    def _predict_stored(
        self, splits: Sequence[str], max_left_out: float
    ) -> tuple[Run, "list[ClipPredictions]"]:
        from asc_tf.evaluation.predictor import predict_stored

        run, stored = self._run, self._stored
        check_left_out(stored.manifest, splits, max_left_out)
        for split in splits:
            _check_same_corpus(stored, run.manifest, split)
        predictions = []
        model = self._model
        for split in splits:
            say(f"predicting {stored.n_clips(split)} clips of {split} ...")
            predictions.append(predict_stored(model, stored, split, run.config))
        return run.with_manifest(stored.manifest), predictions

    @functools.cached_property
    def _stored(self) -> StoredFeatures:
        stored = StoredFeatures.open(self._run.config.dataset.features)
        stored.check(self._run.config)
        return stored

    @functools.cached_property
    def _model(self) -> Any:
        from asc_tf.models.precision import allow_tensor_float_32
        from asc_tf.training.model_file import load_whole

        say("loading the model ...")
        allow_tensor_float_32(False)
        return load_whole(self._run.workdir.model_file)


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
