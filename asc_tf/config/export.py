"""The export section of a configuration: exported files and their checks."""

from dataclasses import dataclass

from asc_tf.config.options import Section, option


@dataclass(frozen=True)
class Export(Section):
    """Exported files, and the checks that they must pass."""

    formats: tuple[str, ...] = option(
        ("saved_model", "float32", "int8"),
        "formats to write: a SavedModel, and one .tflite file per precision",
        choices=("saved_model", "float32", "int8"),
    )
    calibration_segments: int = option(
        128,
        "training segments that set the ranges of int8",
        minimum=1,
        maximum=100000,
    )
    check_clips: int = option(
        64,
        "validation clips (or training clips, where the run has no validation split) "
        "on which each file must agree with Keras",
        minimum=1,
        maximum=100000,
    )
    min_agreement: float = option(
        0.85,
        "smallest accepted share of equal labels of an int8 file and Keras",
        minimum=0.0,
        maximum=1.0,
    )
