"""Loss, optimizer, learning-rate schedule and weight averages of a run.

All of them are Keras's own, with two additions that make a resumed run exactly equal to
an uninterrupted one: the learning rate of a plateau is a function of the history, and
weights are swapped with their averages without rounding.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras.optimizers import schedules

from asc_tf.config import Train
from asc_tf.models.precision import list_layers
from asc_tf.training.keras_internals import moving_averages

UNDECAYED = ["bias", "gamma", "beta"]
"""Names of the variables without weight decay in adamw."""

MIN_DELTA = 1e-4
"""Smallest decrease of the loss that counts, as in Keras's `ReduceLROnPlateau`."""


def make_learning_rate_schedule(
    train: Train, steps_per_epoch: int
) -> schedules.LearningRateSchedule:
    """Make the learning-rate schedule: linear warm-up from zero, then `train.schedule`.

    Returns:
        Schedule by step; a `PlateauSchedule` for `train.schedule = plateau`.
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
    return WarmUp(schedules.CosineDecay(peak, total - warmup), warmup)


class WarmUp(schedules.LearningRateSchedule):
    """Schedule with a linear warm-up from zero before another schedule.

    It has no branches, unlike the warm-up of `keras.optimizers.schedules.CosineDecay`:
    an optimizer with weight decay asks for the rate once for each variable, and each
    branch is traced.

    Args:
        schedule: Schedule after the warm-up; it counts its steps from there.
        steps: Number of steps of the warm-up.
    """

    def __init__(self, schedule: schedules.LearningRateSchedule, steps: int) -> None:
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step, counted from 0."""
        step = keras.ops.cast(step, "float32")
        risen = keras.ops.minimum(1.0, step / self.steps) if self.steps else 1.0
        return risen * self.schedule(keras.ops.maximum(0.0, step - self.steps))


class PlateauSchedule(WarmUp):
    """Schedule that lowers a constant rate when the validation loss stops falling.

    It works like `keras.callbacks.ReduceLROnPlateau`, which has no warm-up and loses
    its state when a run resumes. Here the rate is a function of the history, so that no
    other state has to be saved.

    Args:
        peak: Learning rate after the warm-up.
        warmup: Number of steps of the warm-up.
        factor: Factor by which a plateau multiplies the rate.
        patience: Number of epochs without a lower loss that make a plateau.
    """

    def __init__(self, peak: float, warmup: int, factor: float, patience: int) -> None:
        super().__init__(schedules.InverseTimeDecay(peak, 1, 0.0), warmup)
        self.factor, self.patience = factor, patience
        self._scale = keras.Variable(1.0, trainable=False, name="plateau")

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step, counted from 0."""
        return super().__call__(step) * self._scale

    def follow(self, losses: Sequence[float]) -> None:
        """Set the rate that follows from the validation losses of all epochs so far."""
        scale, waited, best = 1.0, 0, np.inf
        for loss in losses:
            waited += 1
            if loss < best - MIN_DELTA:
                best, waited = loss, 0
            elif waited >= self.patience:
                scale, waited = scale * self.factor, 0
        self._scale.assign(scale)


def make_optimizer(
    train: Train,
    schedule: schedules.LearningRateSchedule | float,
    replicas: int = 1,
    library: ModuleType = keras,
) -> Any:
    """Make the optimizer of a run.

    Weight decay is decoupled (I. Loshchilov and F. Hutter, "Decoupled Weight Decay
    Regularization", 2019) in all optimizers; `adamw` exempts biases and the scales and
    shifts of batch normalization from it.

    Args:
        train: Training settings.
        schedule: Learning rate by step, or a constant one.
        replicas: Number of devices whose gradients `asc_tf.training.trainer` sums.
        library: `keras`, or `tf_keras` for the twin of a model.
    """
    settings: dict[str, Any] = {
        "weight_decay": train.weight_decay or None,
        "global_clipnorm": train.clip_norm / replicas or None,
    }
    if train.ema:
        settings |= {"use_ema": True, "ema_momentum": train.ema}
    if train.optimizer == "sgd":
        return library.optimizers.SGD(schedule, momentum=train.momentum, **settings)
    adam = library.optimizers.Adam(schedule, **settings)
    if train.optimizer == "adamw":
        adam.exclude_from_weight_decay(var_names=UNDECAYED)
    return adam


def make_loss(train: Train) -> keras.losses.Loss:
    """Make the loss of a run: mean over segments, from probabilities.

    The focal loss (T.-Y. Lin et al., "Focal Loss for Dense Object Detection", 2017) has
    no alpha here, because `train.class_weights` weights the labels.
    """
    if train.loss == "focal":
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=train.focal_gamma, label_smoothing=train.label_smoothing
        )
    return keras.losses.CategoricalCrossentropy(label_smoothing=train.label_smoothing)


def compute_class_weights(
    train: Train, labels: Sequence[str], clips: Sequence[str]
) -> np.ndarray | None:
    """Compute the weight of each label in training.

    Args:
        train: Training settings.
        labels: Class order.
        clips: Label of each training clip.

    Returns:
        float32 `[labels]`, so that all labels have the same total weight and clips the
        mean weight 1; a label without clips has 1. None without class weights.
    """
    if train.class_weights == "none":
        return None
    counts = np.array([list(clips).count(label) for label in labels], np.float32)
    has_clips = counts > 0
    balanced = counts.sum() / (has_clips.sum() * np.maximum(counts, 1))
    return np.where(has_clips, balanced, 1).astype(np.float32)


class StatisticsAverages:
    """Averages of batch-normalization statistics for the averages of the weights.

    The moving statistics of batch normalization belong to the last weights, not to
    their average. Therefore the mean and the variance of each batch are averaged too,
    with the momentum of the averages of the weights, or with the momentum of the layer
    where it is greater, because the estimate of a single batch is poor.

    Args:
        body: Model in training; frozen layers have no averages.
        momentum: Momentum of the averages of the weights; 0 for no averages.

    Attributes:
        pairs: Each moving statistic with its average.
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
        """Return copies of the moving statistics; call it before a step."""
        return [keras.ops.copy(statistic) for statistic, _ in self.pairs]

    def update(self, before: Sequence[Any], is_first: Any) -> None:
        """Add the statistics of a step's batch to the averages.

        Args:
            before: Result of `read` before the step.
            is_first: Whether this is the first step, bool `[]`; its statistics are the
                averages, just as the first weights are the averages of the weights.
        """
        for (statistic, average), momenta, old in zip(
            self.pairs, self._momenta, before, strict=True
        ):
            own, momentum = momenta
            # The layer has computed: statistic = own * old + (1 - own) * batch.
            batch = old + (statistic - old) / (1 - own)
            start = keras.ops.where(is_first, batch, average)
            average.assign(start + (1 - momentum) * (batch - start))


def swap_averages(model: Any) -> None:
    """Swap weights and statistics with their averages; a second call swaps them back.

    Keras's `SwapEMAWeights` adds and subtracts them, which rounds. Without `train.ema`
    nothing is swapped.
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
    """Callback that validates with the averages of weights and statistics."""

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put the averages into the model."""
        swap_averages(self.model)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Put the weights and statistics back."""
        swap_averages(self.model)
