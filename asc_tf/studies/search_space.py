"""Search space of a sweep: the values of keys on a grid, or drawn at random.

A space maps keys like `train.learning_rate` to lists of values or to distributions.
Draws are those of scikit-learn's `ParameterGrid` and `ParameterSampler`.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from asc_tf import config as configuration
from asc_tf.config.options import Value, coerce, format_value
from asc_tf.core.errors import UsageError
from asc_tf.core.files import hash_bytes

LIST_SEPARATOR = "/"
"""Separates values that are lists themselves: `model.filters=8,16/16,32`."""

MAX_NAME = 100
"""Length of the name of a point in characters; a longer one ends with a hash."""

NOT_SWEPT = {
    **dict.fromkeys(("export.", "tensorboard."), "has no effect in validation"),
    **dict.fromkeys(
        ("evaluate.calibrate", "evaluate.false_accept_rate"),
        "has no effect in validation",
    ),
    **dict.fromkeys(
        (
            *("dataset.dir", "dataset.validation_share", "dataset.test_share"),
            *("dataset.identifier_pattern", "dataset.identifier_column"),
            "dataset.drop_shared_recordings",
        ),
        "changes the validation clips, so that the points cannot be compared",
    ),
    **dict.fromkeys(
        ("dataset.fold", "dataset.folds", "dataset.seed"),
        "changes the validation clips, so that the points cannot be compared; asc-tf "
        "crossval trains all folds",
    ),
}
"""Keys that a sweep refuses, with the reason; one that ends with a dot is a section."""

Space = Mapping[str, Any]
Point = dict[str, Value]

_RANGE = re.compile(r"(?P<log>log:)?(?P<low>.+?)\.\.(?P<high>.+)")


class LogInteger:
    """Distribution of whole numbers from `low` to `high` whose logarithm is uniform."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def rvs(self, random_state: np.random.RandomState) -> int:
        """Draw a number."""
        # Half a number beyond both ends, so that these are as likely as they should be.
        ends = np.log([self._low - 0.5, self._high + 0.5])
        drawn = round(np.exp(random_state.uniform(*ends)))
        return int(min(max(drawn, self._low), self._high))


