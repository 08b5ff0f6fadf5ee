"""asc-tf inspect: show the properties of audio files, as the decoder sees them."""

import dataclasses
import json
import sys

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.config import Audio
from asc_tf.core.errors import UsageError

USAGE = """
Read audio files completely and show their properties.

  asc-tf inspect FILES... [--json] [--audio.decoder=auto]
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean(
        "json", False, "one JSON object per file, line by line", flag_values=values
    )


def _run(values: flags.FlagValues) -> int:
    if not values.positional:
        raise UsageError("no files; give one or more audio files")
    from asc_tf.audio.inspect import inspect, name_missing_decoder

    seconds = values["audio.max_seconds"].value or Audio().max_seconds
    decoder = values["audio.decoder"].value or Audio().decoder
    failed = False
    for path in values.positional:
        inspection = inspect(path, seconds, decoder)
        inspection = dataclasses.replace(inspection, error=inspection.refusal)
        record = inspection.to_json()
        if missing := name_missing_decoder(inspection):
            record["note"] = "; ".join(filter(None, (inspection.note, missing)))
        note = record.get("note", "")
        failed |= "error" in record
        if "error" in record:
            print(f"asc-tf inspect: {path}: {record['error']}", file=sys.stderr)
        if values.json:
            print(json.dumps(record), flush=True)
        elif "error" not in record:
            print(
                f"{path}: {record['container']} {record['encoding']}, "
                f"{record['sample_rate']} Hz, channels: {record['channels']}, "
                f"{record['seconds']:.2f} s ({record['samples']} samples), peak "
                f"{record['peak']:.4f}, rms {record['rms']:.4f}, decoder: "
                f"{record['decoder']}" + (f"; {record['note']}" if note else ""),
                flush=True,
            )
    return int(failed)


COMMAND = Command(
    name="inspect",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    takes_words=True,
    keys=("audio.max_seconds", "audio.decoder"),
)
