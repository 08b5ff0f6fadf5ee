"""Inputs of a fine-tuning; a result is used again only where all are equal."""

import hashlib
import importlib.metadata
import json
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asc_tf.config import Config
from asc_tf.core.version import __version__
from asc_tf.frontend import FrontendLayer
from asc_tf.workdir import PLACES

PACKAGES = ("tf_keras", "tensorflow_model_optimization")

RATE_SHARES = {"int8_qat": 0.01, "int8_pruned": 0.3}
"""Highest learning rate of each format, as a share of `train.learning_rate`."""

SECTIONS = ("audio", "augment", "dataset", "evaluate", "frontend", "model", "train")

NO_EFFECT = (
    *("evaluate.batch_size", "evaluate.pooling", "evaluate.calibrate"),
    *("evaluate.false_accept_rate", "train.ema", "train.patience"),
    *("train.energy", "train.energy_country", "train.jit_compile"),
    *("train.precision", "train.strategy"),
)
"""Settings of those sections that change nothing in a fine-tuning."""


def identify(
    config: Config, body: keras.Model, frontend: FrontendLayer, name: str
) -> str:
    """Describe all that the result of a fine-tuning depends on, as JSON."""
    own = "calibration_segments" if name == "int8_qat" else "sparsity"
    keys = ("export.qat_epochs", f"export.{own}")
    digest = hashlib.sha256()
    for weight in (*frontend.get_weights(), *body.get_weights()):
        digest.update(np.ascontiguousarray(weight).tobytes())
    values = {
        key: value
        for key, value in config.flat().items()
        if key in keys
        or (key.split(".")[0] in SECTIONS and key not in (*PLACES, *NO_EFFECT))
    }
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    described: dict[str, Any] = {
        "format": name,
        "learning_rate_share": RATE_SHARES[name],
        "model_sha256": digest.hexdigest(),
        "settings": values,
        "versions": {"asc_tf": __version__, "tensorflow": tf.__version__, **packages},
    }
    return json.dumps(described, sort_keys=True)
