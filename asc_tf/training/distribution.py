"""Distribution of training over several devices."""

import keras
import tensorflow as tf

from asc_tf.config import Config
from asc_tf.core.errors import UsageError
from asc_tf.models.precision import list_layers


def choose_strategy(config: Config, examples: int) -> tf.distribute.Strategy:
    """Choose the distribution strategy of a run, by `train.strategy`.

    Returns:
        A `MirroredStrategy` over all GPUs (or logical CPUs, where there is no GPU), or
        the default strategy, which is one device.

    Raises:
        UsageError: If `mirrored` is configured but not possible.
    """
    wanted = config.train.strategy
    one = tf.distribute.get_strategy()
    if wanted == "one_device":
        return one
    devices = tf.config.list_logical_devices("GPU")
    if wanted == "mirrored" and not devices:
        devices = tf.config.list_logical_devices("CPU")
    reason = _why_not_mirrored(config, len(devices), examples)
    if reason and wanted == "mirrored":
        raise UsageError(f"train.strategy = mirrored: {reason}")
    if len(devices) > 1 and reason:
        print(f"one of {len(devices)} GPUs is used: {reason}")
    if reason:
        return one
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _why_not_mirrored(config: Config, devices: int, examples: int) -> str:
    """Return why devices cannot share batches; empty if they can."""
    if devices < 2:
        return "there is one device; use auto or one_device"
    size = config.train.batch_size
    if size % devices:
        return f"train.batch_size = {size} must be a multiple of the {devices} devices"
    if examples < size:
        return f"an epoch has {examples} examples, less than train.batch_size = {size}"
    if config.frontend.placement == "model":
        return (
            "frontend.placement = model mixes and masks within a batch, which is "
            "divided among the devices; use frontend.placement = dataset"
        )
    if config.train.jit_compile:
        return "train.jit_compile = true compiles a step for one device"
    return ""


def synchronize(body: keras.Model) -> None:
    """Compute batch-normalization statistics over the whole batch, not per device.

    Training then has the same result as on one device, and the last batch of an epoch
    may leave a device without examples.
    """
    for layer in list_layers(body):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
