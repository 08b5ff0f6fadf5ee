"""Training speed by precision, placement of the front-end, determinism and XLA.

    python benchmarks/gpu.py [--config=esa3_cnn_both] [--clips=256] [--batch_size=64]
        [--steps=40] [--precisions=float32,mixed_float16,mixed_bfloat16]
        [--placements=dataset,model] [--deterministic=true,false] [--jit=false,true]
        [--largest_batch] [--output=table.md]

Trains on clips of synthetic noise, decoded into memory before. Each combination of
settings has a process of its own; a combination that `asc-tf train` refuses is left
out. Steps are counted after a first epoch, which compiles. `waiting` is the share of
the time in which the model waits for its batch. Memory is the peak of TensorFlow's
allocator on a GPU, or that of the process (VmHWM) on a CPU. The largest batch is the
largest power of two times the batch size whose training step fits into the memory of
the GPU.

Without a GPU the default is float32, without XLA: the script then shows that it works.
"""

import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from noise_clips import describe_corpus, write_clips, write_table

from asc_tf.core.tensorflow_start import prepare_tensorflow

prepare_tensorflow()

_CONFIG = flags.DEFINE_string("config", "esa3_cnn_both", "name of the configuration")
_CLIPS = flags.DEFINE_integer("clips", 256, "number of training clips", lower_bound=10)
_BATCH = flags.DEFINE_integer("batch_size", 64, "segments in a step", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 40, "number of measured steps", lower_bound=1)
_PRECISIONS = flags.DEFINE_list("precisions", [], "values of train.precision")
_PLACEMENTS = flags.DEFINE_list(
    "placements", ["dataset", "model"], "values of frontend.placement"
)
_DETERMINISTIC = flags.DEFINE_list(
    "deterministic", ["true", "false"], "values of train.deterministic"
)
_JIT = flags.DEFINE_list("jit", [], "values of train.jit_compile")
_LARGEST = flags.DEFINE_bool("largest_batch", False, "look for the largest batch")
_OUTPUT = flags.DEFINE_string("output", "", "file of the table; standard output too")
_CHANGES = flags.DEFINE_string("changes", "", "used by the processes of this script")

COLUMNS = ("images / s", "waiting", "peak MB", "largest batch")


def make_config(folder: Path, changes: dict[str, Any]) -> Any:
    """Make the measured configuration, on the clips of a folder."""
    from asc_tf import config

    own: dict[str, Any] = {
        **describe_corpus(folder),
        **{"audio.cache": "memory", "train.strategy": "one_device"},
    }
    return config.read(config.find(_CONFIG.value)).replace(own | changes)


