"""Message for a GPU, or a machine, whose memory is full."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from asc_tf.config import Config
from asc_tf.core.errors import UserError
from asc_tf.core.files import is_disk_full

_REASON = re.compile(r"OOM when allocating[^\n]*")


@contextlib.contextmanager
def explain_full_memory(
    config: Config, *sections: str, remark: str = ""
) -> Iterator[None]:
    """Turn TensorFlow's error on a full memory into a message of one line.

    Args:
        config: Configuration of the run.
        sections: Sections whose `batch_size` the command takes: `train`, `evaluate`.
        remark: Other advice, at the end of the message.

    Raises:
        UserError: If the memory of a device is full.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if is_disk_full(error.message):
            raise
        found = _REASON.search(error.message)
        advice = " or ".join(
            f"--{section}.batch_size (now {getattr(config, section).batch_size})"
            for section in sections
        )
        advice = f"give a smaller {advice}{remark}" if advice else remark
        raise UserError(
            f"the memory of the device is full ({found[0] if found else error.message})"
            f"; {advice}"
        ) from error
