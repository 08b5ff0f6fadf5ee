"""Examination of exported files by hand: they may come from any export of the run."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asc_tf.core.errors import NotFiniteError, UsageError, UserError
from asc_tf.core.files import DiskFullError, is_disk_full
from asc_tf.edge.tflite_metadata import PARTS
from asc_tf.evaluation.load import REJECTED
from asc_tf.exporting.doctor.examine import (
    choose_check_split,
    choose_clips,
    complete_row,
    examine,
)
from asc_tf.exporting.doctor.examined_files import (
    ExaminedFile,
    read_format,
    read_temperature,
)
from asc_tf.exporting.doctor.gates import make_finding
from asc_tf.exporting.formats import FILES, TRAINED
from asc_tf.pipeline.evaluation_data import scan_splits
from asc_tf.pipeline.run import Run
from asc_tf.workdir import Workdir


def list_exported_files(path: Path) -> list[Path]:
    """List the files of an export folder, or the one file that is meant.

    Args:
        path: A .tflite (also one that an export has rejected), a SavedModel, or an
            export folder.

    Raises:
        UsageError: If it is none of these.
    """
    if path.is_file():
        if path.name.removesuffix(REJECTED).endswith(".tflite"):
            return [path]
        raise UsageError(f"{path}: not a .tflite; give an exported file or folder")
    if (path / "saved_model.pb").is_file():
        return [path]
    names = [path / name for name in FILES.values()]
    # Front-end and body apart are in the whole file.
    apart = tuple(f"_{part}.tflite" for part in PARTS)
    whole = {each for each in path.glob("*.tflite") if not each.name.endswith(apart)}
    others = sorted({*whole, path / "1"} - {*names})
    found = [each for each in (*names, *others) if _is_model(each)]
    if not found:
        reason = "no exported file in it" if path.is_dir() else "no such file"
        raise UsageError(
            f"{path}: {reason}; give a .tflite, a SavedModel or a folder that asc-tf "
            "export wrote"
        )
    return found


def _is_model(path: Path) -> bool:
    return path.is_file() or (path / "saved_model.pb").is_file()


def examine_by_hand(
    paths: Sequence[Path], workdir: Workdir, changes: dict[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Examine exported files of a run.

    Yields:
        For each file a row as in export.json, with `file` (its path), `format`,
        `passed`, and `macs` of the body for one segment.

    Raises:
        UserError: If a file of the run is missing or damaged, or a clip cannot be read.
        DiskFullError: If there is no space for temporary files.
    """
    from asc_tf.exporting.temperature import fold_temperature
    from asc_tf.models.cost import count_macs
    from asc_tf.training.model_file import load_whole

    run = Run.open(workdir, changes)
    model = load_whole(workdir.require_model())
    split = choose_check_split(run.config.dataset.training_splits)
    run = scan_splits(run, split, max_left_out=run.config.dataset.max_missing)
    runs = choose_clips(run, split)
    macs = count_macs(model)
    for group in _group(paths):
        temperature = read_temperature(next(iter(group.values())))
        own = fold_temperature(model, temperature)
        try:
            rows = _examine_group(group, own, runs)
        except NotFiniteError as error:
            if temperature == 1:
                raise UserError(f"{workdir.path}: {error}; train it again") from error
            rows = _refuse_temperature(group, temperature)
        for name, row in rows.items():
            yield {
                **row,
                "file": str(group[name]),
                "format": name,
                "passed": "reason" not in row,
                "macs": macs,
            }


def _group(paths: Sequence[Path]) -> Iterator[dict[str, Path]]:
    """Group files by format that can be examined together.

    They lie in one export folder, have one temperature and different formats.
    """
    group: dict[str, Path] = {}
    described: tuple[Path, float] | None = None
    for path in paths:
        name, own = read_format(path), (_find_folder(path), read_temperature(path))
        if group and (own != described or name in group):
            yield group
            group = {}
        group[name], described = path, own
    yield group


def _find_folder(path: Path) -> Path:
    """Find the export folder that a file lies in."""
    is_saved_model = path.is_dir() and path.parent.name == "saved_model"
    return path.parents[1] if is_saved_model else path.parent


def _examine_group(
    files: dict[str, Path], model: Any, runs: dict[str, Run]
) -> dict[str, dict[str, Any]]:
    """Examine the files of one export folder, with what lies beside them."""
    beside = _find_folder(next(iter(files.values())))
    names = _read_tensor_names(beside / "export.json")
    reference = beside / FILES["float32"]
    references = {name: reference for name in files if name not in TRAINED}
    if not reference.is_file():
        references = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            return examine(files, model, runs, Path(folder), names, references)[1]
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError(Path(tempfile.gettempdir())) from error


def _refuse_temperature(
    files: dict[str, Path], temperature: float
) -> dict[str, dict[str, Any]]:
    """Make the rows of files whose temperature is none of the run's model."""
    text = (
        "the probabilities of the run's model are not finite with the temperature in "
        f"the file, {temperature:g}; export it again"
    )
    rows = {}
    for name, path in files.items():
        examined = ExaminedFile(name, path)
        examined.findings.append(make_finding("file", False, text))
        rows[name] = complete_row(examined)
    return rows


def _read_tensor_names(path: Path) -> dict[str, list[str]]:
    """Read the names of the tensors of each format from an export.json."""
    names: dict[str, list[str]] = {}
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
        content = json.loads(path.read_text(encoding="utf-8"))
        for rows in (content["rejected"], content["formats"]):
            for name, row in rows.items():
                if "tensor_names" in row:
                    names[name] = [str(each) for each in row["tensor_names"]]
    return names
