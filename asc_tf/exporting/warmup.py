"""Requests that TensorFlow Serving runs when it loads the model.

Without them the first requests are slow: TensorFlow optimizes a graph when it runs for
the first time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.dsp.wav_format import pack_wav


def make_warmup_inputs(preprocessing: Preprocessing) -> dict[str, Any]:
    """Make the inputs by name: one segment of silence, as waveform and as file."""
    shape = [1, *preprocessing.segment_shape]
    silence = bytes(2 * preprocessing.segment_samples)
    return {
        "waveform": tf.make_tensor_proto(0.0, tf.float32, shape),
        "encoded": tf.make_tensor_proto(
            [pack_wav(silence, preprocessing.sample_rate, 1, False)], tf.string
        ),
    }


WARMED: Mapping[str, str] = {
    "serving_default": "waveform",
    "encoded": "encoded",
    "segments": "waveform",
    "encoded_segments": "encoded",
}
"""Input of each signature that is warmed up."""


def write_warmup(path: Path, preprocessing: Preprocessing) -> None:
    """Write the warm-up requests of TensorFlow Serving."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    inputs = make_warmup_inputs(preprocessing)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, name in WARMED.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature
            request.inputs[name].CopyFrom(inputs[name])
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(
                prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString()
            )
