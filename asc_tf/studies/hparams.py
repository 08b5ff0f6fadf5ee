"""Values and scores of a sweep for TensorBoard's HParams table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from asc_tf.config.options import Value, format_value
from asc_tf.training.hparams_file import write_hparams, write_summaries


def write_experiment(
    folder: Path, values: Mapping[str, Sequence[Value]], metrics: Sequence[str]
) -> None:
    """Write which hyperparameters a sweep varies, and by which scores it is judged.

    Args:
        folder: Folder of the event file.
        values: Values of each key that some point has.
        metrics: Names of the validation scores.
    """
    from tensorboard.plugins.hparams import summary_v2

    columns = [
        summary_v2.HParam(key, summary_v2.Discrete(sorted({_plain(v) for v in own})))
        for key, own in values.items()
    ]
    shown = [
        summary_v2.Metric(_tag(name), display_name=f"validation {name}")
        for name in metrics
    ]
    summary = summary_v2.hparams_config_pb(columns, shown, time_created_secs=0.0)
    write_summaries(folder, [summary])


def write_session(
    folder: Path,
    name: str,
    values: Mapping[str, Value],
    scores: Mapping[str, float | None],
) -> None:
    """Write the hyperparameters and the known validation scores of a finished point.

    They replace those that the training of the point wrote.
    """
    plain = {key: _plain(value) for key, value in values.items()}
    known = {_tag(key): score for key, score in scores.items() if score is not None}
    write_hparams(folder, plain, known, name=name)


def _tag(score: str) -> str:
    return f"validation/{score}"


def _plain(value: Value) -> bool | float | str:
    """Convert a value to a type that the plugin knows; all numbers are floats."""
    if isinstance(value, bool | str):
        return value
    return format_value(value) if isinstance(value, tuple) else float(value)
