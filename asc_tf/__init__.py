"""Acoustic scene and environmental sound classification on TensorFlow and Keras."""

from typing import TYPE_CHECKING, Any

from asc_tf.core.version import __version__

if TYPE_CHECKING:
    from asc_tf.evaluation.predictor import Predictor

__all__ = ["__version__", "load"]


def load(path: Any) -> "Predictor":
    """Load a trained model.

    Args:
        path: Run folder, export folder, SavedModel or .tflite.

    Returns:
        Predictor with `predict(waveform, sample_rate)`, `predict_files(paths)` and
        `predict_recording(path)`.

    Raises:
        asc_tf.core.errors.UserError: If there is no model at `path`, or it is damaged.
    """
    from asc_tf.evaluation.load import load as load_predictor

    return load_predictor(path)
