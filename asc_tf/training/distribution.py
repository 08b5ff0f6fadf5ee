"""In which precision, and on how many devices, a model is trained and run."""

import keras
import tensorflow as tf

from asc_tf.config import Config
from asc_tf.core.errors import UsageError
from asc_tf.models.precision import list_layers


def strategy(config: Config, examples: int) -> tf.distribute.Strategy:
    """How `train.strategy` spreads training over the devices.

    Args:
        config: The configuration.
        examples: Training examples in an epoch.

    Returns:
        A `MirroredStrategy` over all GPUs (or logical CPUs, where there is no GPU), or
        the default strategy, which is one device.

    Raises:
        UsageError: If `mirrored` cannot be.
    """
    wanted = config.train.strategy
    one = tf.distribute.get_strategy()
    if wanted == "one_device":
        return one
    devices = tf.config.list_logical_devices("GPU")
    if wanted == "mirrored" and not devices:
        devices = tf.config.list_logical_devices("CPU")
    hindrance = _hindrance(config, len(devices), examples)
    if hindrance and wanted == "mirrored":
        raise UsageError(f"train.strategy = mirrored: {hindrance}")
    if len(devices) > 1 and hindrance:
        print(f"one of {len(devices)} GPUs is used: {hindrance}")
    if len(devices) < 2 or hindrance:
        return one
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _hindrance(config: Config, devices: int, examples: int) -> str:
    """Why batches cannot be shared by devices; empty if they can."""
    if devices < 2:
        return "there is one device; use auto or one_device"
    size = config.train.batch_size
    if size % devices:
        return f"train.batch_size = {size} must be a multiple of the {devices} devices"
    if examples < size:
        return f"an epoch's {examples} examples are no batch of {size}"
    if config.frontend.placement == "model":
        return (
            "frontend.placement = model mixes and masks within a batch, of which each "
            "device has a part; use frontend.placement = dataset"
        )
    return ""


def synchronize(body: keras.Model) -> None:
    """Let batch norms take their statistics over all devices' parts of a batch.

    So training is what it is on one device, and the last batch of an epoch may leave a
    device without examples.
    """
    for layer in list_layers(body):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
