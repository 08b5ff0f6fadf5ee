"""Flags of `asc-edge listen`, and the objects that they describe."""

import functools
import random
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from asc_tf.command_line.flag_values import read_new_path, read_number
from asc_tf.core.errors import UsageError
from asc_tf.dsp.recordings import MAX_HOP_SECONDS
from asc_tf.dsp.resampling import RATES
from asc_tf.edge import model_flags
from asc_tf.edge.listening import mqtt, mqtt_broker
from asc_tf.edge.listening.daily_tables import DailyTables
from asc_tf.edge.listening.decisions import Decider, DecisionSettings
from asc_tf.edge.listening.kept_audio import MODES, KeptAudio
from asc_tf.edge.listening.listener import Settings
from asc_tf.edge.listening.outputs import Output, Printer
from asc_tf.edge.listening.sources import PASSWORD_VARIABLE
from asc_tf.edge.listening.status import Status

MAX_SECONDS = 1e9


def define_flags(values: flags.FlagValues) -> None:
    """Define all flags of the command."""
    model_flags.define_model_and_threads(values)
    _define_source(values)
    _define_decisions(values)
    _define_outputs(values)
    _define_mqtt(values)
    _define_service(values)


def _define_source(values: flags.FlagValues) -> None:
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    number = functools.partial(flags.DEFINE_float, flag_values=values)
    text(
        "source",
        "default",
        "default (the first microphone), the number or a part of the name of a "
        "microphone, a name of ALSA like plughw:1,0, a WAV file, a FIFO, a URL (needs "
        "ffmpeg), or - for standard input; the password of rtsp://USER@HOST is read "
        f"from the environment variable {PASSWORD_VARIABLE}",
    )
    integer(
        "sample_rate",
        None,
        "sample rate of a microphone (48000 by default) or of raw PCM of 16 bits, Hz; "
        "WAV and URLs have their own",
        *RATES,
    )
    integer(
        "channels",
        None,
        "channels of a microphone or of raw PCM (1 by default)",
        *(1, 256),
    )
    number(
        "hop_seconds",
        None,
        "time from the start of one window to that of the next, s; by default as the "
        "model has it",
        *(0.001, MAX_HOP_SECONDS),
    )
    number(
        "buffer_seconds",
        5.0,
        "audio of a microphone or camera that waits for a late analysis before it is "
        "dropped, s",
        *(0.5, 600),
    )


def _define_decisions(values: flags.FlagValues) -> None:
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    number = functools.partial(flags.DEFINE_float, flag_values=values)
    integer(
        "smooth_windows",
        1,
        "windows over which log probabilities are averaged for the decision",
        *(1, 10_000),
    )
    number(
        "threshold",
        None,
        "decide for `unknown` if the highest smoothed probability is below this value",
        *(0, 1),
    )
    number(
        "hysteresis",
        0.0,
        "lead in probability that another label needs to become the decision; the "
        "present one ends only this much below the threshold",
        *(0, 1),
    )
    number(
        "min_seconds",
        0.0,
        "time that another label must be the better one to become the decision, s",
        *(0, 86_400),
    )
    flags.DEFINE_list(
        "private",
        [],
        "labels whose windows are neither reported, numbered, counted nor kept",
        flag_values=values,
    )
    number(
        "private_threshold",
        0.2,
        "a window is private if a label of --private is the most probable one, or has "
        "at least this probability",
        *(0, 1),
    )


def _define_outputs(values: flags.FlagValues) -> None:
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    number = functools.partial(flags.DEFINE_float, flag_values=values)
    flags.DEFINE_boolean(
        "json", False, "one JSON object per window on stdout", flag_values=values
    )
    integer("top_k", 3, "labels to show", 1)
    text("csv", None, "a folder for one table a day, with every probability")
    flags.DEFINE_enum(
        "keep_audio",
        "none",
        MODES,
        "windows to save as WAV files: none, all, or uncertain (decision `unknown`, or "
        "probability below --threshold)",
        flag_values=values,
    )
    text("keep_folder", None, "the folder of the kept WAV files")
    number(
        "keep_mb",
        1000.0,
        "size of the kept WAV files together, MB; the oldest are removed first",
        *(0.1, 1e9),
    )


def _define_mqtt(values: flags.FlagValues) -> None:
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    text(
        "mqtt",
        None,
        "an MQTT broker: HOST, HOST:PORT or mqtts://USER@HOST:PORT; the password is "
        f"read from the environment variable {mqtt_broker.PASSWORD_VARIABLE}",
    )
    text("name", None, "name of this device; by default that of the machine")
    text("mqtt_topic", None, "topic of the messages; by default asc_tf/NAME")
    text(
        "mqtt_discovery",
        "homeassistant",
        "topic under which Home Assistant looks for devices; empty: none",
    )


