"""Temperature of a run, folded into its last dense layer.

A temperature divides the logits before the softmax (C. Guo, G. Pleiss, Y. Sun and K. Q.
Weinberger, "On Calibration of Modern Neural Networks", ICML 2017). The logits are those
of a dense layer, so that its weights and bias divided by the temperature give the same
probabilities, at no cost.
"""

import dataclasses
import json
from typing import Any

import keras

from asc_tf.config import Evaluate
from asc_tf.core.errors import UsageError
from asc_tf.evaluation.validation import hash_model
from asc_tf.models import get_body
from asc_tf.models.blocks import HEAD
from asc_tf.workdir import Workdir

AGAIN = "run asc-tf evaluate first, or leave --export.calibrate out"


def read_temperature(workdir: Workdir, settings: Evaluate) -> float:
    """Read the temperature that `asc-tf evaluate` fitted to the validation split.

    Args:
        workdir: Run folder.
        settings: Settings of segments and pooling of the export, which have to be
            those of the evaluation.

    Raises:
        UsageError: If there is none, or it is one of another model or other settings.
    """
    path = workdir.calibration_file
    if not path.is_file():
        raise UsageError(f"export.calibrate = true: {path} is missing; {AGAIN}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        temperature, used = content["temperature"], content["evaluate"]
        if not isinstance(temperature, float) or not 0.01 <= temperature <= 100:
            raise ValueError(f"temperature is {temperature!r:.60}")
        earlier = content["model_sha256"]
        now = dataclasses.asdict(settings)
        changed = [name for name in used if now.get(name) != used[name]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"export.calibrate = true: {path} is damaged ({error}); {AGAIN}"
        ) from error
    if earlier != hash_model(workdir):
        raise UsageError(
            f"export.calibrate = true: {path} belongs to another model than "
            f"{workdir.model_file}; {AGAIN}"
        )
    if changed:
        name = changed[0]
        raise UsageError(
            f"export.calibrate = true: {path} was fitted with evaluate.{name} = "
            f"{used[name]}, and this export has {now.get(name)}; run asc-tf evaluate "
            "with the same, or leave one of them out"
        )
    return float(temperature)


def fold_temperature(model: keras.Model, temperature: float) -> keras.Model:
    """Divide the last dense layer by a temperature.

    Args:
        model: Model from waveform to probabilities; it stays as it is.
        temperature: Divisor of the logits, above 0.

    Returns:
        A model with another last layer, which shares all others; with 1 `model`.
    """
    if temperature == 1:
        return model
    body: Any = get_body(model)
    old, softmax = body.get_layer(HEAD), body.layers[-1]
    new = keras.layers.Dense.from_config(old.get_config())
    last = softmax.__class__.from_config(softmax.get_config())
    copied = keras.Model(body.input, last(new(old.input)), name=body.name)
    new.set_weights([values / temperature for values in old.get_weights()])
    x = waveform = keras.Input(model.input_shape[1:], name="waveform")
    for layer in model.layers[1:]:
        x = copied(x) if layer is body else layer(x)
    return keras.Model(waveform, x, name=model.name)
