"""The evaluate section of a configuration: segments to clips."""

from dataclasses import dataclass

from asc_tf.config.options import Section, option


@dataclass(frozen=True)
class Evaluate(Section):
    """Evaluation: the segments of a clip, and how they become one answer."""

    batch_size: int = option(32, "segments per step", minimum=1, maximum=65536)
    segments: str = option(
        "all",
        "segments of a clip: all, or the one in its middle",
        choices=("all", "centre"),
    )
    overlap: float = option(
        0.0,
        "share of a segment that the next one repeats, in evaluation, prediction and "
        "export; 0: audio.hop_seconds decides",
        minimum=0.0,
        maximum=0.95,
        only_with={"segments": "all"},
    )
    pooling: str = option(
        "mean",
        "segments to clips: mean of the probabilities, mean of their logarithms, or "
        "majority of the labels",
        choices=("mean", "mean_log", "majority"),
    )
    calibrate: bool = option(
        True,
        "predict the validation split too, and fit to it the temperature of the "
        "probabilities and the threshold of unknown clips",
    )
    false_accept_rate: float = option(
        0.05,
        "share of the wrongly answered validation clips whose top probability may "
        "reach the threshold of unknown clips",
        minimum=0.0,
        maximum=1.0,
        only_with={"calibrate": True},
    )