def _define_service(values: flags.FlagValues) -> None:
    text = functools.partial(flags.DEFINE_string, flag_values=values)
    number = functools.partial(flags.DEFINE_float, flag_values=values)
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    text(
        "status_file",
        None,
        "a JSON file with the state, written every 10 s; best below /run",
    )
    number(
        "heartbeat_seconds",
        3600.0,
        "time between two lines on the state on stderr, s; 0: none",
        *(0, MAX_SECONDS),
    )
    integer(
        "windows",
        None,
        "number of windows, without private ones, after which the command ends",
        1,
    )
    number("seconds", None, "time after which the command ends, s", *(0.1, MAX_SECONDS))


def read_settings(values: flags.FlagValues) -> Settings:
    """Read the settings of the listener."""
    return Settings(
        hop_seconds=read_number(values, "hop_seconds") or 0.0,
        buffer_seconds=read_number(values, "buffer_seconds") or 5.0,
        max_windows=values.windows,
        private=tuple(values.private),
        private_threshold=values.private_threshold,
    )


def check_unused(values: flags.FlagValues) -> None:
    """Refuse flags that change nothing without another one.

    Raises:
        UsageError: If there is such a flag, or --private is given twice.
    """
    needed = {
        "keep_mb": ("keep_audio", values.keep_audio != "none"),
        "keep_folder": ("keep_audio", values.keep_audio != "none"),
        "name": ("mqtt", bool(values.mqtt)),
        "mqtt_topic": ("mqtt", bool(values.mqtt)),
        "mqtt_discovery": ("mqtt", bool(values.mqtt)),
        "private_threshold": ("private", bool(values.private)),
    }
    for name, (other, is_given) in needed.items():
        if values[name].present and not is_given:
            raise UsageError(f"--{name}: has no effect without --{other}")
    # The last one would replace the others without a word.
    if values["private"].present > 1:
        raise UsageError(
            "--private: given twice; write all labels in one, --private=speech,laughter"
        )


def read_decider(
    values: flags.FlagValues,
) -> Callable[[Sequence[str]], Decider]:
    """Read the settings of the decisions: a function from labels to a decider."""
    settings = DecisionSettings(
        smooth_windows=values.smooth_windows,
        threshold=read_number(values, "threshold") or 0.0,
        hysteresis=read_number(values, "hysteresis") or 0.0,
        min_seconds=read_number(values, "min_seconds") or 0.0,
    )
    private = tuple(values.private)
    return lambda labels: Decider(labels, settings, private)


def make_outputs(values: flags.FlagValues, status: Status) -> list[Output]:
    """Make the outputs that the flags name.

    Raises:
        UsageError: If two flags do not go together, or an output is refused.
        UserError: If paho-mqtt is missing.
    """
    outputs: list[Output] = []
    if values.json or not (values.csv or values.mqtt):
        outputs.append(Printer(values.json, values.top_k, status))
    if values.csv:
        outputs.append(DailyTables(_read_folder(values, "csv"), status))
    if values.keep_audio != "none":
        if values.keep_audio == "uncertain" and values.threshold is None:
            raise UsageError("--keep_audio=uncertain: needs --threshold")
        if not values.keep_folder:
            raise UsageError(f"--keep_audio={values.keep_audio}: needs --keep_folder")
        outputs.append(
            KeptAudio(
                values.keep_audio,
                _read_folder(values, "keep_folder"),
                round((read_number(values, "keep_mb") or 0) * 1e6),
                values.threshold or 0.0,
                status,
            )
        )
    if values.mqtt:
        outputs.append(_make_mqtt(values, status))
    return outputs


def _read_folder(values: flags.FlagValues, name: str) -> Path:
    folder = read_new_path(values, name)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--{name}={folder}: a file; give a folder")
    return folder


def _make_mqtt(values: flags.FlagValues, status: Status) -> Output:
    name = values.name or socket.gethostname()
    topic = values.mqtt_topic or f"asc_tf/{re.sub(r'[/+#]', '_', name)[:100]}"
    discovery = values.mqtt_discovery.strip("/")
    mqtt_broker.check_topic("mqtt_topic", topic)
    mqtt_broker.check_topic("mqtt_discovery", discovery)
    broker = mqtt_broker.parse_broker(values.mqtt)
    output = mqtt.MqttOutput(
        mqtt_broker.make_client(broker, name, topic),
        broker,
        topic,
        name,
        discovery,
        values.top_k,
        status,
        random.Random(),
    )
    output.start()
    return output
