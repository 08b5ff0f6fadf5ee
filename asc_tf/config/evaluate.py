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
    pooling: str = option(
        "mean",
        "segments to clips: mean of the probabilities, mean of their logarithms, or "
        "majority of the labels",
        choices=("mean", "mean_log", "majority"),
    )
