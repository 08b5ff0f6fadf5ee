"""The SavedModel: waveforms or encoded WAV bytes in, probabilities and labels out."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from asc_tf.audio.decode import decode_wav, has_valid_samples
from asc_tf.audio.segment import cut_segments, pool
from asc_tf.config import Audio, Evaluate
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.dsp.streaming import BAD_SAMPLES
from asc_tf.evaluation.load import METADATA
from asc_tf.frontend import FrontendLayer


def write_saved_model(
    model: keras.Model,
    audio: Audio,
    evaluate: Evaluate,
    labels: Sequence[str],
    metadata: Mapping[str, Any],
    path: Path,
) -> None:
    """Write a SavedModel of core TensorFlow operations.

    Signatures, with the outputs `probabilities` float32 `[batch, labels]` and `label`
    string `[batch]`:

    - `serving_default`: `waveform` float32 `[batch, samples]` in [-1, 1], at
      `audio.sample_rate`; `[batch, samples, 2]` where the model hears two channels, as
      `asc_tf.dsp.channels.select_view` makes them (left and right, or mid and side).
      Any length; longer ones are cut into segments, whose probabilities are pooled.
    - `encoded`: `encoded` string `[batch]`, the bytes of WAV files of any rate and
      length.

    A row that cannot be classified (no samples, samples that are not finite or far
    beyond full scale, bytes that cannot be decoded) fails the request with an
    InvalidArgumentError that names the row and says why. A batch without rows gives
    outputs without rows.

    Args:
        model: Waveform of one segment to probabilities.
        audio: The audio settings.
        evaluate: Which segments are heard, and how they are pooled.
        labels: Class order.
        metadata: What `model.json` shall say.
        path: The folder to write; it must not exist.
    """
    by_segment, shape = (
        _segment_probabilities(model, audio, evaluate),
        model.input_shape,
    )
    names = tf.constant(list(labels))

    def answer(probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        best = tf.argmax(probabilities, axis=1)
        return {"probabilities": probabilities, "label": tf.gather(names, best)}

    def from_waveform(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies(_check_rows(waveform)):
            return answer(pool(by_segment(tf.identity(waveform)), evaluate.pooling))

    def from_file(file: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        contents, row = file
        name = tf.strings.join(["row ", tf.strings.as_string(row), " of encoded"])
        # The views of a file are examples of their own, pooled as its segments are.
        found = by_segment(decode_wav(contents, audio, name))
        return pool(tf.reshape(found, [1, -1, len(labels)]), evaluate.pooling)[0]

    def from_encoded(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.map_fn(
            from_file,
            (encoded, tf.range(tf.size(encoded))),
            fn_output_signature=tf.TensorSpec([len(labels)], tf.float32),
        )
        return answer(probabilities)

    # What is tracked would be written twice; the endpoints bring their variables.
    archive = keras.export.ExportArchive()
    waveforms = tf.TensorSpec([None, None, *shape[2:]], tf.float32, name="waveform")
    archive.add_endpoint("serving_default", from_waveform, [waveforms])
    files = tf.TensorSpec([None], tf.string, name="encoded")
    archive.add_endpoint("encoded", from_encoded, [files])
    archive.write_out(path, verbose=False)
    (path / METADATA).parent.mkdir(exist_ok=True)
    (path / METADATA).write_text(json.dumps(metadata, indent=2), encoding="utf-8")
    one_segment = [1, *Preprocessing.from_config(audio, evaluate).segment_shape]
    _write_warmup(path / "assets.extra" / "tf_serving_warmup_requests", one_segment)


def write_one_segment(model: keras.Model, path: Path) -> None:
    """Write the SavedModel of one segment that becomes a .tflite.

    Its only signature, `serving_default`, takes `waveform` float32 `[1, samples]` (or
    `[1, samples, 2]`) and gives `probabilities` float32 `[1, labels]`. The batch is
    fixed because LiteRT plans its memory once.
    """
    archive = keras.export.ExportArchive()
    with portable(model):
        archive.add_endpoint(
            "serving_default",
            lambda waveform: {"probabilities": model(waveform)},
            [tf.TensorSpec([1, *model.input_shape[1:]], tf.float32, name="waveform")],
        )
        # It traces the endpoint.
        archive.write_out(path, verbose=False)


@contextlib.contextmanager
def portable(model: keras.Model) -> Iterator[None]:
    """Let the front-end of a model use only operations that LiteRT has."""
    layers = [layer for layer in model.layers if isinstance(layer, FrontendLayer)]
    for layer in layers:
        layer.portable = True
    try:
        yield
    finally:
        for layer in layers:
            layer.portable = False


def _segment_probabilities(
    model: keras.Model, audio: Audio, evaluate: Evaluate
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Waveforms `[batch, samples, ...]` to `[batch, segments, labels]`."""

    def probabilities(waveforms: tf.Tensor) -> tf.Tensor:
        length, hop = audio.segment_samples, audio.hop_samples
        segments = cut_segments(
            waveforms,
            length,
            hop,
            evaluate.segments,
            audio.short_clips,
            audio.last_segment,
        )
        shape = tf.shape(segments)
        rows = tf.reshape(segments, [-1, *model.input_shape[1:]])
        # Convolutions fail on an empty batch: a row of silence stands in for it.
        is_empty = tf.cast(tf.shape(rows)[0] == 0, tf.int32)
        filled = tf.pad(rows, [[0, is_empty]] + [[0, 0]] * (rows.shape.rank - 1))
        found = model(filled)[: tf.shape(rows)[0]]
        return tf.reshape(found, [shape[0], shape[1], found.shape[-1]])

    return probabilities


def _check_rows(waveforms: tf.Tensor) -> list[tf.Operation]:
    """Assertions that every row of `[batch, samples, ...]` can be classified."""
    sound = has_valid_samples(waveforms, list(range(1, waveforms.shape.rank)))
    bad = tf.strings.as_string(tf.where(~sound)[:, 0])
    rows = tf.strings.reduce_join(bad, separator=", ")
    reason = tf.strings.join(["row ", rows, f" of waveform: {BAD_SAMPLES}"])
    return [
        tf.debugging.Assert(tf.shape(waveforms)[1] > 0, ["waveform: no samples"]),
        tf.debugging.Assert(tf.reduce_all(sound), [reason]),
    ]


def _write_warmup(path: Path, shape: Sequence[int]) -> None:
    """A request that TF Serving sends itself at its start: the first is not slow."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "serving_default"
    silence = tf.make_tensor_proto(0.0, tf.float32, shape)
    request.inputs["waveform"].CopyFrom(silence)
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
