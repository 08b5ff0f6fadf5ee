"""Uses of private or undocumented behaviour of Keras, each with its reason.

`tests/training/test_keras_internals.py` runs on both pinned versions and fails as soon
as one of the uses is no longer needed.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import tensorflow as tf


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the moving averages of the weights that `use_ema` keeps.

    Keras offers them only through `SwapEMAWeights`, which adds and subtracts to swap
    weights and averages; the rounding would make a resumed run differ.
    """
    return optimizer._model_variables_moving_average


class FetchingModel(keras.Model):
    """Keras model that fetches its batches outside of the compiled training step.

    Attributes:
        wait: Time that the model has waited for batches.
        is_jit_compiled: Whether XLA compiles the training step. Keras would refuse,
            because the model holds the front-end layer, which the step does not call.
        first_batch: First batch trained on since the attribute was set to None; on
            several devices the share of the first one.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.wait = InputWait()
        self.is_jit_compiled = False
        self.first_batch: tuple | None = None
        self._has_metrics = False

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Build the metrics once, from a training batch.

        On several devices Keras builds them again from a validation batch, and fails
        if the devices cannot share that batch evenly.
        """
        if not self._has_metrics:
            super()._maybe_symbolic_build(*args, **kwargs)
            self._has_metrics = True

    def make_train_function(self, force: bool = False) -> Any:
        """Make the function of a step that fetches its batch outside the graph.

        Keras fetches it inside. There the time of waiting cannot be measured, because a
        deterministic graph may not read a clock, and the first batch of an epoch is
        not made ahead. Here the next batch is fetched while the step runs; see
        `Prefetcher`.
        """
        earlier: Callable | None = self.__dict__.get("train_function")
        if earlier is not None and not force:
            return earlier
        strategy = self.distribute_strategy
        step: Callable | None = None

        def on_devices(batch: tuple) -> dict[str, Any]:
            logs = strategy.run(self.train_step, args=(batch,))
            return {
                name: tf.reduce_mean(strategy.experimental_local_results(value), axis=0)
                for name, value in logs.items()
            }

        is_shared = strategy.num_replicas_in_sync > 1
        prefetcher = Prefetcher()

        def train_function(iterator: Any) -> dict[str, Any]:
            nonlocal step
            if step is None:
                # The batch size stays open, because the last batch may be smaller.
                signature = [iterator.element_spec]
                whole = on_devices if is_shared else self.train_step
                step = tf.function(
                    whole,
                    input_signature=signature,
                    autograph=False,
                    jit_compile=self.is_jit_compiled or None,
                )
            with self.wait.measure():
                # A distributed iterator prefetches itself.
                batch = next(iterator) if is_shared else prefetcher.next(iterator)
            if self.first_batch is None:
                self.first_batch = tf.nest.map_structure(
                    lambda each: strategy.experimental_local_results(each)[0], batch
                )
            return step(batch)

        self.train_function = train_function
        return train_function


class Prefetcher:
    """Thread that fetches the next item of an iterator while the current one is used.

    With deterministic operations, `tf.data` ignores `prefetch` after a `flat_map` whose
    function shuffles. The training pipeline is such a `flat_map` over epochs. Without
    this thread, the first batch of each epoch would be computed only on request.
    """

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "next batch")
        self._source: Any = None
        self._future: Future | None = None

    def next(self, source: Iterator) -> Any:
        """Return the next item of an iterator, and start to fetch the one behind it.

        Raises:
            Exception: The exception of the iterator, when its item is asked for.
        """
        if self._future is None or self._source is not source:
            self._source, self._future = source, self._worker.submit(next, source)
        item = self._future.result()
        self._future = self._worker.submit(next, source)
        return item


class InputWait:
    """Share of an epoch's time in which the model waits for its next batch."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start the clock of an epoch."""
        self._began, self._waited = time.perf_counter(), 0.0

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Count the time of the block as waiting."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    def share(self) -> float:
        """Return the share of waiting since the epoch began, 0 to 1."""
        return self._waited / (time.perf_counter() - self._began)
