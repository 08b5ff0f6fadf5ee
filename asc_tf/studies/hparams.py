"""Event files by which TensorBoard's HParams tab shows a sweep as a table.

They are written without TensorFlow, so that the process of a sweep stays small.
`tensorboard --logdir=W` reads them beside the curves of the runs.
"""

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asc_tf.config.options import Value
from asc_tf.core.files import write_atomically
from asc_tf.studies.search_space import format_value

FILE = "events.out.tfevents.0000000001.asc_tf.hparams"
"""Name of the event file; TensorBoard looks for `tfevents` in it."""


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
    _write_events(folder / FILE, [summary])


def write_session(
    folder: Path,
    name: str,
    values: Mapping[str, Value],
    scores: Mapping[str, float | None],
) -> None:
    """Write the hyperparameters and the validation scores of a finished point.

    They replace those that the training of the point wrote, because TensorBoard shows
    one row for each folder with such a file.

    Args:
        folder: Folder of the event files of the point.
        name: Name of the point.
        values: Its values by key.
        scores: Its validation scores; None is left out.
    """
    from tensorboard.plugins.hparams import summary_v2
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    plain = {key: _plain(value) for key, value in values.items()}
    summaries = [
        summary_v2.hparams_pb(plain, trial_id=name, start_time_secs=0.0),
        *(scalar_pb(_tag(k), v) for k, v in scores.items() if v is not None),
        _make_session_end(),
    ]
    _write_events(folder / FILE, summaries)
    for path in folder.glob("events.*.hparams"):
        if path.name != FILE:
            path.unlink(missing_ok=True)


def _tag(score: str) -> str:
    return f"validation/{score}"


def _plain(value: Value) -> bool | float | str:
    """Convert a value to a type that the plugin knows; all numbers are floats."""
    if isinstance(value, bool | str):
        return value
    return format_value(value) if isinstance(value, tuple) else float(value)


def _make_session_end() -> Any:
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    summary = summary_pb2.Summary()
    summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return summary


def _write_events(path: Path, summaries: Sequence[Any]) -> None:
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    events = [event_pb2.Event(wall_time=now, file_version="brain.Event:2")]
    events += [event_pb2.Event(wall_time=now, step=0, summary=s) for s in summaries]
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    with write_atomically(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
