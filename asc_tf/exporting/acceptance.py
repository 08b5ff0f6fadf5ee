"""Acceptance of the files of an export: those that fail the doctor are set aside."""

import tempfile
from pathlib import Path
from typing import Any

from asc_tf.core.environment import describe_environment
from asc_tf.edge.tflite_metadata import FORMAT_VERSION
from asc_tf.evaluation.load import REJECTED
from asc_tf.exporting.conversion.tflite import Converted
from asc_tf.exporting.doctor.examine import choose_clips, examine
from asc_tf.exporting.formats import FILES
from asc_tf.pipeline.run import Run


def accept_files(
    model: Any,
    run: Run,
    split: str,
    folder: Path,
    converted: Converted,
) -> dict[str, Any]:
    """Examine every file of an export folder, and rename those that fail.

    Args:
        model: Keras model, with the temperature of the files folded in.
        run: The run, with the clips of `split` scanned.
        split: Split on whose clips the files have to pass; the test split is reported
            too.
        folder: Export folder. A file that is rejected is renamed.
        converted: Result of the conversion; its `references` are removed.

    Returns:
        Content of export.json.
    """
    from asc_tf.models.cost import count_macs

    config = run.config
    formats = config.export.formats
    present = {name: folder / FILES[name] for name in formats}
    present = {name: path for name, path in present.items() if path.exists()}
    runs = choose_clips(run, split)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        keras, rows = examine(
            present,
            model,
            runs,
            Path(temporary),
            {name: notes["tensor_names"] for name, notes in converted.notes.items()},
            converted.references,
        )
    for reference in set(converted.references.values()):
        reference.unlink(missing_ok=True)
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "model": config.model.name,
        "parameters": model.count_params(),
        "macs": count_macs(model),
        "macs_note": "one segment, without the front-end",
        "environment": {
            k: v for k, v in describe_environment().items() if k != "command"
        },
        "keras": keras,
        "formats": {},
        "rejected": {},
    }
    for name in formats:
        if name not in rows:
            reason = converted.reasons.get(name, "was not converted")
            content["rejected"][name] = {"file": "", "reason": reason}
        elif "reason" in rows[name]:
            content["rejected"][name] = rows[name] | {"file": _reject(folder, name)}
        else:
            content["formats"][name] = rows[name] | {"file": FILES[name]}
    return content


def _reject(folder: Path, name: str) -> str:
    """Rename the file of a format that has failed; return its new name."""
    renamed = FILES[name] + REJECTED
    (folder / FILES[name]).rename(folder / renamed)
    return renamed
