"""Export a run: write every format, and accept those that agree with Keras."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.config import Config, Export
from asc_tf.config.export import MEASURED
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import hash_path, write_atomically, write_json
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.edge.tflite_metadata import FORMAT_VERSION, PARTS, write_metadata
from asc_tf.evaluation.load import REJECTED
from asc_tf.evaluation.scoring import describe_left_out
from asc_tf.exporting.acceptance import accept_files
from asc_tf.exporting.calibration import (
    CHECK_SEGMENTS,
    TRIED_SEGMENTS,
    draw_calibration_segments,
    draw_segments,
)
from asc_tf.exporting.conversion import tflite
from asc_tf.exporting.conversion.tflite import Converted
from asc_tf.exporting.doctor.examine import choose_check_split
from asc_tf.exporting.formats import (
    ACTIVATION_BITS,
    FILES,
    SUMMARIES,
    TRAINED,
    is_tflite,
)
from asc_tf.pipeline.evaluation_data import scan_splits
from asc_tf.pipeline.run import Run
from asc_tf.workdir import Workdir, remove_paths


def describe_rejections(content: dict[str, Any]) -> list[str]:
    """Describe each rejected format of export.json: its file and the reason."""
    return [
        f"{name} is rejected{' and kept as ' * bool(row['file'])}{row['file']}: "
        f"{row['reason']}"
        for name, row in content["rejected"].items()
    ]


def export(
    workdir: Workdir, output: Path, changes: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Export the model of a run.

    Args:
        workdir: Run folder.
        output: Folder to write: a new one, or an earlier export, which is replaced.
        changes: Configuration keys to use instead of the run's.

    Returns:
        Content of export.json: the measurements of accepted `formats` and of `rejected`
        ones, which have a reason too.

    Raises:
        UserError: If every format is rejected and `output` has an earlier export, which
            stays.
        DiskFullError: If the disk is full; an earlier export stays.
    """
    # TensorFlow is imported here, so that --help does without it.
    from asc_tf.exporting.fine_tuning.fine_tune import check_fine_tuning
    from asc_tf.exporting.temperature import fold_temperature, read_temperature
    from asc_tf.training.model_file import load_whole

    run = Run.open(workdir, changes)
    config = run.config
    _check_output(output)
    check_fine_tuning(config, config.export.formats)
    temperature = 1.0
    trained = model = load_whole(workdir.require_model())
    if config.export.calibrate:
        temperature = read_temperature(workdir, config.evaluate)
        model = fold_temperature(model, temperature)
    split = choose_check_split(config.dataset.training_splits)
    if split == "train":
        print("no validation split: files are checked on training clips")
    run = scan_splits(run, split, max_left_out=config.dataset.max_missing)
    if lacking := describe_left_out(run.manifest, [split]):
        print(f"PARTIAL: {lacking}")
    sources = _make_sources(trained, model, run, temperature)
    with write_atomically(output) as folder:
        folder.mkdir()
        metadata = _make_metadata(config, workdir.labels())
        if temperature != 1:
            metadata["temperature"] = temperature
        converted = _write_formats(sources, run, split, metadata, folder)
        print(f"comparing each file with Keras on {split} clips ...", flush=True)
        content = accept_files(model, run, split, folder, converted)
        _add_notes(content, converted, folder)
        if not content["formats"] and _read_exported_files(output):
            reasons = [row["reason"] for row in content["rejected"].values()]
            raise UserError(
                f"no format is accepted, and {output} is as it was: "
                f"{'; '.join(reasons)}"
            )
        _write_descriptions(content, metadata, folder)
    return content


def _write_descriptions(
    content: dict[str, Any], metadata: dict[str, Any], folder: Path
) -> None:
    """Write model.json, export.json and export.html."""
    from asc_tf.report import write_export_page

    files = {
        file["file"]: file["sha256"]
        for row in content["formats"].values()
        for file in (row, *row.get("separate", {}).values())
    }
    write_json(folder / "model.json", metadata | {"files": files})
    write_json(folder / "export.json", content)
    write_export_page(folder / "export.html", content, metadata, SUMMARIES)


def _add_notes(content: dict[str, Any], converted: Converted, folder: Path) -> None:
    """Add what the conversion noted to the rows of export.json.

    Front-end and body of a file that was rejected are rejected with it.
    """
    for kind in ("formats", "rejected"):
        for name, row in content[kind].items():
            row |= converted.notes.get(name, {})
            parts = [each for each in list_files(name, folder) if each[0]]
            if kind == "rejected":
                for _, path in parts:
                    path.rename(f"{path}{REJECTED}")
            elif parts:
                row["separate"] = {
                    part["part"]: {
                        "file": path.name,
                        "bytes": path.stat().st_size,
                        "sha256": hash_path(path),
                    }
                    for part, path in parts
                }


def _check_output(output: Path) -> None:
    """Refuse to replace a folder that is not an export.

    Raises:
        UsageError: If `output` is a file, or a folder with other content.
    """
    if output.is_file():
        raise UsageError(f"--output={output}: a file, not a folder")
    is_used = output.is_dir() and any(output.iterdir())
    if is_used and _read_exported_files(output) is None:
        raise UsageError(
            f"--output={output}: not empty and not an export; name a new folder"
        )


