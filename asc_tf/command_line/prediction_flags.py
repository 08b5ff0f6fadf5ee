"""Flags of the commands that classify files, and the checks between them."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from asc_tf.command_line.flag_values import (
    read_new_path,
    read_number,
    read_path,
    refuse_other_content,
)
from asc_tf.command_line.inputs import InputFile
from asc_tf.command_line.label_tracks import FORMATS, plan_tracks
from asc_tf.core.errors import UsageError
from asc_tf.dsp.recordings import MAX_HOP_SECONDS

MODEL_FILES = ("config.toml", "model.json", "saved_model.pb", "1", "saved_model")
"""Names of which at least one is in the folder of a model."""


@dataclass(frozen=True)
class Options:
    """Parsed flags of the output.

    Attributes:
        top_k: Number of labels to show.
        form: Form of the printed output: `lines` for a person, `json`, `tracks` (a
            line for each recording whose tracks are written) or `none`.
        csv: Table to write, or None.
        has_segments: Whether there is a prediction for each segment.
        hop_seconds: Seconds between two segments; 0: as the model has them.
        threshold: Smallest probability of an answer; None: any.
        tracks: Paths of the label tracks of each file, by format.
        should_join: Whether the tracks join segments of one label.
    """

    top_k: int
    form: str
    csv: Path | None
    has_segments: bool
    hop_seconds: float
    threshold: float | None
    tracks: dict[str, list[Path]]
    should_join: bool


def define_output(values: flags.FlagValues) -> None:
    """Define the flags of the output."""
    flags.DEFINE_integer(
        "top_k",
        3,
        "labels to show, the most probable first",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "json",
        False,
        "one JSON object per line: one for each file; with --segments one for each "
        "segment, and one for the file after them",
        flag_values=values,
    )
    flags.DEFINE_string(
        "csv",
        None,
        "CSV file to write, with the probability of each label",
        flag_values=values,
    )
    flags.DEFINE_float(
        "threshold",
        None,
        "report `unknown` if the highest probability is below this value; JSON and CSV "
        "keep the label as raw_label",
        lower_bound=0.0,
        upper_bound=1.0,
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "segments",
        False,
        "classify every segment: the scenes of a recording over time",
        flag_values=values,
    )
    flags.DEFINE_float(
        "hop_seconds",
        None,
        "time from the start of one segment to that of the next, s; by default as the "
        "model has it",
        lower_bound=0.001,
        upper_bound=MAX_HOP_SECONDS,
        flag_values=values,
    )
    for name, program in (("audacity", "Audacity"), ("raven", "Raven")):
        flags.DEFINE_string(
            name,
            None,
            f"write the segments of each recording as labels for {program}: a folder, "
            "or with one recording a file with a suffix",
            flag_values=values,
        )
    flags.DEFINE_boolean(
        "join",
        None,
        "merge consecutive segments with the same label into one region of Audacity "
        "and Raven (the default); --nojoin: a region for each segment",
        flag_values=values,
    )


def read_model_and_words(
    values: flags.FlagValues, kind: str
) -> tuple[Path, Sequence[str]]:
    """Read the path that `--model` names, and the files and folders to classify.

    Args:
        values: The parsed flags.
        kind: Kind of the files, for the message that there are none.

    Raises:
        UsageError: If the flag is missing, naming the word that may be its value; or if
            there are no files.
    """
    first = (values.positional or [""])[0]
    is_folder = Path(first).is_dir() and len(values.positional) > 1
    if not values.model and first and (is_folder or _is_model(Path(first))):
        raise UsageError(f"--model is missing; did you mean --model={first}?")
    path = read_path(values, "model")
    if not values.positional:
        raise UsageError(f"no files; give one or more {kind} files or folders")
    return path, values.positional


def _is_model(path: Path) -> bool:
    return path.suffix in (".tflite", ".keras") or any(
        (path / name).exists() for name in MODEL_FILES
    )


def read_options(values: flags.FlagValues, files: Sequence[InputFile]) -> Options:
    """Read and check the flags of the output.

    Args:
        values: The parsed flags.
        files: The files to classify.

    Raises:
        UsageError: If two flags do not go together, or an output is refused.
    """
    if values.json and values.csv:
        raise UsageError("--json and --csv: give one of them")
    table = read_new_path(values, "csv") if values.csv else None
    inputs = {os.path.realpath(file.path) for file in files}
    if table and (table.is_dir() or os.path.realpath(table) in inputs):
        raise UsageError(f"--csv={table}: a folder, or one of the inputs")
    tracks = {
        name: plan_tracks(name, read_new_path(values, name), files, FORMATS[name])
        for name in FORMATS
        if values[name].value
    }
    for name, paths in {"csv": [table] if table else [], **tracks}.items():
        for path in paths:
            refuse_other_content(name, path)
    _check_outputs(table, tracks)
    has_segments = values.segments or bool(tracks)
    hop_seconds = read_number(values, "hop_seconds")
    if hop_seconds is not None and not has_segments:
        raise UsageError("--hop_seconds: has no effect without --segments")
    if values.join is not None and not tracks:
        raise UsageError("--join: has no effect without --audacity or --raven")
    form = "json" if values.json else "none" if table else "lines"
    if form == "lines" and tracks and not values.segments:
        form = "tracks"
    return Options(
        top_k=values.top_k,
        form=form,
        csv=table,
        has_segments=has_segments,
        hop_seconds=hop_seconds or 0.0,
        threshold=read_number(values, "threshold"),
        tracks=tracks,
        should_join=values.join is not False,
    )


def _check_outputs(table: Path | None, tracks: dict[str, list[Path]]) -> None:
    """Refuse two outputs of one name, and one that another one needs as a folder.

    Raises:
        UsageError: If there are such outputs.
    """
    outputs = [path for paths in tracks.values() for path in paths]
    outputs += [table] if table else []
    count = Counter(outputs)
    for path in outputs:
        if count[path] > 1:
            raise UsageError(f"{path}: two outputs have this name; name another one")
        for parent in path.parents:
            if parent in count:
                raise UsageError(
                    f"{parent}: cannot be an output and the folder of the output "
                    f"{path}; name another folder for one of them, or rename a "
                    "recording"
                )
