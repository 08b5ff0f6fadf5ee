"""Export every run of a crossval in every format, and pool the test clips of its folds.

    python benchmarks/export_ladder.py --workdir=W [--formats=float32,int8,...]
        [--output=W/ladder] [--change=export.qat_epochs=5]

W is a folder of `asc-tf crossval` (or one run folder). Each run is exported to
`OUTPUT/RUN/export`, and each exported file classifies the run's test split; what is
finished is not repeated, so that the same command resumes. A file that the export
rejected is measured as well, and marked.

The clips of all runs are pooled: accuracy, its change against Keras with a 95 %
bootstrap interval over recordings, agreement, differences and KL divergence are those
of `asc_tf.exporting.doctor.agreement`. Sizes and latencies are means over the
export.json of the runs.
Prints a table, and writes `ladder.txt`, `ladder.md` (rows for docs/results.md) and
`ladder.json` to OUTPUT.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from asc_tf.config.export import FORMATS
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import hash_path, write_atomically, write_npz, write_text
from asc_tf.core.tensorflow_start import prepare_tensorflow
from asc_tf.core.text_table import align_columns
from asc_tf.workdir import Workdir

KERAS = "keras"
NO_VALUE = "-"
HEADS = (
    *("format", "kB", "compressed", "accuracy", "change (95 %)", "agreement"),
    *("largest difference", "KL", "ms, p50"),
)


def list_runs(folder: Path) -> list[Path]:
    """List the finished runs of a crossval, or the one run.

    Raises:
        UsageError: If there is none.
    """
    if (folder / "config.toml").is_file():
        return [folder]
    runs = sorted(path.parent for path in folder.glob("*/result.json"))
    if not runs:
        raise UsageError(
            f"--workdir={folder}: no run folder, and no finished runs of a crossval in "
            "it; give the folder of asc-tf crossval"
        )
    begun = {path.parent for path in folder.glob("*/config.toml")}
    if missing := sorted(path.name for path in begun - set(runs)):
        print(f"PARTIAL: not finished: {', '.join(missing)}", file=sys.stderr)
    return runs


def export_run(
    run: Path, output: Path, formats: Sequence[str], changes: Sequence[str]
) -> dict[str, Any]:
    """Export a run in a process of its own, unless that is done.

    It is done if the same model was exported with the same settings. A new export
    replaces the earlier one when it is whole.

    Args:
        run: Run folder.
        output: Folder for the export.
        formats: Formats to write.
        changes: Other settings, `export.qat_epochs=5` for one.

    Returns:
        Content of export.json.

    Raises:
        UserError: If the export fails, or says nothing on a format.
    """
    wanted = {
        "formats": sorted(formats),
        "changes": sorted(changes),
        "model_sha256": hash_path(Workdir(run).require_model()),
    }
    note = output.with_name("export_settings.json")
    described = output / "export.json"
    is_done = described.is_file() and note.is_file()
    if not is_done or json.loads(note.read_text(encoding="utf-8")) != wanted:
        print(f"exporting {run.name} ...", flush=True)
        fresh = output.with_name("export.new")
        shutil.rmtree(fresh, ignore_errors=True)
        command = [
            *(sys.executable, "-m", "asc_tf.cli", "export"),
            *(f"--workdir={run}", f"--output={fresh}"),
            *(f"--export.formats={','.join(formats)}",),
            *(f"--{change}" for change in changes),
        ]
        done = subprocess.run(command)
        _check_export(run, fresh, formats, done.returncode)
        # First the note and the predictions go: they are of the export before.
        note.unlink(missing_ok=True)
        (output.parent / "predictions.npz").unlink(missing_ok=True)
        shutil.rmtree(output, ignore_errors=True)
        fresh.rename(output)
        write_text(note, json.dumps(wanted) + "\n")
    return json.loads(described.read_text(encoding="utf-8"))


def _check_export(run: Path, folder: Path, formats: Sequence[str], code: int) -> None:
    """Check that an export was written and has a row for each format.

    Raises:
        UserError: If not.
    """
    described = folder / "export.json"
    # Exit code 1 is that of a rejected format, too, which is no failure of the export.
    if code not in (0, 1) or not described.is_file():
        raise UserError(f"{run}: asc-tf export exits with {code}")
    content = json.loads(described.read_text(encoding="utf-8"))
    rows = content["formats"] | content["rejected"]
    if missing := [name for name in formats if name not in rows]:
        raise UserError(
            f"{described}: has no row of {', '.join(missing)}, which was asked for; "
            "remove the folder, and start again"
        )


def predict_run(run: Path, export: Path, described: dict[str, Any]) -> dict[str, Any]:
    """Classify the test split of a run with Keras and with each exported file.

    Args:
        run: Run folder.
        export: Its export.
        described: Content of its export.json.

    Returns:
        The `manifest` with the scanned test clips, and for `keras` and each format
        probabilities `[clips, labels]`.
    """
    from asc_tf.evaluation.load import load
    from asc_tf.pipeline.evaluation_data import scan_splits
    from asc_tf.pipeline.run import Run

    opened = scan_splits(Run.open(Workdir(run), {}), "test")
    file = export.parent / "predictions.npz"
    if file.is_file():
        with np.load(file) as stored:
            return {"manifest": opened.manifest, **stored}
    print(f"classifying the test clips of {run.name} ...", flush=True)
    found = {KERAS: _load_keras(run, export).predict_split(opened, "test").clips}
    rows = {**described["formats"], **described["rejected"]}
    with tempfile.TemporaryDirectory() as temporary:
        for name, row in rows.items():
            if not row["file"]:
                continue
            # A rejected file has a name that is not loaded.
            place = Path(temporary) / name / Path(row["file"].split(".rejected")[0])
            place.parent.mkdir(parents=True)
            source = export / row["file"]
            (shutil.copytree if source.is_dir() else shutil.copy)(source, place)
            try:
                found[name] = load(place).predict_split(opened, "test").clips
            except UserError as error:
                print(f"{run.name}, {name}: {error}", file=sys.stderr)
    with write_atomically(file) as path:
        write_npz(path, found)
    return {"manifest": opened.manifest, **found}


def _load_keras(run: Path, export: Path) -> Any:
    """Load the Keras model, with the temperature that the export folded in."""
    from asc_tf.dsp.preprocessing import Preprocessing
    from asc_tf.evaluation.predictor import Predictor
    from asc_tf.exporting.temperature import fold_temperature
    from asc_tf.models.precision import allow_tensor_float_32
    from asc_tf.training.model_file import load_whole

    allow_tensor_float_32(False)
    workdir = Workdir(run)
    config = workdir.config()
    metadata = json.loads((export / "model.json").read_text(encoding="utf-8"))
    temperature = metadata.get("temperature", 1.0)
    model = fold_temperature(load_whole(workdir.require_model()), temperature)
    preprocessing = Preprocessing.from_config(config.audio, config.evaluate)
    return Predictor(workdir.labels(), preprocessing, model.predict_on_batch)


def pool_runs(
    predictions: Sequence[dict[str, Any]],
    exports: Sequence[dict[str, Any]],
    formats: Iterable[str],
) -> dict[str, dict[str, Any]]:
    """Compare each format with Keras on the test clips of all runs.

    Args:
        predictions: Result of `predict_run` for each run.
        exports: Content of export.json of each run.
        formats: Formats.

    Returns:
        For `keras` and each format scores, and for formats also sizes in bytes, the
        `latency_ms`, and the number of runs by which it was `rejected`; a format that
        some run has no file for has its `missing` runs alone.
    """
    from asc_tf.exporting.doctor.agreement import compare

    manifest = predictions[0]["manifest"]
    clips = [clip for each in predictions for clip in each["manifest"].clips_in("test")]
    pooled = dataclasses.replace(manifest, clips=tuple(clips))
    keras = np.concatenate([each[KERAS] for each in predictions])
    rows = {KERAS: compare(pooled, "test", keras, keras)}
    for name in formats:
        if missing := sum(name not in each for each in predictions):
            rows[name] = {"missing": missing}
            continue
        own = np.concatenate([each[name] for each in predictions])
        # An integer softmax is rounded; the doctor scales its rows too.
        own = own / own.sum(axis=1, keepdims=True)
        measured = [(each["formats"] | each["rejected"])[name] for each in exports]
        rows[name] = compare(pooled, "test", own, keras)
        rows[name] |= {
            "bytes": _average(row["bytes"] for row in measured),
            "compressed_bytes": _average(
                row.get("compressed_bytes") for row in measured
            ),
            "latency_ms": _average(
                row["latency_ms"]["p50"] if "latency_ms" in row else None
                for row in measured
            ),
            "rejected": sum(name in each["rejected"] for each in exports),
        }
    return rows


def _average(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def format_rows(rows: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Format the rows of the table, as texts in the order of `HEADS`."""
    shown = []
    for name, row in rows.items():
        if "missing" in row:
            note = f"no file in {row['missing']} runs"
            shown.append([f"{name} ({note})", *[NO_VALUE] * (len(HEADS) - 1)])
            continue
        title = "Keras" if name == KERAS else name
        if rejected := row.get("rejected"):
            title += f" (rejected in {rejected} run{'s' if rejected > 1 else ''})"
        shown.append(
            [
                title,
                *(_show_kilobytes(row, key) for key in ("bytes", "compressed_bytes")),
                f"{row['accuracy']:.1%}",
                NO_VALUE if name == KERAS else _show_change(row["change"]["accuracy"]),
                NO_VALUE if name == KERAS else f"{row['agreement']:.2%}",
                NO_VALUE if name == KERAS else f"{row['max_difference']:.1e}",
                NO_VALUE if name == KERAS else f"{row['kl_divergence']:.1e}",
                f"{row['latency_ms']:.2f}" if row.get("latency_ms") else NO_VALUE,
            ]
        )
    return shown


