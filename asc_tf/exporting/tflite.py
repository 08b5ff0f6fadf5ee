"""Conversion of a SavedModel to .tflite files, in a child process.

The converter and the quantizer can crash their process on some networks. In a child
process this is an error message and nothing more.
"""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asc_tf.core.files import DiskFullError, is_disk_full, write_atomically

CALIBRATION = "calibration.float32"


def convert(
    saved_model: Path, formats: Sequence[str], segments: np.ndarray, body: str
) -> tuple[dict[str, Path], str]:
    """Convert a SavedModel of one segment; the .tflite files are written beside it.

    Args:
        saved_model: Folder that `asc_tf.exporting.saved_model.write_one_segment` wrote.
        formats: `float32`, `int8` or both.
        segments: Representative data of the training split, float32 `[n, samples]`.
        body: Name of the model without its front-end. Only the body becomes int8,
            because quantization ruins the logarithm of a spectrum.

    Returns:
        The .tflite of each format that was converted, and the reason to report for the
        others.

    Raises:
        DiskFullError: If the disk is full.
    """
    folder = saved_model.parent
    # Raw bytes, because the error of `np.save` does not tell that the disk is full.
    (folder / CALIBRATION).write_bytes(np.ascontiguousarray(segments, np.float32).data)
    task = {
        "saved_model": str(saved_model),
        "formats": list(formats),
        "body": body,
        "calibration_shape": segments.shape,
    }
    process = subprocess.run(
        [sys.executable, "-m", "asc_tf.exporting.tflite", json.dumps(task)],
        capture_output=True,
        text=True,
        errors="replace",
    )
    paths = {name: folder / f"{name}.tflite" for name in formats}
    converted = {name: path for name, path in paths.items() if path.is_file()}
    message = (process.stderr.strip() or "no message").split("\n")[-1]
    if len(converted) < len(paths) and is_disk_full(message):
        raise DiskFullError(folder)
    code = process.returncode
    return converted, f"the conversion failed (exit code {code}): {message}"


def main(task: str) -> None:
    """Run the task of `convert`, a JSON object, in the child process."""
    settings = json.loads(task)
    saved_model = Path(settings["saved_model"])
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    content = converter.convert()
    folder = saved_model.parent
    if "float32" in settings["formats"]:
        _write(folder / "float32.tflite", content)
    if "int8" in settings["formats"]:
        segments = np.fromfile(folder / CALIBRATION, np.float32)
        segments = segments.reshape(settings["calibration_shape"])
        quantized = _quantize(content, segments, settings["body"])
        _write(folder / "int8.tflite", quantized)


def _write(path: Path, content: bytes) -> None:
    """Write a file that is complete if it exists, even if this process crashes."""
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def _quantize(content: bytes, segments: np.ndarray, body: str) -> bytes:
    """Quantize the body to int8; front-end and softmax stay in float.

    Operations in a loop, the steps of a recurrent layer, have int8 weights and compute
    in float.
    """
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.calibrator import CalibrationMode

    content, has_loops = _rename_loop_tensors(content)
    quantization = quantizer.Quantizer(content)
    quantization.add_static_config(
        regex=rf".*/{body}(_\d+)?/.*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
    )
    mode = CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS
    if has_loops:
        quantization.add_dynamic_config(
            regex=rf"{LOOP}\d+/.*",
            operation_name=qtyping.TFLOperationName.FULLY_CONNECTED,
            num_bits=8,
        )
        # The other mode reads tensors that a loop does not have.
        mode = CalibrationMode.CALIBRATION_PROFILER_BASED
    with contextlib.redirect_stdout(io.StringIO()):
        ranges = quantization.calibrate(
            {"serving_default": [{"waveform": row[np.newaxis]} for row in segments]},
            mode=mode,
        )
        return bytes(quantization.quantize(ranges).quantized_model)


LOOP = "loop"


def _rename_loop_tensors(content: bytes) -> tuple[bytes, bool]:
    """Give the tensors inside loops unique names.

    The quantizer identifies tensors by their names, which are the same in each loop
    (`arg0` and so on).

    Returns:
        The model, and whether it has loops.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    loops = model.subgraphs[1:]
    if not loops:
        return content, False
    for number, graph in enumerate(loops):
        for index, tensor in enumerate(graph.tensors):
            tensor.name = f"{LOOP}{number}/{index}/".encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)), True


if __name__ == "__main__":
    main(sys.argv[1])
