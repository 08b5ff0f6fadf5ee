"""Other values of settings than their defaults."""

from asc_tf.config import FIELDS


def other_value(key):
    """A value that a field takes and that is not its default."""
    item = FIELDS[key]
    default, limits = item.default, item.metadata
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple):
        return default[::-1]
    if isinstance(default, str):
        return limits["choices"][-1] if limits["choices"] else "some text=with, signs"
    least, most = limits["minimum"], limits["maximum"]
    return type(default)(least if default != least else most or least + 1)
