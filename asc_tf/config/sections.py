"""The sections of a configuration from the model on, one per stage of the data flow."""

from dataclasses import dataclass

from asc_tf.config.options import MAX_SEED, Section, option


@dataclass(frozen=True)
class Model(Section):
    """Features to probabilities."""

    name: str = option("separable_cnn", "model family", choices=("separable_cnn",))
    filters: tuple[int, ...] = option(
        (24, 48, 96, 144),
        "filters of the first convolution, then of each block",
        minimum=1,
        maximum=2048,
    )
    dropout: float = option(
        0.2, "dropout before the last layer", minimum=0.0, maximum=0.95
    )


@dataclass(frozen=True)
class Train(Section):
    """Optimization."""

    epochs: int = option(60, "epochs at most", minimum=1, maximum=100000)
    segments: str = option(
        "random",
        "an epoch has of each clip one segment at a random place, or all segments, "
        "audio.hop_seconds apart",
        choices=("random", "all"),
    )
    batch_size: int = option(16, "segments per step", minimum=1, maximum=65536)
    learning_rate: float = option(
        3e-3, "peak of the cosine schedule", minimum=1e-9, maximum=100.0
    )
    warmup_epochs: float = option(
        3.0, "epochs of linear warm-up from zero", minimum=0.0
    )
    weight_decay: float = option(
        0.0, "decoupled weight decay of Adam (AdamW)", minimum=0.0, maximum=10.0
    )
    patience: int = option(
        0,
        "epochs without a lower validation loss before training stops; 0: never",
        minimum=0,
    )
    seed: int = option(
        0,
        "seed of weights, order, dropout and augmentation",
        minimum=0,
        maximum=MAX_SEED,
    )


@dataclass(frozen=True)
class Evaluate(Section):
    """Evaluation."""

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


@dataclass(frozen=True)
class Export(Section):
    """Deployment files."""

    formats: tuple[str, ...] = option(
        ("saved_model", "float32", "int8"),
        "what to write: a SavedModel, and one .tflite file per precision",
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
        "validation clips on which each file must agree with Keras",
        minimum=1,
        maximum=100000,
    )
    min_agreement: float = option(
        0.85,
        "smallest accepted share of equal labels of an int8 file and Keras",
        minimum=0.0,
        maximum=1.0,
    )