def _show_kilobytes(row: dict[str, Any], key: str) -> str:
    return f"{row[key] / 1000:.1f}" if row.get(key) else NO_VALUE


def _show_change(change: Sequence[float]) -> str:
    value, low, high = (f"{100 * each + 0.0:+.2f}" for each in change)
    return f"{value} ({low} to {high})"


def format_markdown(shown: Sequence[Sequence[str]]) -> str:
    """Format the table as Markdown."""
    lines = [HEADS, ["---"] * len(HEADS), *shown]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def make_ladder(
    folder: Path, output: Path, formats: Sequence[str], changes: Sequence[str]
) -> str:
    """Export the runs of a folder, and write and return the table."""
    runs = list_runs(folder)
    exports, predictions = [], []
    for run in runs:
        export = output / run.name / "export"
        export.parent.mkdir(parents=True, exist_ok=True)
        exports.append(export_run(run, export, formats, changes))
        predictions.append(predict_run(run, export, exports[-1]))
    rows = pool_runs(predictions, exports, formats)
    shown = format_rows(rows)
    n_clips = rows[KERAS]["n_clips"]
    title = f"{len(runs)} run{'s' if len(runs) > 1 else ''}, {n_clips} test clips"
    table = align_columns([list(HEADS), *shown], range(1, len(HEADS)))
    write_text(output / "ladder.txt", f"{title}\n{table}\n")
    write_text(output / "ladder.md", f"{title}\n\n{format_markdown(shown)}\n")
    content = {"runs": [run.name for run in runs], "rows": rows}
    write_text(output / "ladder.json", json.dumps(content, indent=2) + "\n")
    return f"{title}\n{table}"


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "folder of a crossval, or one run folder")
    flags.DEFINE_list("formats", list(FORMATS), "formats to export")
    flags.DEFINE_string("output", None, "folder to write; by default WORKDIR/ladder")
    flags.DEFINE_multi_string("change", [], "another setting, export.KEY=VALUE")
    flags.mark_flag_as_required("workdir")


def main(_: list[str]) -> None:
    prepare_tensorflow()
    values = flags.FLAGS
    folder = Path(values.workdir)
    output = Path(values.output) if values.output else folder / "ladder"
    unknown = sorted(set(values.formats) - set(FORMATS))
    try:
        if unknown:
            raise UsageError(f"--formats={unknown[0]}: one of {', '.join(FORMATS)}")
        print(make_ladder(folder, output, values.formats, values.change))
    except UserError as error:
        print(f"export_ladder: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _define_flags()
    app.run(main)
