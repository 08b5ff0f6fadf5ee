"""asc-edge info: what a model file says about itself, and the machine."""

import dataclasses
import json
import textwrap
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.core.errors import UsageError
from asc_tf.core.paths import expand_home
from asc_tf.core.text_table import align_columns
from asc_tf.edge import machine, model_flags, tflite_metadata

USAGE = """
Show the metadata of a model file, and facts about this machine.

  asc-edge info [M] [--json]

  asc-edge info int8.tflite
  asc-edge info

The checksum of the model is verified. Without a model only the machine is shown.
"""


def _define_flags(values: flags.FlagValues) -> None:
    model_flags.define_model(values)
    flags.DEFINE_boolean("json", False, "one JSON object", flag_values=values)


def _run(values: flags.FlagValues) -> int:
    words = [*([values.model] if values.model else []), *values.positional]
    if len(words) > 1:
        raise UsageError(f"unexpected argument {words[1]}: give one model")
    result: dict[str, Any] = {}
    if words:
        path = model_flags.check_model_path(expand_home(words[0]))
        result["model"] = describe_model(path)
    result["machine"] = machine.describe_machine()
    print(json.dumps(result) if values.json else _format(result))
    return 0


def describe_model(path: Path) -> dict[str, Any]:
    """Describe a model file.

    Raises:
        UserError: If it is no model, or damaged.
    """
    metadata = tflite_metadata.read_metadata(path)
    fields = dataclasses.asdict(metadata)
    extra = fields.pop("extra")
    rate = metadata.sample_rate
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        **fields,
        "segment_seconds": metadata.segment_samples / rate,
        "hop_seconds": metadata.hop_samples / rate,
        **{name: value for name, value in extra.items() if name not in fields},
    }


def _format(result: dict[str, dict[str, Any]]) -> str:
    lines = []
    for topic, values in result.items():
        lines.append(f"{topic}:")
        # The configuration is long; --json has it.
        shown = {
            name: value
            for name, value in values.items()
            if value is not None and not isinstance(value, dict)
        }
        rows = [
            (name, ", ".join(map(str, value)) or "no")
            if isinstance(value, list | tuple)
            else (name, str(value))
            for name, value in shown.items()
        ]
        lines.append(textwrap.indent(align_columns(rows), "  "))
    return "\n".join(lines)


COMMAND = Command(
    name="info",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    takes_words=True,
    program="asc-edge",
)