def _read_exported_files(folder: Path) -> Any:
    """Read the list of files of an earlier export; None if the folder is not one."""
    try:
        metadata = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        is_export = {"format_version", "labels", "files"} <= set(metadata)
        return metadata["files"] if is_export else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _make_metadata(config: Config, labels: Sequence[str]) -> dict[str, Any]:
    """Make the metadata that each file of an export contains."""
    return {
        "format_version": FORMAT_VERSION,
        "labels": list(labels),
        **dataclasses.asdict(Preprocessing.from_config(config.audio, config.evaluate)),
        "config": remove_paths(config),
    }


@dataclasses.dataclass(frozen=True)
class Source:
    """Keras model, and the formats that it is converted to.

    Attributes:
        formats: Names of the formats, of which one may be `saved_model`.
        model: Model from waveform to probabilities.
        learned: Ranges of its activations that were measured during training, if
            there are any.
    """

    formats: tuple[str, ...]
    model: Any
    learned: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)


def _make_sources(
    trained: Any, model: Any, run: Run, temperature: float
) -> list[Source]:
    """Make the models to convert; those of `TRAINED` formats are trained further.

    Args:
        trained: Model of the run, from waveform to probabilities.
        model: The same with the temperature folded into it.
        run: The run, with the clips of the split of the checks scanned.
        temperature: The temperature; 1 for none.
    """
    from asc_tf.exporting.fine_tuning.fine_tune import FINE_TUNING, fine_tune

    formats = run.config.export.formats
    plain = [name for name in formats if name not in TRAINED]
    sources = [Source(tuple(plain), model)]
    for name in TRAINED:
        if name in formats:
            folder = run.workdir.path / FINE_TUNING / name
            tuned = fine_tune(run, trained, name, folder).fold(temperature)
            sources.append(Source((name,), tuned.model, tuned.ranges))
    return sources


def _write_formats(
    sources: Sequence[Source],
    run: Run,
    split: str,
    metadata: dict[str, Any],
    folder: Path,
) -> Converted:
    """Write the model files of an export folder.

    The clips of `split`, on which the files are checked, are scanned already.
    """
    from asc_tf.exporting import saved_model

    config = run.config
    for source in sources:
        if "saved_model" in source.formats:
            print("writing saved_model ...", flush=True)
            saved_model.write_saved_model(
                *(source.model, config.audio, config.evaluate, metadata["labels"]),
                metadata,
                folder / FILES["saved_model"],
            )
    result = Converted()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        segments: list[np.ndarray] = []
        for number, source in enumerate(sources):
            if not any(map(is_tflite, source.formats)):
                continue
            segments = segments or _draw_segments(run, split)
            place = Path(temporary) / str(number)
            converted = _convert(source, config.export, segments, place)
            for name, path in converted.paths.items():
                for part, file in list_files(name, path.parent):
                    shutil.move(file, folder / file.name)
                    described = metadata | {"precision": name} | part
                    write_metadata(folder / file.name, described)
            result.notes |= converted.notes
            result.reasons |= converted.reasons
            if (base := place / tflite.BASE_FILE).is_file():
                # Kept for the comparison of layers, and then removed.
                reference = base.rename(folder / f".{number}.flatbuffer")
                result.references |= dict.fromkeys(converted.paths, reference)
    return result


def _draw_segments(run: Run, split: str) -> list[np.ndarray]:
    """Draw the segments of a conversion: for its ranges, and for their choice.

    The training split is read only for formats that are calibrated on it.
    """
    settings = run.config.export
    print("reading segments for the conversion ...", flush=True)
    if ACTIVATION_BITS.keys().isdisjoint(settings.formats):
        # The files are only tried on them.
        return [np.stack(draw_segments(run, split, TRIED_SEGMENTS))]
    segments = [draw_calibration_segments(run, settings.calibration_segments)]
    if settings.ranges == "auto" and not set(MEASURED).isdisjoint(settings.formats):
        segments.append(np.stack(draw_segments(run, split, CHECK_SEGMENTS)))
    return segments


def _convert(
    source: Source, settings: Export, segments: list[np.ndarray], folder: Path
) -> Converted:
    """Convert a Keras model to its formats, in a folder."""
    from asc_tf.exporting import saved_model

    saved_model.write_one_segment(
        saved_model.expose_parts(source.model), folder / "saved_model"
    )
    scope = saved_model.find_embedding_scope(source.model)
    conversion = tflite.Settings(
        body=scope.partition("/")[0],
        scope=scope,
        has_embedding=settings.embedding,
        ranges=settings.ranges,
        percentile=settings.percentile,
        separate=settings.separate,
        learned=source.learned,
    )
    formats = list(filter(is_tflite, source.formats))
    return tflite.convert(folder / "saved_model", formats, conversion, *segments)


def list_files(name: str, folder: Path) -> list[tuple[dict[str, str], Path]]:
    """List the files of a .tflite format in a folder, and the part that each is.

    Returns:
        The whole file, and with `export.separate` front-end and body.
    """
    files: list[tuple[dict[str, str], Path]] = [({}, folder / f"{name}.tflite")]
    for part in PARTS:
        files.append(({"part": part}, folder / f"{name}_{part}.tflite"))
    return [(part, path) for part, path in files if path.is_file()]
