"""The train section of a configuration: epochs, optimizer, learning rate, loss."""

from dataclasses import dataclass
from functools import partial

from asc_tf.config.options import MAX_SEED, Section, option

_plateau_option = partial(option, only_with={"schedule": "plateau"})


@dataclass(frozen=True)
class Train(Section):
    """Training: epochs, segments, optimizer, learning rate, loss."""

    epochs: int = option(
        60, "epochs at most", minimum=1, maximum=100000, only_with={"steps": 0}
    )
    keep: str = option(
        "best",
        "the epoch whose model is model.keras: best (lowest validation loss) or last",
        choices=("best", "last"),
    )
    steps: int = option(
        0,
        "minimum number of steps, which replaces train.epochs: training stops after "
        "the first whole epoch that reaches it; 0: train.epochs counts",
        minimum=0,
        maximum=1000000000,
    )
    segments: str = option(
        "random",
        "segments of each clip in an epoch: one at a random place, or all, "
        "audio.hop_seconds apart",
        choices=("random", "all"),
    )
    batch_size: int = option(16, "segments per step", minimum=1, maximum=65536)
    optimizer: str = option(
        "adam",
        "optimizer; adamw is adam whose weight decay spares biases and batch norms",
        choices=("adam", "adamw", "sgd"),
    )
    momentum: float = option(
        0.9,
        "momentum of the updates",
        minimum=0.0,
        maximum=0.9999,
        only_with={"optimizer": "sgd"},
    )
    learning_rate: float = option(
        3e-3, "highest learning rate of the schedule", minimum=1e-9, maximum=100.0
    )
    schedule: str = option(
        "cosine",
        "learning rate after the warm-up; constant; inverse_time: falling as 1 / (1 + "
        "decay_rate step); cosine: a half cosine to zero; plateau: multiplied by "
        "plateau_factor when the validation loss stops falling",
        choices=("constant", "inverse_time", "cosine", "plateau"),
    )
    warmup_epochs: float = option(
        3.0,
        "epochs of linear warm-up from zero; a shorter training ends before the "
        "warm-up does",
        minimum=0.0,
    )
    decay_rate: float = option(
        1e-3,
        "fall of the learning rate per step",
        minimum=0.0,
        maximum=1e6,
        only_with={"schedule": "inverse_time"},
    )
    plateau_factor: float = _plateau_option(
        0.5, "factor of the learning rate at a plateau", minimum=1e-6, maximum=0.999
    )
    plateau_patience: int = _plateau_option(
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
        2.0,
        "focusing parameter gamma; larger: hard segments weigh more; 0: cross-entropy",
        minimum=0.0,
        maximum=20.0,
        only_with={"loss": "focal"},
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
        0.0, "largest norm of all gradients together; 0: no limit", minimum=0.0
    )
    ema: float = option(
        0.0,
        "momentum by step of averaged weights, which are validated and saved instead; "
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
    deterministic: bool = option(
        True,
        "repeatable operations: one seed gives the same weights each time on a "
        "machine, and a resumed run the weights of one that never stopped; false: "
        "faster on GPUs, but weights differ from run to run",
    )
    jit_compile: bool = option(
        False,
        "compile the training step by XLA: faster on some GPUs, far slower on CPUs; "
        "needs train.deterministic = false and frontend.placement = dataset",
    )
    strategy: str = option(
        "auto",
        "mirrored: all GPUs share each batch; auto: mirrored if there are several GPUs "
        "and the other settings allow it",
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
        "country whose electricity gives the CO2, an ISO code of three letters like "
        "DEU; empty: the world's average",
        only_with={"energy": True},
    )
    seed: int = option(
        0,
        "seed of weights, order, dropout and augmentation",
        minimum=0,
        maximum=MAX_SEED,
    )

    def count_epochs(self, steps_per_epoch: int) -> int:
        """Count the epochs of the training: `epochs`, or as many as hold `steps`."""
        return -(-self.steps // steps_per_epoch) if self.steps else self.epochs
