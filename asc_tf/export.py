"""asc-tf export: a run folder in, an export folder out; every file is tried first."""

import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from asc_tf import channels, command
from asc_tf.acceptance import FILES, measure
from asc_tf.arguments import define_workdir
from asc_tf.config import Config
from asc_tf.edge.container import FORMAT_VERSION
from asc_tf.errors import UsageError, UserError
from asc_tf.evaluate import part_waveforms, scanned
from asc_tf.files import replacing, write_text
from asc_tf.listening import Listening
from asc_tf.manifest import evenly
from asc_tf.scoring import describe_left_out
from asc_tf.workdir import Workdir, without_places

USAGE = """
Export a trained run for serving and for the edge.

  asc-tf export W --output=E [--formats=saved_model,float32,int8]

  asc-tf export runs/esc10 --output=exports/esc10

W is a run folder (--workdir=W is the same), E the folder to write: SavedModel, TFLite
files, and a page that compares them. Every file is run against the Keras model on
validation clips before it is accepted (on training clips where the run has no
validation part). One that does not agree is kept as NAME.rejected beside those that
do; the exit code is 1.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return command.run(COMMAND, argv)


def _define(values: flags.FlagValues) -> None:
    define_workdir(values)
    flags.DEFINE_string("output", None, "the folder to write", flag_values=values)
    flags.DEFINE_list("formats", None, "short for --export.formats", flag_values=values)


def _main(values: flags.FlagValues) -> int:
    workdir = Workdir(command.existing_run(values))
    output = command.new_path(values, "output")
    changes = command.changed(values, COMMAND.configuration_keys())
    for key in ("dataset.dir", "audio.cache_dir"):
        if folder := changes.get(key):
            changes[key] = command.absolute(folder)
    if values.formats:
        changes["export.formats"] = values.formats
    described = export(workdir, output, changes)
    for name, row in described["formats"].items():
        print(summary_line(name, row))
    print(output)
    if described["rejected"]:
        raise UserError("; ".join(rejections(described)))
    return 0


def summary_line(name: str, row: dict[str, Any]) -> str:
    """One line on one exported format."""
    test = row.get("test") or {}
    is_scored = test.get("accuracy") is not None
    accuracy = f"{test['accuracy']:.1%} on test, " if is_scored else ""
    split = checked_split(row)
    return (
        f"{name:12} {row['bytes'] / 1000:8.1f} kB  {row['latency_ms']['p50']:7.2f} "
        f"ms per segment  {accuracy}agreement with Keras "
        f"{row[split]['agreement']:.1%}, probabilities differ by up to "
        f"{row[split]['max_difference']:.1g} ({split})"
    )


def checked_split(parts: Collection[str]) -> str:
    """The split whose clips every file is checked on."""
    return "validation" if "validation" in parts else "train"


def rejections(described: dict[str, Any]) -> list[str]:
    """The name of each rejected format, where it is kept, and the reason."""
    return [
        f"{name} is rejected{' and kept as ' * bool(row['file'])}{row['file']}: "
        f"{row['reason']}"
        for name, row in described["rejected"].items()
    ]


def export(
    workdir: Workdir, output: Path, changes: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Export the model of a run.

    Args:
        workdir: The run folder.
        output: The folder to write: new, or an earlier export, which is replaced.
        changes: Configuration keys to use instead of the run's.

    Returns:
        The content of export.json: what was measured of each of the `formats`, and of
        each that is `rejected`, with the reason.

    Raises:
        UserError: If every format is rejected where an earlier export is, which stays.
        DiskFullError: If the disk is full; an earlier export stays.
    """
    from asc_tf.model_file import load_whole
    from asc_tf.report import write_export_page

    config = workdir.config().replace(changes or {})
    _check_output(output)
    model = load_whole(workdir.require_model())
    split = checked_split(config.dataset.training_splits)
    if split == "train":
        print("no validation part: files are checked on training clips")
    limit = config.dataset.max_missing
    checked = scanned(config, workdir, split, max_left_out=limit)
    if lacking := describe_left_out(checked, [split]):
        print(f"PARTIAL: {lacking}")
    with replacing(output) as folder:
        folder.mkdir()
        metadata = _metadata(config, workdir.labels())
        failed = _write_formats(model, config, workdir, metadata, folder)
        described = measure(model, config, workdir, checked, split, folder, failed)
        if not described["formats"] and _exported_files(output):
            reasons = [row["reason"] for row in described["rejected"].values()]
            raise UserError(
                f"no format is accepted, and {output} is as it was: "
                f"{'; '.join(reasons)}"
            )
        files = {row["file"]: row["sha256"] for row in described["formats"].values()}
        text = json.dumps(metadata | {"files": files}, indent=2)
        write_text(folder / "model.json", text + "\n")
        write_text(folder / "export.json", json.dumps(described, indent=2) + "\n")
        write_export_page(folder / "export.html", described)
    return described


