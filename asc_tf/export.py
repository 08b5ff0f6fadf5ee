"""asc-tf export: a run folder in, an export folder out; every file is tried first."""

import dataclasses
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from asc_tf import channels, command
from asc_tf.arguments import define_workdir
from asc_tf.config import Config
from asc_tf.edge.container import FORMAT_VERSION
from asc_tf.errors import UsageError, UserError
from asc_tf.evaluate import part_waveforms, predict_part, scanned, score
from asc_tf.files import replacing, write_text
from asc_tf.listening import Listening
from asc_tf.manifest import Manifest, evenly
from asc_tf.workdir import PLACES, Workdir, environment

if TYPE_CHECKING:
    from asc_tf.predictor import Predictor

USAGE = """
Export a trained run for serving and for the edge.

  asc-tf export W --output=E [--formats=saved_model,float32,int8]

  asc-tf export runs/esc10 --output=exports/esc10

W is a run folder (--workdir=W is the same), E the folder to write: SavedModel, TFLite
files, and a page that compares them. Every file is run against the Keras model on
validation clips before it is accepted (on training clips where the run has no
validation part).
"""

FILES = {
    "saved_model": "saved_model/1",
    "float32": "float32.tflite",
    "int8": "int8.tflite",
}

MAX_FLOAT_DIFFERENCE = 1e-3
"""Of the probabilities of a float file and Keras."""

LATENCY_RUNS = 50


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
        f"{row[split]['agreement']:.1%} ({split})"
    )


def checked_split(parts: Collection[str]) -> str:
    """The split whose clips every file is checked on."""
    return "validation" if "validation" in parts else "train"


