"""Classification of files and recordings for the commands that do it."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

from asc_tf.command_line.inputs import InputFile, list_inputs
from asc_tf.command_line.label_tracks import (
    FORMATS,
    TrackError,
    TrackWriter,
    open_track,
)
from asc_tf.command_line.prediction_flags import (
    Options,
    read_model_and_words,
    read_options,
)
from asc_tf.command_line.prediction_rows import (
    Result,
    apply_threshold,
    format_json,
    format_lines,
    format_segment,
    make_segment_row,
    open_table,
)
from asc_tf.core.errors import UnreadableFileError
from asc_tf.dsp.levels import SILENCE
from asc_tf.dsp.recordings import Recording


class Classifier(NamedTuple):
    """Loaded model of a command.

    Attributes:
        labels: Class names, in the order of the probabilities.
        sample_rate: Sample rate of the model in Hz.
        predict_file: Function that classifies a file.
        open_recording: Function that opens a recording with a hop in seconds (0: as the
            model has it).
    """

    labels: Sequence[str]
    sample_rate: int
    predict_file: Callable[[str], Result]
    open_recording: Callable[[str, float], Recording]


def run_classification(
    command: str,
    values: flags.FlagValues,
    kind: str,
    suffixes: Sequence[str],
    load: Callable[[Path], Classifier],
) -> int:
    """Classify the files and folders that a command is given.

    Results go to stdout, or to the files that flags name; errors and notes to stderr.

    Args:
        command: Program and command, for stderr.
        values: The parsed flags.
        kind: Kind of the files, for messages.
        suffixes: Suffixes of the files that are taken from folders.
        load: Function that loads the model.

    Returns:
        Exit code: 1 if a file or a folder could not be read.

    Raises:
        UsageError: If flags or inputs are refused.
        UserError: If the model is refused, or an output cannot be written.
    """
    model, words = read_model_and_words(values, kind)
    inputs = list_inputs(words, suffixes)
    options = read_options(values, inputs.files)
    classifier = load(model)
    for text in (*inputs.notes, *inputs.errors):
        print(f"{command}: {text}", file=sys.stderr)
    width = max((len(file.path) for file in inputs.files), default=0)
    with _open_output(command, options, classifier, width) as output:
        for number, file in enumerate(inputs.files):
            if options.has_segments:
                _classify_recording(output, file, number)
            else:
                output.write(classifier.predict_file(file.path))
    return int(output.has_failed or bool(inputs.errors))


class _Output:
    """Output of the results: stdout, stderr and the table.

    Args:
        command: Program and command, for stderr.
        options: Flags of the output.
        classifier: The model.
        width: Width of the longest path.
        write_row: Function that writes a row of the table.
    """

    def __init__(
        self,
        command: str,
        options: Options,
        classifier: Classifier,
        width: int,
        write_row: Callable[[Result], None],
    ) -> None:
        self._command, self._width = command, width
        self.options, self.classifier = options, classifier
        self._write_row = write_row
        self.has_failed = False

    def write(self, result: Result) -> Result:
        """Write the result of a file or a segment, or an error.

        Returns:
            The result, with the threshold applied.
        """
        result = apply_threshold(result, self.options.threshold)
        self._write_row(result)
        is_segment = "start" in result
        if "error" in result:
            self.has_failed = True
            print(f"{self._command}: {result['error']}", file=sys.stderr)
        elif "note" in result and not is_segment:
            self.print_note(result["file"], result["note"])
        if self.options.form == "json":
            self.print_json(format_json(result, self.options.top_k))
        elif self.options.form == "lines" and "error" not in result:
            form = format_segment if is_segment else format_lines
            print(form(result, self.options.top_k, self._width), flush=True)
        return result

    def print_json(self, row: Result) -> None:
        """Print one JSON object."""
        print(json.dumps(row), flush=True)

    def print_note(self, file: str, note: str) -> None:
        """Print a note on a file to stderr."""
        print(f"{self._command}: {file}: {note}", file=sys.stderr)


@contextlib.contextmanager
def _open_output(
    command: str, options: Options, classifier: Classifier, width: int
) -> Iterator[_Output]:
    """Open the output; the table has its name when the block has succeeded."""
    with contextlib.ExitStack() as stack:
        write_row: Callable[[Result], None] = lambda _: None  # noqa: E731
        if options.csv:
            table = open_table(
                options.csv,
                classifier.labels,
                options.has_segments,
                options.threshold is not None,
            )
            write_row = stack.enter_context(table)
        yield _Output(command, options, classifier, width, write_row)


def _classify_recording(output: _Output, file: InputFile, number: int) -> None:
    """Classify a recording segment by segment.

    The label tracks of a recording that cannot be read to its end are not written; the
    rows before that are. A recording of which a track cannot be written has failed too.

    Args:
        output: Output of the results.
        file: The recording.
        number: Number of the recording, from 0.
    """
    options = output.options
    try:
        with contextlib.ExitStack() as stack:
            recording = output.classifier.open_recording(file.path, options.hop_seconds)
            rate = min(recording.sample_rate, output.classifier.sample_rate)
            tracks = [
                stack.enter_context(
                    open_track(paths[number], FORMATS[name], rate, options.should_join)
                )
                for name, paths in options.tracks.items()
            ]
            counts = _write_segments(output, file.path, recording, tracks)
    except UnreadableFileError as error:
        output.write({"file": file.path, "error": str(error)})
        return
    except TrackError as error:
        output.write({"file": file.path, "error": f"{file.path}: {error}"})
        return
    _summarize(output, file.path, number, recording, *counts)


def _write_segments(
    output: _Output, path: str, recording: Recording, tracks: Sequence[TrackWriter]
) -> tuple[int, int]:
    """Write all segments; return how many there are, and how many are silent."""
    count = silent = 0
    for segment in recording.predict():
        result = output.write(
            make_segment_row(
                path,
                output.classifier.labels,
                (segment.start, segment.end),
                segment.probabilities,
                SILENCE if segment.is_silent else "",
            )
        )
        for track in tracks:
            track.add(
                segment.start, segment.end, result["label"], result["probability"]
            )
        count, silent = count + 1, silent + segment.is_silent
    return count, silent


def _summarize(
    output: _Output, path: str, number: int, recording: Recording, *counts: int
) -> None:
    """Write what is known when the end of a recording is reached.

    Args:
        output: Output of the results.
        path: Path of the recording.
        number: Number of the recording, from 0.
        recording: The recording.
        *counts: Numbers of segments and of silent ones.
    """
    count, silent = counts
    notes = [recording.note] if recording.note else []
    if 0 < silent < count:
        notes.append(f"{silent} of {count} segments are silent: every sample is 0")
    note = "; ".join(notes)
    if note:
        output.print_note(path, note)
    tracks = [str(paths[number]) for paths in output.options.tracks.values()]
    if output.options.form == "json":
        row = {"file": path, "seconds": recording.seconds, "n_segments": count}
        output.print_json(row | ({"note": note} if note else {}))
    elif output.options.form == "tracks":
        print(
            f"{path}: {count} segments, {recording.seconds:.1f} s -> "
            f"{', '.join(tracks)}",
            flush=True,
        )