def _check_output(output: Path) -> None:
    """Refuse to replace a folder that is no export."""
    if output.is_file():
        raise UsageError(f"--output={output}: a file, not a folder")
    if output.is_dir() and any(output.iterdir()) and _exported_files(output) is None:
        raise UsageError(
            f"--output={output}: not empty and not an export; name a new folder"
        )


def _exported_files(folder: Path) -> Any:
    """The files that an earlier export lists; None where there is no export."""
    try:
        described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        is_export = {"format_version", "labels", "files"} <= set(described)
        return described["files"] if is_export else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _metadata(config: Config, labels: Sequence[str]) -> dict[str, Any]:
    """What every file of an export says of itself."""
    return {
        "format_version": FORMAT_VERSION,
        "labels": list(labels),
        **dataclasses.asdict(Listening.of(config.audio, config.evaluate)),
        "config": without_places(config),
    }


def _write_formats(
    model: Any,
    config: Config,
    workdir: Workdir,
    metadata: dict[str, Any],
    folder: Path,
) -> str:
    """Write the model files of an export folder; why one could not be written."""
    from asc_tf import convert, serving
    from asc_tf.edge.container import write_metadata

    formats, failed = config.export.formats, ""
    if "saved_model" in formats:
        path = folder / FILES["saved_model"]
        serving.write_saved_model(
            model, config.audio, config.evaluate, metadata["labels"], metadata, path
        )
    if edge_formats := [name for name in formats if name != "saved_model"]:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            source = Path(temporary) / "one_segment"
            serving.write_one_segment(model, source)
            body = model.layers[-1].name
            drawn = calibration_segments(config, workdir)
            converted, failed = convert.convert(source, edge_formats, drawn, body)
            for name, path in converted.items():
                shutil.move(path, folder / FILES[name])
                write_metadata(folder / FILES[name], metadata | {"precision": name})
    return failed


def calibration_segments(config: Config, workdir: Workdir) -> np.ndarray:
    """Segments of the training part: float32 `[n, segment_samples]` (or `[..., 2]`).

    Clips are drawn evenly over the table, and as many segments of each as are needed.
    """
    from asc_tf.pipeline import reading, segment_batches

    count = config.export.calibration_segments
    manifest = scanned(config, workdir, "train")
    clips = evenly(manifest.part("train"), count)
    chosen = dataclasses.replace(manifest, clips=tuple(clips))
    waveforms = part_waveforms(config, workdir, chosen, "train")
    drawn: list[list[np.ndarray]] = [[] for _ in clips]
    with reading():
        for batch in segment_batches(waveforms, config.audio, config.evaluate):
            for segment, clip in zip(batch["waveform"], batch["clip"], strict=True):
                drawn[int(clip)].append(segment.numpy())
    share = -(-count // len(clips))
    segments = [segment for found in drawn for segment in evenly(found, share)][:count]
    if segments[0].ndim == 2:
        # A model of two channels will meet mono files too.
        segments += [_as_mono(s, config.audio.channels) for s in evenly(segments, 8)]
    return np.stack(segments)


def _as_mono(segment: np.ndarray, setting: str) -> np.ndarray:
    """What a model of two channels hears when both channels of a file are alike."""
    mono = segment[:, 0] if setting == "mid_side" else segment.mean(axis=1)
    return channels.view(mono[:, np.newaxis], setting)


COMMAND = command.Command(
    name="export",
    usage=USAGE,
    main=_main,
    define=_define,
    begins_with=None,
    word_flags=("workdir",),
    sections=("export", "evaluate"),
    keys=("dataset.dir", "dataset.max_missing", "audio.cache_dir"),
)

if __name__ == "__main__":
    sys.exit(main())
