"""A SavedModel behind TensorFlow's own batching and bounded queue."""

import json
import math
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from asc_tf.core.errors import UserError
from asc_tf.edge.tflite_metadata import check_labels
from asc_tf.evaluation.load import METADATA
from asc_tf.models.precision import allow_tensor_float_32
from asc_tf.serving.backends import (
    UNKNOWN,
    Arrays,
    IsCancelled,
    Signature,
    TensorSpec,
    check_cancelled,
    never,
)
from asc_tf.serving.settings import QueueFullError, RequestError, Settings

MERGED_SIGNATURES = ("serving_default", "encoded")
"""Signatures whose requests are merged: each clip has one row of results."""

_DTYPES = {tf.float32: "DT_FLOAT", tf.int64: "DT_INT64", tf.string: "DT_STRING"}


class SavedModelBackend:
    """SavedModel of `asc-tf export`.

    Requests of the signatures with one row for each clip wait in the queue of
    `tf.nondifferentiable_batch_function`, which also merges them into batches. Those of
    the other signatures wait until a worker is free.

    Raises:
        UserError: If it is damaged, or not of `asc-tf export`.
    """

    def __init__(self, path: Path, version: int, settings: Settings) -> None:
        self.version, self._max_batch_size = version, settings.max_batch_size
        allow_tensor_float_32(False)
        try:
            described = json.loads((path / METADATA).read_text(encoding="utf-8"))
            self.labels = check_labels(described.get("labels"))
            self.description = described
            self._model = tf.saved_model.load(str(path))
        except (
            *(OSError, LookupError, ValueError, TypeError, AttributeError),
            *(RecursionError, tf.errors.OpError),
        ) as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"{path}: not a SavedModel of asc-tf export, or damaged: {reason}"
            ) from error
        functions = dict(self._model.signatures)
        self.signatures = {
            name: Signature(
                _describe(function.structured_input_signature[1]),
                _describe(function.structured_outputs),
            )
            for name, function in functions.items()
        }
        queued = [name for name in MERGED_SIGNATURES if name in functions]
        # Older exports fail a whole batch for one bad row.
        self._merged = {
            name
            for name in queued
            if settings.batching and "error" in self.signatures[name].outputs
        }
        self._queues = {
            name: self._make_queue(name, functions[name], settings) for name in queued
        }
        # Each queue has threads of its own, which TensorFlow never ends.
        self._free_workers = threading.Semaphore(settings.workers)

    def _make_queue(
        self, name: str, function: Callable, settings: Settings
    ) -> Callable[[np.ndarray], list[tf.Tensor]]:
        """Make the function that runs a signature through a bounded queue."""
        described = self.signatures[name]
        (key,) = described.inputs
        if name not in self._merged:
            return _make_single_queue(function, key, described, settings)
        if key == "encoded":
            return _make_file_queue(function, key, described, settings)
        return _make_waveform_queue(function, key, described, settings)

    def run(
        self, signature: str, inputs: Arrays, is_cancelled: IsCancelled = never
    ) -> dict[str, np.ndarray]:
        """Run a signature; see `Backend`."""
        (value,) = inputs.values()
        try:
            if not len(value) or signature == "labels":
                # There is nothing to wait for.
                outputs = self._run_signature(signature, value)
            elif signature in self._queues:
                outputs = self._run_queue(signature, value, is_cancelled)
            else:
                outputs = self._run_alone(signature, value, is_cancelled)
        except tf.errors.UnavailableError as error:
            raise QueueFullError from error
        except tf.errors.InvalidArgumentError as error:
            raise RequestError(400, _find_reason(str(error.message))) from error
        except tf.errors.ResourceExhaustedError as error:
            raise RequestError(503, "not enough memory for this request") from error
        names = self.signatures[signature].outputs
        return {
            name: tensor.numpy() for name, tensor in zip(names, outputs, strict=True)
        }

    def _run_alone(
        self, signature: str, value: np.ndarray, is_cancelled: IsCancelled
    ) -> list[tf.Tensor]:
        """Run a request when a worker is free."""
        with self._free_workers:
            check_cancelled(is_cancelled)
            return self._run_signature(signature, value)

    def _run_signature(self, signature: str, value: np.ndarray) -> list[tf.Tensor]:
        """Run a signature without a queue; the server bounds who waits."""
        function = self._model.signatures[signature]
        ((key, spec),) = function.structured_input_signature[1].items()
        run = _make_run(function, key, self.signatures[signature])
        return run(tf.constant(value, spec.dtype))

    def _run_queue(
        self, signature: str, value: np.ndarray, is_cancelled: IsCancelled
    ) -> list[tf.Tensor]:
        """Run rows through the queue of a signature, at most a batch at a time.

        A request of many clips thus does not fill the queue for all others.
        """
        parts = []
        for n in range(0, len(value), self._max_batch_size):
            check_cancelled(is_cancelled)
            rows = value[n : n + self._max_batch_size]
            try:
                parts.append(self._queues[signature](rows))
            except tf.errors.InvalidArgumentError:
                if signature not in self._merged:
                    raise
                # A row of another request in the batch may be the reason.
                parts.append(self._run_alone(signature, rows, is_cancelled))
        return [tf.concat(tensors, axis=0) for tensors in zip(*parts, strict=True)]


