"""Event file by which TensorBoard's HParams table shows a run.

It is written without TensorFlow, so that the process of a sweep stays small.
`tensorboard --logdir=W` reads it beside the curves of the runs.
"""

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asc_tf.core.files import write_atomically

SUFFIX = ".hparams"
"""End of the name of the event file, in which TensorBoard looks for `tfevents`."""


def write_hparams(
    logdir: str | Path,
    values: Mapping[str, str | float | bool],
    metrics: Mapping[str, float],
    *,
    is_finished: bool = True,
    name: str | None = None,
) -> None:
    """Write the settings and scores of one run for TensorBoard's HParams table.

    Settings and scores that an earlier call wrote to the folder are replaced, because
    TensorBoard would show those of the first file that it finds.

    Args:
        logdir: Folder of the run's event files, one for each run; it is created.
        values: Settings by name. TensorBoard filters numbers by an interval, and texts
            and bools by a list of values. Runs with equal settings share a row.
        metrics: Scores by name; each becomes a scalar of that name at step 0.
        is_finished: Whether the run has ended.
        name: Name of the row; runs with different names do not share one.

    Raises:
        OSError: If the folder cannot be written to.
        TypeError: If a setting is neither text nor a number nor a bool.
    """
    from tensorboard.plugins.hparams import summary_v2
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    summaries = [summary_v2.hparams_pb(dict(values), trial_id=name)]
    summaries += [scalar_pb(key, value) for key, value in metrics.items()]
    if is_finished:
        summaries.append(_make_session_end())
    Path(logdir).mkdir(parents=True, exist_ok=True)
    write_summaries(Path(logdir), summaries)


def write_summaries(folder: Path, summaries: Sequence[Any]) -> None:
    """Write summaries as the event file of a folder, in place of an earlier one.

    A TensorBoard that is open reads only files whose names sort behind those that it
    has read.
    """
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    events = [event_pb2.Event(wall_time=now, file_version="brain.Event:2")]
    events += [event_pb2.Event(wall_time=now, step=0, summary=s) for s in summaries]
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    earlier = list(folder.glob(f"events.*{SUFFIX}"))
    name = f"events.out.tfevents.{int(now):010}.{time.time_ns()}{SUFFIX}"
    with write_atomically(folder / name) as temporary:
        temporary.write_bytes(buffer.getvalue())
    for path in earlier:
        path.unlink(missing_ok=True)


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
