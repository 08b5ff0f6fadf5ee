"""Keras model with a custom training step for the batches of the pipeline."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asc_tf.config import Augment
from asc_tf.frontend import FrontendLayer
from asc_tf.pipeline.batches import augment_batch
from asc_tf.training.keras_internals import FetchingModel
from asc_tf.training.optimization import StatisticsAverages


class Trainer(FetchingModel):
    """Model in training: the body, and the front-end where batches hold waveforms.

    Features of waveforms are computed in the step; mixup and masks then act on them
    with the seed of the batch, the same as in a pipeline that computes features.

    On several devices each gets a share of the batch, and a step has the same result as
    on one device: shares count by their sizes, and gradients are summed before the
    optimizer clips or scales them.

    Args:
        frontend: Front-end layer.
        body: Model from features to probabilities; only its weights are trained.
        augment: Augmentation settings.
        class_weights: Weight of each label, float32 `[labels]`. An example has the sum
            of the weights of its labels, each times its share in the target. None:
            every example has the weight 1.
        ema: Momentum of the averages of the weights; 0 for no averages.

    Attributes:
        statistics: Averages of the statistics of batch normalization.
        confusion: Examples by true and predicted label since it was last set to zero,
            float32 `[labels, labels]`.
    """

    def __init__(
        self,
        frontend: FrontendLayer,
        body: keras.Model,
        augment: Augment,
        class_weights: np.ndarray | None = None,
        ema: float = 0.0,
    ) -> None:
        # Waveforms and features stay float32; the body has a precision of its own.
        super().__init__(name=body.name, dtype="float32")
        self.frontend, self.body, self.augment = frontend, body, augment
        self.class_weights = class_weights
        self.statistics = StatisticsAverages(body, ema)
        labels = body.output_shape[-1]
        self.confusion = keras.Variable(
            np.zeros((labels, labels), np.float32), trainable=False, aggregation="sum"
        )
        self.built = True

    def call(
        self, inputs: dict[str, tf.Tensor], training: bool | None = None
    ) -> tf.Tensor:
        """Compute probabilities from features or waveforms."""
        if "features" in inputs:
            return self.body(inputs["features"], training=training)
        return self.body(self.frontend(inputs["waveform"]), training=training)

    def train_step(self, data: tuple) -> dict[str, Any]:
        """Train on one batch; compute its features first if it holds waveforms."""
        features, targets, weights = prepare_batch(
            data, self.frontend, self.augment, self.class_weights
        )
        others = (targets,) if weights is None else (targets, weights)
        is_first, before = self.optimizer.iterations == 0, self.statistics.read()
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            logs = self._shared_step(features, targets, weights)
        else:
            logs = super().train_step(({"features": features}, *others))
        self.statistics.update(before, is_first)
        return logs

    def _shared_step(
        self, features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor | None
    ) -> dict[str, Any]:
        """Train on this device's share of a batch, which may be empty."""
        replica = tf.distribute.get_replica_context()
        count = replica.num_replicas_in_sync
        mine = tf.cast(tf.shape(features)[0], tf.float32)
        share = count * mine / replica.all_reduce(tf.distribute.ReduceOp.SUM, mine)
        inputs = {"features": features}
        with tf.GradientTape() as tape:
            probabilities = self(inputs, training=True)
            # Keras divides this by the number of devices.
            loss = self.compute_loss(inputs, targets, probabilities, weights)
            scaled = self.optimizer.scale_loss(loss * share)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        # The optimizer sums once more, after clipping.
        parts = [gradient / count for gradient in gradients]
        self.optimizer.apply_gradients(zip(parts, variables, strict=True))
        mean = next(metric for metric in self.metrics if metric.name == "loss")
        mean.update_state(loss * count, sample_weight=mine)
        return self.compute_metrics(inputs, targets, probabilities, weights)

    def compute_metrics(
        self, x: Any, y: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Compute the metrics of Keras and count the confusion matrix."""
        labels = self.confusion.shape[0]
        true, predicted = (
            tf.one_hot(tf.argmax(each, axis=1), labels) for each in (y, y_pred)
        )
        self.confusion.assign_add(tf.matmul(true, predicted, transpose_a=True))
        return super().compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def build_metrics(self) -> None:
        """Create the variables of the metrics before the training step is compiled.

        Keras creates them in the step, which TensorFlow then has to trace twice.
        """
        targets = tf.zeros((1, self.confusion.shape[0]))
        self.compute_metrics(None, targets, targets)
        self.reset_metrics()


def prepare_batch(
    data: tuple,
    frontend: FrontendLayer,
    augment: Augment,
    class_weights: np.ndarray | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Compute features, targets and weights of a training batch.

    Args:
        data: Batch of `make_training_batches`; the features of waveforms are computed
            and augmented here.
        frontend: Front-end layer.
        augment: Augmentation settings.
        class_weights: Weight of each class, float32 `[labels]`, or None.

    Returns:
        Features, targets and weights (or None), as the loss takes them.
    """
    inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
    features = inputs.get("features")
    if features is None:
        features, targets, *others = augment_batch(
            frontend(inputs["waveform"]),
            targets,
            weights,
            inputs["seed"][0],
            augment,
            frontend,
        )
        weights = others[0] if others else None
    if class_weights is not None:
        # In a mixture a label counts by its share and its own weight.
        weighted = targets * tf.constant(class_weights)
        own = tf.reduce_sum(weighted, axis=1)
        targets = tf.math.divide_no_nan(weighted, own[:, tf.newaxis])
        weights = own if weights is None else weights * own
    return features, targets, weights


class WaitReport(keras.callbacks.Callback):
    """Callback that adds to the logs of an epoch its share of waiting for data."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._share: float | None = None
        self.model.wait.begin()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Stop the clock, because validation is not training time."""
        self._share = self.model.wait.share()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `waiting` to the logs, which the epoch's line and TensorBoard show."""
        if logs is not None:
            is_validated = self._share is not None
            logs["waiting"] = self._share if is_validated else self.model.wait.share()
