"""What training minimizes, by which steps and at which rate.

Everything is Keras's own. What is added makes it resumable to the last bit: the rate of
a plateau is a function of the history, and weights trade places with their averages
exactly.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras.optimizers import schedules

from asc_tf.config import Train
from asc_tf.models.precision import list_layers
from asc_tf.training.keras_internals import moving_averages

SPARED = ["bias", "gamma", "beta"]
"""Names of the variables that the weight decay of adamw leaves alone."""

MIN_FALL = 1e-4
"""A loss that falls by less stays as it is, for Keras's `ReduceLROnPlateau` too."""


def learning_rate_schedule(
    train: Train, steps_per_epoch: int
) -> schedules.LearningRateSchedule:
    """The learning rate by step: linear warm-up from zero, then `train.schedule`.

    Args:
        train: The training settings.
        steps_per_epoch: Batches in an epoch.

    Returns:
        A schedule; that of a plateau is a `PlateauSchedule`.
    """
    peak, total = train.learning_rate, train.epochs * steps_per_epoch
    warmup = min(round(train.warmup_epochs * steps_per_epoch), total - 1)
    if train.schedule == "plateau":
        return PlateauSchedule(
            peak, warmup, train.plateau_factor, train.plateau_patience
        )
    if train.schedule == "inverse_time":
        return WarmUp(schedules.InverseTimeDecay(peak, 1, train.decay_rate), warmup)
    if train.schedule == "constant":
        return WarmUp(schedules.InverseTimeDecay(peak, 1, 0.0), warmup)
    if not warmup:
        return schedules.CosineDecay(peak, total)
    return schedules.CosineDecay(
        0.0, total - warmup, warmup_target=peak, warmup_steps=warmup
    )


class WarmUp(schedules.LearningRateSchedule):
    """A linear rise from zero to the first rate of another schedule, then that one.

    Args:
        schedule: What follows; its steps count from the end of the warm-up.
        steps: Of the warm-up.
    """

    def __init__(self, schedule: schedules.LearningRateSchedule, steps: int) -> None:
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        """The rate of a step, counted from 0."""
        step = keras.ops.cast(step, "float32")
        risen = keras.ops.minimum(1.0, step / self.steps) if self.steps else 1.0
        return risen * self.schedule(keras.ops.maximum(0.0, step - self.steps))

    def get_config(self) -> dict[str, Any]:
        """What it is made from."""
        return {"schedule": self.schedule, "steps": self.steps}


class PlateauSchedule(WarmUp):
    """A constant rate that falls where the validation loss has stopped falling.

    The law is that of `keras.callbacks.ReduceLROnPlateau`, which knows no warm-up and
    forgets, when a run resumes, what it waited for. Here the rate follows from the
    history, so that nothing else has to be kept.

    Args:
        peak: The rate after the warm-up.
        warmup: Steps of the warm-up.
        factor: What a plateau multiplies the rate by.
        patience: Epochs without a lower loss that make a plateau.
    """

    def __init__(self, peak: float, warmup: int, factor: float, patience: int) -> None:
        super().__init__(schedules.InverseTimeDecay(peak, 1, 0.0), warmup)
        self.factor, self.patience = factor, patience
        self._scale = keras.Variable(1.0, trainable=False, name="plateau")

    def __call__(self, step: Any) -> Any:
        """The rate of a step, counted from 0, after what `follow` was given."""
        return super().__call__(step) * self._scale

    def follow(self, losses: Sequence[float]) -> None:
        """Take the rate to what these validation losses, of all epochs, ask for."""
        scale, waited, best = 1.0, 0, np.inf
        for loss in losses:
            waited += 1
            if loss < best - MIN_FALL:
                best, waited = loss, 0
            elif waited >= self.patience:
                scale, waited = scale * self.factor, 0
        self._scale.assign(scale)


def optimizer(
    train: Train, schedule: schedules.LearningRateSchedule, replicas: int = 1
) -> keras.optimizers.Optimizer:
    """The optimizer of a run.

    Weight decay is decoupled (I. Loshchilov and F. Hutter, "Decoupled Weight Decay
    Regularization", 2019) in all of them; that of `adamw` spares biases and the scales
    and shifts of batch norms.

    Args:
        train: The training settings.
        schedule: The learning rate by step.
        replicas: Number of devices whose gradients `asc_tf.training.trainer` sums.
    """
    settings: dict[str, Any] = {
        "weight_decay": train.weight_decay or None,
        "global_clipnorm": train.clip_norm / replicas or None,
    }
    if train.ema:
        settings |= {"use_ema": True, "ema_momentum": train.ema}
    if train.optimizer == "sgd":
        return keras.optimizers.SGD(schedule, momentum=train.momentum, **settings)
    made = keras.optimizers.Adam(schedule, **settings)
    if train.optimizer == "adamw":
        made.exclude_from_weight_decay(var_names=SPARED)
    return made


