"""The sections of a configuration from the model on, one per stage of the data flow."""

from dataclasses import dataclass

from asc_tf.config.families import FAMILIES, Family
from asc_tf.config.options import MAX_SEED, Section, option


@dataclass(frozen=True)
class Model(Section):
    """The network: features to probabilities."""

    name: str = option(
        "separable_cnn",
        "model family; asc-tf models says what each is",
        choices=tuple(FAMILIES),
    )
    filters: tuple[int, ...] = option(
        (),
        "filters of the family's convolutions, from the input on; none: its own "
        "numbers (asc-tf models)",
        minimum=1,
        maximum=2048,
        items=int,
    )
    units: int = option(
        0,
        "units of the dense layer before the last, or of the GRU in each direction; 0: "
        "the family's own number",
        minimum=0,
        maximum=8192,
    )
    dropout: float = option(
        0.2,
        "dropout before the last layer (us8k_cnn, dcase2018_cnn: after each block too)",
        minimum=0.0,
        maximum=0.95,
    )
    backbone: str = option(
        "mobilenet_v2",
        "imagenet: the network whose last layer is replaced",
        choices=("inception_v3", "mobilenet_v2", "efficientnet_v2_b0"),
    )
    weights: str = option(
        "imagenet",
        "imagenet: weights of the backbone: imagenet (fetched once), none (random), or "
        "a file without top (.h5, .weights.h5, .keras)",
    )
    train_from: str = option(
        "",
        "imagenet: name of the first layer of the backbone that is trained; empty: "
        "only the last layer of the model is",
    )
    init_from: str = option(
        "", "run folder whose model's weights, the last layer's apart, are the start"
    )
    keep_head: bool = option(
        False,
        "with init_from: take the last layer too, of a run with the same labels, to "
        "train further what it has learned",
    )
    freeze: tuple[str, ...] = option(
        (),
        "patterns (block1*, stage?_conv1) of layers that are not trained, with "
        "init_from or imagenet",
        items=str,
    )
    budget_kb: float = option(
        0.0,
        "largest size of the int8 file, kB of 1000 bytes, as estimated before "
        "training; 0: any",
        minimum=0.0,
    )
    budget_mmacs: float = option(
        0.0,
        "most multiply-accumulates of a segment, millions, without the front-end; 0: "
        "any",
        minimum=0.0,
    )

    @property
    def family(self) -> Family:
        """What `name` names."""
        return FAMILIES[self.name]

    @property
    def weights_file(self) -> str:
        """The file that `weights` names, if it names one."""
        return "" if self.weights in ("imagenet", "none") else self.weights

    @property
    def family_filters(self) -> tuple[int, ...]:
        """The filters, the family's own where none are given."""
        return self.filters or self.family.filters

    @property
    def family_units(self) -> int:
        """The units, the family's own where none are given."""
        return self.units or self.family.units


@dataclass(frozen=True)
class Train(Section):
    """Training: epochs, segments, optimizer, learning rate, loss."""

    epochs: int = option(60, "epochs at most", minimum=1, maximum=100000)
    keep: str = option(
        "best",
        "the epoch whose model is model.keras: best (lowest validation loss) or last",
        choices=("best", "last"),
    )
    steps: int = option(
        0,
        "steps at least, in place of epochs: training has as many whole epochs as hold "
        "them; 0: train.epochs says how long",
        minimum=0,
        maximum=1000000000,
    )
    segments: str = option(
        "random",
        "an epoch has of each clip one segment at a random place, or all segments, "
        "audio.hop_seconds apart",
        choices=("random", "all"),
    )
    batch_size: int = option(16, "segments per step", minimum=1, maximum=65536)
    optimizer: str = option(
        "adam",
        "optimizer; adamw is adam whose weight decay spares biases and batch norms",
        choices=("adam", "adamw", "sgd"),
    )
    momentum: float = option(0.9, "momentum of sgd", minimum=0.0, maximum=0.9999)
    learning_rate: float = option(
        3e-3, "highest learning rate of the schedule", minimum=1e-9, maximum=100.0
    )
    schedule: str = option(
        "cosine",
        "learning rate after the warm-up: constant, falling as 1 / (1 + decay_rate "
        "step), as a half cosine to zero, or where the validation loss stops falling",
        choices=("constant", "inverse_time", "cosine", "plateau"),
    )
    warmup_epochs: float = option(
        3.0,
        "epochs of linear warm-up from zero; a training that is shorter is all warm-up",
        minimum=0.0,
    )
    decay_rate: float = option(
        1e-3, "fall per step of schedule = inverse_time", minimum=0.0, maximum=1e6
    )
    plateau_factor: float = option(
        0.5, "what a plateau multiplies the rate by", minimum=1e-6, maximum=0.999
    )
    plateau_patience: int = option(
        5,
        "epochs in which the validation loss falls by less than 0.0001 that make a "
        "plateau",
        minimum=1,
    )
    weight_decay: float = option(
        0.0,
        "decoupled weight decay: weights shrink by this times the learning rate",
        minimum=0.0,
        maximum=10.0,
    )
    loss: str = option(
        "categorical_crossentropy",
        "loss of training and validation",
        choices=("categorical_crossentropy", "focal"),
    )
    focal_gamma: float = option(
        2.0, "how much loss = focal turns to hard segments", minimum=0.0, maximum=20.0
    )
    label_smoothing: float = option(
        0.0, "share of a target that all labels get alike", minimum=0.0, maximum=0.9
    )
    class_weights: str = option(
        "none",
        "balanced: in training each label weighs as much as any other, however many "
        "its clips",
        choices=("none", "balanced"),
    )
    clip_norm: float = option(
        0.0, "largest norm of all gradients together; 0: any", minimum=0.0
    )
    ema: float = option(
        0.0,
        "momentum by step of averaged weights, which are what is validated and saved; "
        "0: off",
        minimum=0.0,
        maximum=0.99999,
    )
    precision: str = option(
        "float32",
        "arithmetic of the model's body; auto: mixed_float16 on GPUs of compute "
        "capability 7 and up, else float32",
        choices=("float32", "mixed_float16", "mixed_bfloat16", "auto"),
    )
    strategy: str = option(
        "auto",
        "mirrored: all GPUs share each batch; auto: so where there are several and "
        "nothing hinders it",
        choices=("auto", "one_device", "mirrored"),
    )
    patience: int = option(
        0,
        "epochs without a lower validation loss before training stops; 0: never",
        minimum=0,
    )
    energy: bool = option(
        False,
        "write the energy that training takes, and its CO2, to energy.json in the run "
        "folder (needs pip install '.[energy]')",
    )
    energy_country: str = option(
        "",
        "country whose electricity gives the CO2 of train.energy, an ISO code of three "
        "letters like DEU; empty: the world's average",
    )
    seed: int = option(
        0,
        "seed of weights, order, dropout and augmentation",
        minimum=0,
        maximum=MAX_SEED,
    )

    def count_epochs(self, steps_per_epoch: int) -> int:
        """Epochs of the training: `epochs`, or as many as hold `steps`."""
        return -(-self.steps // steps_per_epoch) if self.steps else self.epochs


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


@dataclass(frozen=True)
class Export(Section):
    """Exported files, and the checks that they must pass."""

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
        "validation clips (or training clips, where the run has no validation part) "
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
