"""asc-edge bench: how fast a model is on this machine, and what it needs."""

import json

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_number
from asc_tf.core.text_table import align_columns
from asc_tf.edge import machine, model_flags
from asc_tf.edge.benchmark import measure_latency, measure_start

USAGE = """
Measure a model on this machine.

  asc-edge bench --model=M [--threads=1] [--seconds=5] [--json]

It classifies single windows of noise for --seconds, and starts three new processes.
Temperature, throttling, frequency and energy are shown where the machine tells them.
"""


def _define_flags(values: flags.FlagValues) -> None:
    model_flags.define_model_and_threads(values)
    flags.DEFINE_float(
        "seconds",
        5.0,
        "duration of the measurement of inferences, s",
        lower_bound=0.01,
        upper_bound=86_400,
        flag_values=values,
    )
    flags.DEFINE_boolean("json", False, "one JSON object", flag_values=values)


def _run(values: flags.FlagValues) -> int:
    path = model_flags.read_model_path(values)
    model = model_flags.load_model(values, path)
    before = machine.read_temperature()
    latency = measure_latency(
        model, read_number(values, "seconds") or 5.0, machine.EnergyMeter()
    )
    result = {
        "model": str(path),
        "sha256": model.metadata.sha256,
        "precision": model.metadata.precision,
        "threads": values.threads,
        **latency,
        "temperature_before_celsius": before,
        **machine.describe_machine(),
        **measure_start(path, values.threads),
    }
    print(json.dumps(result) if values.json else _format(result))
    return 0


def _format(result: dict[str, object]) -> str:
    """Write a line for each value that is known."""
    shown = {name: value for name, value in result.items() if value is not None}
    return align_columns([(k, _format_value(v)) for k, v in shown.items()])


def _format_value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 100 else f"{value:.0f}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "no"
    return str(value)


COMMAND = Command(
    name="bench",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    program="asc-edge",
)