def loss(train: Train) -> keras.losses.Loss:
    """The loss of a run, for probabilities; the mean over segments.

    Focal loss is that of T.-Y. Lin et al., "Focal Loss for Dense Object Detection"
    (2017), without its alpha: `train.class_weights` weighs labels.
    """
    if train.loss == "focal":
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=train.focal_gamma, label_smoothing=train.label_smoothing
        )
    return keras.losses.CategoricalCrossentropy(label_smoothing=train.label_smoothing)


def class_weights(
    train: Train, labels: Sequence[str], clips: Sequence[str]
) -> np.ndarray | None:
    """What each label weighs in training.

    Args:
        train: The training settings.
        labels: Class order.
        clips: The label of each training clip.

    Returns:
        Float32 `[labels]`, by which all labels count alike and a clip 1 in the mean; 1
        for a label without clips; None where nothing is weighed.
    """
    if train.class_weights == "none":
        return None
    counts = np.array([list(clips).count(label) for label in labels], np.float32)
    found = counts > 0
    balanced = counts.sum() / (found.sum() * np.maximum(counts, 1))
    return np.where(found, balanced, 1).astype(np.float32)


class StatisticsAverages:
    """Averages of the statistics of batch norms, to go with averages of the weights.

    The running statistics of a batch norm are those of the last weights, not of their
    average. So the mean and the variance of each batch are averaged too, with the
    momentum of the weights' average; where that of the batch norm is greater, with
    this, because one batch alone says little.

    Args:
        body: The model in training; frozen batch norms keep their statistics.
        momentum: Momentum of the averages of the weights; 0: there are none.

    Attributes:
        pairs: Each running statistic with its average.
    """

    def __init__(self, body: keras.Model, momentum: float) -> None:
        self.pairs: list[tuple[keras.Variable, keras.Variable]] = []
        self._momenta: list[tuple[float, float]] = []
        for layer in list_layers(body) if momentum else ():
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
                for statistic in (layer.moving_mean, layer.moving_variance):
                    average = keras.Variable(
                        statistic.numpy(),
                        trainable=False,
                        aggregation="only_first_replica",
                    )
                    self.pairs.append((statistic, average))
                    self._momenta.append(
                        (layer.momentum, max(momentum, layer.momentum))
                    )

    def read(self) -> list[Any]:
        """The running statistics, as tensors; to be called before a step."""
        return [keras.ops.copy(statistic) for statistic, _ in self.pairs]

    def update(self, before: Sequence[Any], is_first: Any) -> None:
        """Add the statistics of a step's batch to the averages.

        Args:
            before: What `read` gave before the step.
            is_first: Whether it is the first step, bool `[]`; the averages then are the
                statistics of this batch, as those of the weights are the weights.
        """
        for (statistic, average), momenta, old in zip(
            self.pairs, self._momenta, before, strict=True
        ):
            own, momentum = momenta
            # The batch norm has made: new = own * old + (1 - own) * batch.
            batch = old + (statistic - old) / (1 - own)
            kept = keras.ops.where(is_first, batch, average)
            average.assign(kept + (1 - momentum) * (batch - kept))


def swap_averages(model: Any) -> None:
    """Let weights and statistics trade places with their averages; twice is as before.

    Keras's `SwapEMAWeights` adds and subtracts them, which rounds. Nothing happens
    without `train.ema`.

    Args:
        model: The learner.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        return
    averages = moving_averages(optimizer)
    weights = zip(model.trainable_variables, averages, strict=True)
    for current, average in (*weights, *model.statistics.pairs):
        value = current.numpy()
        current.assign(average.numpy())
        average.assign(value)


class ValidatedAverages(keras.callbacks.Callback):
    """Validation sees the averages of the weights and of the statistics."""

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put them into the model."""
        del logs
        swap_averages(self.model)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Take them out again."""
        del logs
        swap_averages(self.model)