def measure(
    config: Any, folder: Path, steps: int, *, finds_largest: bool = False
) -> dict[str, float]:
    """Train with a configuration and measure its steps after the first epoch.

    Args:
        config: Configuration of the training.
        folder: Folder for the run.
        steps: Least number of measured steps.
        finds_largest: Whether to look for the largest batch.

    Returns:
        Values of the columns of the table.
    """
    import keras
    import tensorflow as tf

    from asc_tf.frontend import FrontendLayer, compute_statistics
    from asc_tf.models.precision import allow_tensor_float_32
    from asc_tf.pipeline import training_data
    from asc_tf.pipeline.batches import count_steps, make_training_batches
    from asc_tf.pipeline.prepare import prepare
    from asc_tf.training import build
    from asc_tf.workdir import Workdir

    keras.utils.set_random_seed(1)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    allow_tensor_float_32(config.frontend.placement != "model")
    run = prepare(config, Workdir(folder / "run"))
    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    examples = training_data.make_examples(run, frontend)
    per_epoch = count_steps(run.count_examples(), config.train.batch_size)
    epochs = -(-steps // per_epoch)
    config = config.replace({"train.epochs": 1 + epochs})
    trainer, _ = build.build_trainer(run, frontend, per_epoch)
    frontend.set_statistics(*compute_statistics(frontend, examples.training_features()))
    batches = iter(make_training_batches(examples, frontend, config))
    step = trainer.make_train_function()
    for _ in range(per_epoch):
        step(batches)
    trainer.wait.begin()
    began = time.perf_counter()
    for _ in range(epochs * per_epoch):
        logs = step(batches)
    # To read the loss waits for the last step.
    float(logs["loss"])
    row = {
        "images / s": epochs * run.count_examples() / (time.perf_counter() - began),
        "waiting": trainer.wait.share(),
        "peak MB": read_peak_memory() / 1e6,
    }
    if finds_largest:
        row["largest batch"] = find_largest_batch(step, trainer.first_batch)
    return row


def find_largest_batch(step: Callable, batch: tuple) -> int:
    """Double a batch until a training step does not fit into the memory of the GPU."""
    import tensorflow as tf

    memory_errors = (
        tf.errors.ResourceExhaustedError,
        # cuDNN, if it finds no memory for its own work.
        *(tf.errors.InternalError, tf.errors.NotFoundError, tf.errors.UnknownError),
    )
    while True:
        size = tf.nest.flatten(batch)[0].shape[0]
        batch = tf.nest.map_structure(lambda each: tf.repeat(each, 2, axis=0), batch)
        try:
            float(step(iter([batch]))["loss"])
        except memory_errors:
            return size


def read_peak_memory() -> float:
    """Read the peak of the allocated memory of a GPU, or of this process, in bytes."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+)", status)[0])


def list_combinations(has_gpu: bool) -> Iterator[dict[str, Any]]:
    """List the changes of each combination of settings that can be trained."""
    precisions = ["float32", "mixed_float16", "mixed_bfloat16"]
    values = {
        "train.precision": _PRECISIONS.value or precisions[: 3 if has_gpu else 1],
        "frontend.placement": _PLACEMENTS.value,
        "train.deterministic": [each == "true" for each in _DETERMINISTIC.value],
        "train.jit_compile": [
            each == "true" for each in _JIT.value or ["false", "true"][: 1 + has_gpu]
        ],
    }
    for chosen in itertools.product(*values.values()):
        changes = dict(zip(values, chosen, strict=True))
        in_model = changes["frontend.placement"] == "model"
        is_refused = changes["train.deterministic"] or in_model
        if not (changes["train.jit_compile"] and is_refused):
            yield changes


def run_child(folder: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Measure a combination in a process of its own."""
    own = [f"--{each.name}={each.value}" for each in (_CONFIG, _CLIPS, _BATCH, _STEPS)]
    own += [f"--largest_batch={str(_LARGEST.value).lower()}"]
    task = json.dumps({"folder": folder, "changes": changes})
    done = subprocess.run(
        [sys.executable, __file__, *own, f"--changes={task}"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def run_task(task: dict[str, Any]) -> dict[str, float]:
    """Measure the combination that this process was started for."""
    import tensorflow as tf

    folder = Path(task["folder"])
    changes = task["changes"] | {"train.batch_size": _BATCH.value}
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    with tempfile.TemporaryDirectory(dir=folder) as own:
        return measure(
            make_config(folder, changes),
            Path(own),
            _STEPS.value,
            finds_largest=_LARGEST.value and has_gpu,
        )


def format_row(changes: dict[str, Any], row: dict[str, Any]) -> str:
    """Format a line of the table."""
    settings = [
        str(value).lower() if isinstance(value, bool) else value
        for value in changes.values()
    ]
    if "failed" in row:
        return f"| {' | '.join(settings)} | failed: {row['failed']} | | | |"
    formats = ("{:.0f}", "{:.1%}", "{:.0f}", "{:.0f}")
    cells = [
        form.format(row[name]) if name in row else "-"
        for name, form in zip(COLUMNS, formats, strict=True)
    ]
    return f"| {' | '.join([*settings, *cells])} |"


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"unexpected argument {argv[1]}")
    logging.set_verbosity(logging.ERROR)
    if _CHANGES.value:
        print(json.dumps(run_task(json.loads(_CHANGES.value))))
        return
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(each) for each in gpus]
    device = ", ".join(each.get("device_name", "GPU") for each in details) or "CPU"
    head = ("precision", "placement", "deterministic", "XLA", *COLUMNS)
    lines = [
        f"{_CONFIG.value}, batches of {_BATCH.value}, on {device}, TensorFlow "
        f"{tf.__version__}:",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        audio = make_config(Path(folder), {}).audio
        count = _CLIPS.value + 2
        write_table(
            write_clips(Path(folder), count, audio.segment_seconds, audio.sample_rate)
        )
        for changes in list_combinations(bool(gpus)):
            lines.append(format_row(changes, run_child(folder, changes)))
            print(lines[-1], flush=True)
    if _OUTPUT.value:
        Path(_OUTPUT.value).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    app.run(main)