def _find_reason(message: str) -> str:
    """Find the reason in a message of TensorFlow, below the places in its code."""
    lines = [line.strip() for line in message.splitlines()]
    noise = ("[[", "File ", "Detected at", "Graph execution error", "<stack")
    reasons = [line for line in lines if line and not line.startswith(noise)]
    return reasons[-1] if reasons else "the model refuses the request"


def _describe(tensors: dict[str, tf.TensorSpec]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(
            _DTYPES[tensor.dtype],
            tuple(UNKNOWN if size is None else size for size in tensor.shape)
            if tensor.shape.rank is not None
            else None,
        )
        for name, tensor in sorted(tensors.items())
    }


def _make_run(function: Callable, key: str, described: Signature) -> Callable:
    """Make a function from the tensor of an input to a list of the outputs."""

    def run(value: tf.Tensor) -> list[tf.Tensor]:
        outputs = function(**{key: value})
        return [outputs[name] for name in described.outputs]

    return run


def _make_batched(
    run: Callable, spec: tf.TensorSpec, settings: Settings, max_batch_size: int
) -> Callable:
    """Compile a function whose calls wait in a bounded queue and are merged."""
    batched = tf.nondifferentiable_batch_function(
        num_batch_threads=settings.workers,
        max_batch_size=max_batch_size,
        batch_timeout_micros=round(1000 * settings.batch_timeout_ms),
        # Each request that the server admits waits with one batch at a time, which
        # may have a single clip: it must find a place.
        max_enqueued_batches=settings.threads,
        autograph=False,
    )(run)
    # Queues of one name are one queue in the whole process, and neither signatures nor
    # versions may mix; the name is that of the scope in which the queue is traced.
    scope = f"asc_tf_{uuid.uuid4().hex}"

    def enqueue(values: tf.Tensor) -> list[tf.Tensor]:
        with tf.name_scope(scope):
            return batched(values)

    function = tf.function(enqueue, input_signature=[spec], autograph=False)
    return function.get_concrete_function()


def _make_single_queue(
    function: Callable, key: str, described: Signature, settings: Settings
) -> Callable[[np.ndarray], list[tf.Tensor]]:
    """Queue whole requests; they are not merged, as their clips may differ."""
    run_one = _make_run(function, key, described)
    tensor = function.structured_input_signature[1][key]  # type: ignore[attr-defined]

    def run(requests: tf.Tensor) -> list[tf.Tensor]:
        return [output[tf.newaxis] for output in run_one(requests[0])]

    spec = tf.TensorSpec([None, *tensor.shape], tensor.dtype)
    batched = _make_batched(run, spec, settings, 1)
    return lambda value: [
        output[0] for output in batched(tf.constant(value[np.newaxis], tensor.dtype))
    ]


def _make_file_queue(
    function: Callable, key: str, described: Signature, settings: Settings
) -> Callable[[np.ndarray], list[tf.Tensor]]:
    """Queue files, and classify those that wait together."""
    run = _make_run(function, key, described)
    spec = tf.TensorSpec([None], tf.string)
    batched = _make_batched(run, spec, settings, settings.max_batch_size)
    return lambda value: batched(tf.constant(value, tf.string))


def _make_waveform_queue(
    function: Callable, key: str, described: Signature, settings: Settings
) -> Callable[[np.ndarray], list[tf.Tensor]]:
    """Queue waveforms as bytes, so that those of different lengths can be merged."""
    run_all = _make_run(function, key, described)
    shape = described.inputs[key].shape or ()

    def classify(rows: tf.Tensor) -> list[tf.Tensor]:
        samples = tf.io.decode_raw(rows, tf.float32)
        # The number of samples may be 0, which TensorFlow does not infer.
        length = tf.shape(samples)[1] // math.prod(shape[2:])
        return run_all(tf.reshape(samples, [tf.size(rows), length, *shape[2:]]))

    def run(rows: tf.Tensor) -> list[tf.Tensor]:
        lengths = tf.strings.length(rows)

        def apart() -> list[tf.Tensor]:
            return [
                tensor[:, 0]
                for tensor in tf.map_fn(
                    lambda row: classify(row[tf.newaxis]),
                    rows,
                    fn_output_signature=[
                        tf.TensorSpec([1, *(spec.shape or ())[1:]], _find_dtype(spec))
                        for spec in described.outputs.values()
                    ],
                )
            ]

        is_equal = tf.reduce_all(lengths == lengths[0])
        return tf.cond(is_equal, lambda: classify(rows), apart)

    spec = tf.TensorSpec([None], tf.string)
    batched = _make_batched(run, spec, settings, settings.max_batch_size)

    def queue(value: np.ndarray) -> list[tf.Tensor]:
        rows = [row.tobytes() for row in np.asarray(value, np.float32)]
        return batched(tf.constant(rows, tf.string))

    return queue


def _find_dtype(spec: TensorSpec) -> tf.DType:
    return next(dtype for dtype, name in _DTYPES.items() if name == spec.dtype)