def export(
    workdir: Workdir, output: Path, changes: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Export the model of a run.

    Args:
        workdir: The run folder.
        output: The folder to write: new, or an earlier export, which is replaced.
        changes: Configuration keys to use instead of the run's.

    Returns:
        The content of export.json.

    Raises:
        UserError: If a file does not agree with Keras; then nothing is written.
    """
    from asc_tf.checkpoint import load_whole
    from asc_tf.report import write_export_page

    config = workdir.config().replace(changes or {})
    _check_output(output)
    model = load_whole(workdir.require_model())
    split = checked_split(config.dataset.training_splits)
    if split == "train":
        print("no validation part: files are checked on training clips")
    checked = scanned(config, workdir, split)
    with replacing(output) as folder:
        folder.mkdir()
        _write_formats(model, config, workdir, folder)
        described = _measure(model, config, workdir, checked, folder)
        write_text(folder / "export.json", json.dumps(described, indent=2) + "\n")
        write_export_page(folder / "export.html", described)
    return described


def _check_output(output: Path) -> None:
    """Refuse to replace a folder that is no export."""
    if output.is_file():
        raise UsageError(f"--output={output}: a file, not a folder")
    if output.is_dir() and any(output.iterdir()) and not _is_export(output):
        raise UsageError(
            f"--output={output}: not empty and not an export; name a new folder"
        )


def _is_export(folder: Path) -> bool:
    """Whether a folder holds an earlier export, and so may be replaced."""
    try:
        described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        return {"format_version", "labels", "files"} <= set(described)
    except (OSError, ValueError, TypeError):
        return False


def _write_formats(model: Any, config: Config, workdir: Workdir, folder: Path) -> None:
    """Write the model files of an export folder, and model.json."""
    from asc_tf import convert, serving
    from asc_tf.edge.container import write_metadata

    labels, formats = workdir.labels(), config.export.formats
    # Where the corpus lay is nobody's business but the trainer's.
    shown = dataclasses.asdict(config)
    for key in (*PLACES, "dataset.csv_file"):
        section, name = key.split(".")
        shown[section][name] = ""
    metadata = {
        "format_version": FORMAT_VERSION,
        "labels": list(labels),
        **dataclasses.asdict(Listening.of(config.audio, config.evaluate)),
        "config": shown,
    }
    if "saved_model" in formats:
        path = folder / FILES["saved_model"]
        serving.write_saved_model(
            model, config.audio, config.evaluate, labels, metadata, path
        )
    if edge_formats := [name for name in formats if name != "saved_model"]:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            source = Path(temporary) / "one_segment"
            serving.write_one_segment(model, source)
            body = model.layers[-1].name
            drawn = calibration_segments(config, workdir)
            converted = convert.convert(source, edge_formats, drawn, body)
            for name, path in converted.items():
                shutil.move(path, folder / FILES[name])
                write_metadata(folder / FILES[name], metadata | {"precision": name})
    hashes = {name: _sha256(folder / FILES[name]) for name in formats}
    described = metadata | {"files": {FILES[n]: h for n, h in hashes.items()}}
    write_text(folder / "model.json", json.dumps(described, indent=2) + "\n")


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


def _measure(
    model: Any, config: Config, workdir: Workdir, checked: Manifest, folder: Path
) -> dict[str, Any]:
    """Run every file beside Keras: on validation clips as a gate, on test to report.

    Without a validation part, training clips are the gate.
    """
    from asc_tf.models.cost import macs
    from asc_tf.predictor import load

    gate = checked_split(config.dataset.training_splits)
    chosen = tuple(evenly(checked.part(gate), config.export.check_clips))
    parts = {gate: dataclasses.replace(checked, clips=chosen)}
    try:
        parts["test"] = scanned(config, workdir, "test")
    except UserError as error:
        print(f"no figures on the test part: {error}", file=sys.stderr)
    keras_model = load(workdir.path)
    wanted = {
        split: predict_part(keras_model, config, workdir, manifest, split).clips
        for split, manifest in parts.items()
    }
    described: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "model": config.model.name,
        "parameters": model.count_params(),
        "macs": macs(model),
        "macs_note": "one segment, without the front-end",
        "environment": {k: v for k, v in environment().items() if k != "command"},
        "keras": {
            split: {"accuracy": score(parts[split], split, found)["accuracy"]}
            for split, found in wanted.items()
        },
        "formats": {},
    }
    for name in config.export.formats:
        path = folder / FILES[name]
        predictor = load(path)
        row: dict[str, Any] = {"file": FILES[name], "bytes": _bytes(path)}
        for split, manifest in parts.items():
            found = predict_part(predictor, config, workdir, manifest, split).clips
            row[split] = _compare(manifest, split, found, wanted[split])
            if split == gate:
                _accept(name, row[split], config, gate)
        row["latency_ms"] = _latency(predictor, config)
        described["formats"][name] = row
    return described


def _compare(
    manifest: Manifest, split: str, found: np.ndarray, wanted: np.ndarray
) -> dict[str, Any]:
    scores = score(manifest, split, found)
    same = found.argmax(axis=1) == wanted.argmax(axis=1)
    return {
        "n_clips": len(found),
        "accuracy": scores["accuracy"],
        "log_loss": scores["log_loss"],
        "agreement": float(same.mean()),
        "max_difference": float(np.abs(found - wanted).max()),
    }


def _accept(name: str, row: dict[str, Any], config: Config, gate: str) -> None:
    """Refuse a file that does not agree with Keras on the clips of the gate.

    Raises:
        UserError: With the figures.
    """
    if name != "int8" and row["max_difference"] > MAX_FLOAT_DIFFERENCE:
        raise UserError(
            f"{name}: probabilities differ from Keras by {row['max_difference']:.1e} "
            f"on {gate} clips, more than {MAX_FLOAT_DIFFERENCE:.0e}: not exported"
        )
    if row["agreement"] < config.export.min_agreement:
        raise UserError(
            f"{name}: agrees with Keras on {row['agreement']:.1%} of "
            f"{row['n_clips']} {gate} clips, less than export.min_agreement = "
            f"{config.export.min_agreement:.1%}: not exported; more "
            "export.calibration_segments may help, or leave it out of --formats"
        )


def _latency(predictor: "Predictor", config: Config) -> dict[str, float]:
    """Median and 95th percentile for one segment, ms."""
    shape = Listening.of(config.audio, config.evaluate).segment_shape
    segment = np.zeros([1, *shape], np.float32)
    return percentiles(lambda: predictor.predict_segments(segment))


def percentiles(action: Callable[[], Any]) -> dict[str, float]:
    """p50 and p95 of `LATENCY_RUNS` runs after a warm-up, ms."""
    times = []
    for _ in range(LATENCY_RUNS + 5):
        began = time.perf_counter()
        action()
        times.append(1000 * (time.perf_counter() - began))
    p50, p95 = np.percentile(times[5:], [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}


def _files(path: Path) -> list[Path]:
    return (
        sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    )


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(file.read_bytes())
    return digest.hexdigest()


COMMAND = command.Command(
    name="export",
    usage=USAGE,
    main=_main,
    define=_define,
    begins_with=None,
    word_flags=("workdir",),
    sections=("export", "evaluate"),
    keys=("dataset.dir", "audio.cache_dir"),
)

if __name__ == "__main__":
    sys.exit(main())
