"""SavedModel from waveforms or encoded WAV files to probabilities and labels."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from asc_tf.config import Audio, Evaluate
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.evaluation.load import METADATA
from asc_tf.exporting.signatures import Signatures
from asc_tf.exporting.warmup import write_warmup
from asc_tf.models import get_body
from asc_tf.models.blocks import HEAD
from asc_tf.models.cost import list_directions
from asc_tf.models.precision import list_layers

LABELS = "labels.txt"
"""Asset of the SavedModel with one label per line, in their order."""


def write_saved_model(
    model: keras.Model,
    audio: Audio,
    evaluate: Evaluate,
    labels: Sequence[str],
    metadata: Mapping[str, Any],
    path: Path,
) -> None:
    """Write a SavedModel of core TensorFlow operations, for TensorFlow Serving.

    Inputs are `waveform`, float32 `[batch, samples]` in [-1, 1] at `audio.sample_rate`
    (`[batch, samples, 2]` for a model of two channels, as
    `asc_tf.dsp.channels.select_view` makes them), or `encoded`, string `[batch]`, the
    bytes of WAV files of any sample rate and number of channels. Clips have any length;
    the segments of long ones run in blocks, so that only the samples of a clip need
    memory. The signatures are:

    - `serving_default` (waveform) and `encoded`: `probabilities` float32 `[batch,
      labels]`, pooled from the segments, and `label` string `[batch]`.
    - `segments` and `encoded_segments`: `probabilities` `[batch, segments, labels]`.
    - `embedding` and `encoded_embedding`: `embedding` `[batch, segments, units]`, the
      input of the last dense layer.
    - `labels`: `label_id` int64 `[batch]` to `label`.

    Those over time have `start` and `end` of the segments in seconds, float32 `[batch,
    segments]`; shorter clips of a batch are filled up with NaN. A row that cannot be
    classified (no samples, samples that are not finite or far beyond full scale, bytes
    that cannot be decoded) has probabilities of NaN, an empty label, and the reason in
    `error`, string `[batch]`, which is empty for good rows. A batch without rows gives
    outputs without rows.

    Args:
        model: Model from the waveform of one segment to probabilities.
        audio: Audio settings.
        evaluate: Settings of segments and pooling.
        labels: Class order.
        metadata: Content of `model.json`.
        path: Folder to write; it must not exist.
    """
    signatures = Signatures(expose_parts(model), audio, evaluate, labels).make()
    with use_portable_operations(model):
        concrete = {
            name: each.get_concrete_function() for name, each in signatures.items()
        }
    # The model is not tracked: its variables would be written twice otherwise.
    module = tf.Module()
    variables = {id(v): v for each in concrete.values() for v in each.variables}
    module.weights = list(variables.values())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / LABELS
        file.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        module.labels = tf.saved_model.Asset(str(file))
        tf.saved_model.save(module, str(path), signatures=concrete)
    (path / METADATA).parent.mkdir(exist_ok=True)
    (path / METADATA).write_text(json.dumps(metadata, indent=2), encoding="utf-8")
    write_warmup(
        path / "assets.extra" / "tf_serving_warmup_requests",
        Preprocessing.from_config(audio, evaluate),
    )


def expose_parts(model: keras.Model) -> keras.Model:
    """Make a model of the same layers that gives its intermediate results too.

    Returns:
        A model with the outputs `probabilities`, `features` (of the front-end) and
        `embedding` (the input of the last dense layer).
    """
    body = get_body(model)
    inner = keras.Model(
        body.input, [body.output, body.get_layer(HEAD).input], name=body.name
    )
    x = waveform = keras.Input(model.input_shape[1:], name="waveform")
    for layer in model.layers[1 : model.layers.index(body)]:
        x = layer(x)
    probabilities, embedding = inner(x)
    outputs = {"probabilities": probabilities, "features": x, "embedding": embedding}
    return keras.Model(waveform, outputs, name=model.name)


def find_embedding_scope(model: keras.Model) -> str:
    """Name the layer that computes the embedding, below the name of the body.

    A dropout passes its input on, and so is not that layer.
    """
    body = get_body(model)
    # Layers are in the order of their distance from the output.
    ahead = body.layers[: body.layers.index(body.get_layer(HEAD))]
    layer = next(
        each for each in reversed(ahead) if not isinstance(each, keras.layers.Dropout)
    )
    return f"{body.name}/{layer.name}"


def write_one_segment(model: keras.Model, path: Path) -> None:
    """Write the SavedModel of one segment that is converted to a .tflite.

    Its only signature, `serving_default`, takes `waveform` float32 `[1, samples]` (or
    `[1, samples, 2]`) and returns `probabilities` float32 `[1, labels]`; or what else
    the model returns, if `expose_parts` made it. The batch size is fixed because LiteRT
    plans its memory once.
    """

    def classify(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(waveform)
        return outputs if isinstance(outputs, dict) else {"probabilities": outputs}

    archive = keras.export.ExportArchive()
    with use_portable_operations(model, for_litert=True):
        archive.add_endpoint(
            "serving_default",
            classify,
            [tf.TensorSpec([1, *model.input_shape[1:]], tf.float32, name="waveform")],
        )
        # The endpoint is traced here, so the call belongs in the block.
        archive.write_out(path, verbose=False)


@contextlib.contextmanager
def use_portable_operations(
    model: keras.Model, for_litert: bool = False
) -> Iterator[None]:
    """Restrict a model to operations that machines without a GPU have too.

    On a machine with a GPU, Keras would trace recurrent layers as operations of cuDNN.

    Args:
        model: Model from waveform to probabilities.
        for_litert: Whether the front-end uses only operations that LiteRT has.
    """
    changes = {"use_cudnn": False, **({"portable": True} if for_litert else {})}
    earlier = [
        (layer, name, getattr(layer, name))
        for each in list_layers(model)
        for layer in list_directions(each)
        for name in changes
        if hasattr(layer, name)
    ]
    try:
        for layer, name, _ in earlier:
            setattr(layer, name, changes[name])
        yield
    finally:
        for layer, name, value in earlier:
            setattr(layer, name, value)