def parse_assignments(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """Parse flags like `--grid=train.batch_size=8,16` to values by key.

    Raises:
        UsageError: If a text is no assignment, a key is unknown or given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not values:
            raise UsageError(
                f"--{flag}={text}: write --{flag}=KEY=VALUES, for example "
                f"--{flag}=train.batch_size=8,16"
            )
        check_key(f"--{flag}={text}", key)
        if key in found:
            raise UsageError(f"--{flag}={text}: {key} is given twice; give all values")
        found[key] = values
    return found


def check_key(place: str, key: str) -> None:
    """Refuse a key that does not exist, or by which no points can be ranked.

    Raises:
        UsageError: Naming the key and those that are meant.
    """
    if key not in configuration.FIELDS:
        near = configuration.suggest(key, configuration.FIELDS)
        raise UsageError(f"{place}: {key}: unknown key{near}")
    section = f"{key.partition('.')[0]}."
    if reason := NOT_SWEPT.get(key) or NOT_SWEPT.get(section):
        raise UsageError(f"{place}: {key}: {reason}")


def parse_values(key: str, given: Any) -> list[Value]:
    """Parse the values of a key on a grid.

    Args:
        key: Key of the configuration.
        given: Text with commas between the values (and `/` between lists), or a list of
            values from TOML.

    Raises:
        UsageError: If a value is refused or given twice.
    """
    item = configuration.FIELDS[key]
    if isinstance(given, str):
        separator = LIST_SEPARATOR if isinstance(item.default, tuple) else ","
        words = [word.strip() for word in given.split(separator)]
        values = [configuration.parse_text(key, item, word) for word in words]
    elif isinstance(given, list) and given:
        values = [coerce(key, item, value) for value in given]
    else:
        raise UsageError(f"{key} = {given!r}: must be a list of at least one value")
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise UsageError(f"{key}: the value {twice[0]} is given twice")
    return values


def parse_distribution(key: str, given: Any) -> Any:
    """Parse what the values of a key are drawn from.

    Args:
        key: Key of the configuration.
        given: Text `LOW..HIGH` (uniform) or `log:LOW..HIGH` (uniform logarithm), for
            numbers; else values, as `parse_values` takes them, which are equally
            likely.

    Returns:
        A list of values, or a distribution of scipy.stats (or like those).

    Raises:
        UsageError: If a range or a value is refused.
    """
    match = _RANGE.fullmatch(given.strip()) if isinstance(given, str) else None
    item = configuration.FIELDS[key]
    is_number = type(item.default) in (int, float)
    if not match or not is_number:
        is_range = isinstance(given, str) and (".." in given or given[:4] == "log:")
        if is_number and is_range:
            raise UsageError(
                f"{key} = {given}: must be a range LOW..HIGH or log:LOW..HIGH"
            )
        return parse_values(key, given)
    low, high = (configuration.parse_text(key, item, match[n]) for n in ("low", "high"))
    assert isinstance(low, int | float) and isinstance(high, int | float)
    if low >= high:
        raise UsageError(f"{key} = {given}: the range must begin below its end")
    is_log = match["log"] is not None
    if is_log and low <= 0:
        raise UsageError(f"{key} = {given}: a log range must begin above 0")
    from scipy import stats

    if isinstance(low, int) and isinstance(high, int):
        return LogInteger(low, high) if is_log else stats.randint(low, high + 1)
    return stats.loguniform(low, high) if is_log else stats.uniform(low, high - low)


def make_grid(space: Space) -> list[Point]:
    """List all combinations of the values of a space, in the order of its keys."""
    combinations = itertools.product(*space.values())
    return [dict(zip(space, values, strict=True)) for values in combinations]


def draw_points(space: Space, trials: int, seed: int) -> list[Point]:
    """Draw points of a space; more trials begin with the same points.

    Numbers of a range are rounded to three digits. Points that are drawn twice are
    listed once.
    """
    from sklearn.model_selection import ParameterGrid, ParameterSampler

    if all(isinstance(values, list) for values in space.values()):
        # Without replacement; ParameterSampler's draws would depend on their number.
        grid = ParameterGrid(dict(space))
        order = np.random.RandomState(seed).permutation(len(grid))
        drawn = [grid[place] for place in order[:trials]]
    else:
        drawn = [*ParameterSampler(dict(space), trials, random_state=seed)]
    points: list[Point] = []
    for point in drawn:
        rounded = {key: _to_value(key, point[key], own) for key, own in space.items()}
        if rounded not in points:
            points.append(rounded)
    return points


def _to_value(key: str, value: Any, values: Any) -> Value:
    """Convert a value that was drawn from `values`; those of a range have 3 digits."""
    item = configuration.FIELDS[key]
    if isinstance(values, list):
        return coerce(key, item, value)
    if isinstance(value, float | np.floating):
        value = float(np.clip(float(f"{value:.3g}"), *values.support()))
    elif isinstance(value, np.integer):
        value = int(value)
    return coerce(key, item, value)


def name_point(point: Mapping[str, Value]) -> str:
    """Name the folder of a point by its values, like `learning_rate=0.01_batch_size=8`.

    The section of a key is left out where the rest names one key. A name that does not
    show all of the values ends with a hash of them.
    """
    ends = [key.partition(".")[2] for key in point]
    words = []
    for key, value in point.items():
        end = key.partition(".")[2]
        shown = end if ends.count(end) == 1 else key
        text = format_value(value)
        if isinstance(value, tuple) and all(type(each) is int for each in value):
            text = "-".join(map(str, value))
        words.append(f"{shown}={text}")
    # A folder's name has no slash, and a list of folders no comma within names.
    whole = "_".join(words)
    name = re.sub(r"[^\w.=+-]+", "-", whole)
    if name != whole or len(name) > MAX_NAME:
        name = f"{name[:MAX_NAME]}-{hash_bytes(whole.encode())[:8]}"
    return name
