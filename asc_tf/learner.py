"""What fit trains: the body, and where they are placed in the model, its features.

It takes the batches of `asc_tf.batches` and notes how long it waited for them.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from asc_tf.batches import varied
from asc_tf.config import Augment
from asc_tf.frontend import FrontendLayer


class Learner(keras.Model):
    """The body behind a front-end that only works where batches hold waveforms.

    In training mixup and masks act on these features too, by the batch's own seed: the
    same as in a pipeline that makes features itself.

    Args:
        frontend: The front-end.
        body: Features to probabilities; its weights are the only ones that learn.
        augment: The augmentation settings.
    """

    def __init__(
        self, frontend: FrontendLayer, body: keras.Model, augment: Augment
    ) -> None:
        # Waveforms and features stay float32; the body has a precision of its own.
        super().__init__(name=body.name, dtype="float32")
        self.frontend, self.body, self.augment = frontend, body, augment
        self.wait = InputWait()
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
        inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        if "features" in inputs:
            return super().train_step(data)
        features, *described = varied(
            self.frontend(inputs["waveform"]),
            targets,
            weights,
            inputs["seed"][0],
            self.augment,
            self.frontend,
        )
        return super().train_step(({"features": features}, *described))

    def make_train_function(self, force: bool = False) -> Any:
        """The function of a step: as Keras's own, but batches are fetched outside it.

        So it is seen how long that takes; within a graph that is to be repeated to the
        last bit TensorFlow allows no clock.
        """
        made: Callable | None = self.__dict__.get("train_function")
        if made is not None and not force:
            return made
        step: Callable | None = None

        def train_function(iterator: Any) -> dict[str, Any]:
            nonlocal step
            if step is None:
                # Its shapes leave the batch open: the last one of an epoch is shorter.
                signature = [iterator.element_spec]
                step = tf.function(self.train_step, input_signature=signature)
            with self.wait.counted():
                batch = next(iterator)
            return step(batch)

        self.train_function = train_function
        return train_function


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
        self.model.wait.begin()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Training is over: validation is not counted."""
        del logs
        self._share = self.model.wait.share()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `waiting`, the share, to what the epoch's line and TensorBoard show."""
        del epoch
        if logs is not None:
            logs["waiting"] = self._share
