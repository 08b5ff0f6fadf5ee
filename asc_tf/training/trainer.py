"""What fit trains: the body, and where they are placed in the model, its features.

It takes the batches of `asc_tf.pipeline.examples` and measures how long it waited for
them.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asc_tf.config import Augment
from asc_tf.frontend import FrontendLayer
from asc_tf.pipeline.examples import augment_batch
from asc_tf.training.optimization import StatisticsAverages


class Trainer(keras.Model):
    """The body behind a front-end that only works where batches hold waveforms.

    In training mixup and masks act on these features too, by the batch's own seed: the
    same as in a pipeline that makes features itself.

    On several devices each has a part of the batch, and a step is the same as on one:
    the parts count by their sizes, and gradients are summed before the optimizer clips
    or scales them.

    Args:
        frontend: The front-end.
        body: Features to probabilities; its weights are the only ones that learn.
        augment: The augmentation settings.
        class_weights: Float32 `[labels]`; an example counts by the sum of those of its
            labels, each times its share in the target. None: all alike.
        ema: Momentum of the averages of the weights; 0: there are none.

    Attributes:
        statistics: Averages of the statistics of batch norms.
        wait: How long it waited for batches.
        confusion: Float32 `[labels, labels]`, examples by true and predicted label,
            counted since it was last set to zero.
        first_batch: The first batch that was trained on since it was set to None, the
            part of the first device.
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
        self.wait = InputWait()
        self.first_batch: tuple | None = None
        self._has_metrics = False
        labels = body.output_shape[-1]
        self.confusion = keras.Variable(
            np.zeros((labels, labels), np.float32), trainable=False, aggregation="sum"
        )
        self.built = True

    def call(
        self, inputs: dict[str, tf.Tensor], training: bool | None = None
    ) -> tf.Tensor:
        """Features, or waveforms, to probabilities."""
        if "features" in inputs:
            return self.body(inputs["features"], training=training)
        return self.body(self.frontend(inputs["waveform"]), training=training)

    def train_step(self, data: tuple) -> dict[str, Any]:
        """A step on features; those of waveforms are made and augmented here."""
        features, targets, weights = self.augment_batch(data)
        if self.class_weights is not None:
            # In a mixture a label counts by its share and its own weight.
            weighed = targets * tf.constant(self.class_weights)
            own = tf.reduce_sum(weighed, axis=1)
            targets = tf.math.divide_no_nan(weighed, own[:, tf.newaxis])
            weights = own if weights is None else weights * own
        described = (targets,) if weights is None else (targets, weights)
        is_first, before = self.optimizer.iterations == 0, self.statistics.read()
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            logs = self._shared_step(features, targets, weights)
        else:
            logs = super().train_step(({"features": features}, *described))
        self.statistics.update(before, is_first)
        return logs

    def augment_batch(
        self, data: tuple
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Features, targets and weights (or None) of a batch, as they are learned."""
        inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        if "features" in inputs:
            return inputs["features"], targets, weights
        features, targets, *others = augment_batch(
            self.frontend(inputs["waveform"]),
            targets,
            weights,
            inputs["seed"][0],
            self.augment,
            self.frontend,
        )
        return features, targets, others[0] if others else None

    def _shared_step(
        self, features: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor | None
    ) -> dict[str, Any]:
        """A step on this device's part of a batch, which may be empty."""
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

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Build the metrics once, by a batch of training.

        On several devices Keras would again by one of validation, and fail where that
        is not shared evenly.
        """
        if not self._has_metrics:
            super()._maybe_symbolic_build(*args, **kwargs)
            self._has_metrics = True

    def compute_metrics(
        self, x: Any, y: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None
    ) -> dict[str, Any]:
        """As Keras does, with the confusion of labels."""
        labels = self.confusion.shape[0]
        true, predicted = (
            tf.one_hot(tf.argmax(each, axis=1), labels) for each in (y, y_pred)
        )
        self.confusion.assign_add(tf.matmul(true, predicted, transpose_a=True))
        return super().compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def make_train_function(self, force: bool = False) -> Any:
        """The function of a step: as Keras's own, but batches are fetched outside it.

        So it is seen how long that takes; within a graph that is to be repeated to the
        last bit TensorFlow allows no clock. The next batch is fetched while the step
        works; see `Ahead`.
        """
        made: Callable | None = self.__dict__.get("train_function")
        if made is not None and not force:
            return made
        strategy = self.distribute_strategy
        step: Callable | None = None

        def on_devices(batch: tuple) -> dict[str, Any]:
            found = strategy.run(self.train_step, args=(batch,))
            return {
                name: tf.reduce_mean(strategy.experimental_local_results(value), axis=0)
                for name, value in found.items()
            }

        is_shared = strategy.num_replicas_in_sync > 1
        ahead = Ahead()

        def train_function(iterator: Any) -> dict[str, Any]:
            nonlocal step
            if step is None:
                # Its shapes leave the batch open: the last one of an epoch is shorter.
                signature = [iterator.element_spec]
                whole = on_devices if is_shared else self.train_step
                step = tf.function(whole, input_signature=signature)
            with self.wait.counted():
                # What shares a batch between devices fetches ahead itself.
                batch = next(iterator) if is_shared else ahead.next(iterator)
            if self.first_batch is None:
                self.first_batch = tf.nest.map_structure(
                    lambda each: strategy.experimental_local_results(each)[0], batch
                )
            return step(batch)

        self.train_function = train_function
        return train_function


class Ahead:
    """Fetches the next item of an iterator while the one before is worked on.

    `tf.data` would, but where operations are to be repeatable it leaves `prefetch` out
    of a pipeline that shuffles by a seed or reads a variable, as one for training does.
    """

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "next batch")
        self._source: Any = None
        self._coming: Future | None = None

    def next(self, source: Iterator) -> Any:
        """The next item of an iterator; the one behind it is being fetched then.

        Raises:
            Exception: What the iterator raises, when that item's turn has come.
        """
        if self._coming is None or self._source is not source:
            self._source, self._coming = source, self._worker.submit(next, source)
        found = self._coming.result()
        self._coming = self._worker.submit(next, source)
        return found


class InputWait:
    """The share of an epoch's time in which the model waited for its next batch."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin an epoch."""
        self._began, self._waited = time.perf_counter(), 0.0

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count what happens within as waiting."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def share(self) -> float:
        """Of the time since the epoch began, 0 to 1."""
        return self._waited / (time.perf_counter() - self._began)


class WaitReport(keras.callbacks.Callback):
    """Says at the end of each epoch which share of it the model waited for data."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin to count."""
        del epoch, logs
        self._share: float | None = None
        self.model.wait.begin()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Training is over: validation is not counted."""
        del logs
        self._share = self.model.wait.share()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `waiting`, the share, to what the epoch's line and TensorBoard show."""
        del epoch
        if logs is not None:
            is_validated = self._share is not None
            logs["waiting"] = self._share if is_validated else self.model.wait.share()
