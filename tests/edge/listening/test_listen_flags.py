"""Every flag of `asc-edge listen` reaches the object that uses it."""

import os
import threading

import pytest
from absl import flags

from asc_tf.command_line.arguments import parse as parse_arguments
from asc_tf.core.errors import UsageError
from asc_tf.edge import listen, model_flags
from asc_tf.edge.listening import listen_flags, mqtt, mqtt_broker
from asc_tf.edge.listening.decisions import DecisionSettings
from asc_tf.edge.listening.listener import Settings


def parse(*words):
    values = flags.FlagValues()
    listen_flags.define_flags(values)
    values(["listen", *words])
    return values


def record(monkeypatch, module, name):
    """Replace a class, and return the arguments of its calls."""
    calls = []
    monkeypatch.setattr(module, name, lambda *given: calls.append(given) or given)
    return calls


def test_stderr_is_redirected_while_the_first_model_loads_and_no_later_one(
    monkeypatch, tmp_path
):
    def load(*_, **__):
        stderrs.append(os.fstat(2))

    monkeypatch.setattr(model_flags, "EdgeModel", load)
    values = flags.FlagValues()
    model_flags.define_model_and_threads(values)
    values(["listen"])
    stderrs, path = [os.fstat(2)], tmp_path / "model.tflite"
    path.touch()
    model_flags.load_model(values, path)
    later = threading.Thread(target=model_flags.load_model, args=(values, path))
    later.start()
    later.join(60)
    usual, first, second = stderrs
    assert os.path.samestat(second, usual) and not os.path.samestat(first, usual)


def test_settings_of_the_listener():
    words = ["--hop_seconds=0.5", "--buffer_seconds=7", "--windows=9", "--private=a,b"]
    settings = listen_flags.read_settings(parse(*words, "--private_threshold=0.4"))
    assert settings == Settings(0.5, 7.0, 9, ("a", "b"), 0.4)
    assert listen_flags.read_settings(parse()) == Settings()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("--name\n--private=speech\n", "--name: a value is missing"),
        ("--private=speech\n--private=laughter\n", "--private: given twice"),
        ("--private\n", "--private: a value is missing"),
    ],
)
def test_a_slip_in_a_file_of_flags_does_not_switch_privacy_off(
    tmp_path, lines, message
):
    (tmp_path / "flags").write_text(lines)
    values = flags.FlagValues()
    listen_flags.define_flags(values)
    with pytest.raises(UsageError, match=message):
        parse_arguments(values, [f"--flagfile={tmp_path / 'flags'}"])
        listen_flags.check_unused(values)


def test_settings_of_the_decisions(monkeypatch):
    calls = record(monkeypatch, listen_flags, "Decider")
    words = ["--smooth_windows=4", "--threshold=0.6", "--hysteresis=0.1"]
    values = parse(*words, "--min_seconds=3", "--private=b")
    listen_flags.read_decider(values)(("a", "b"))
    listen_flags.read_decider(parse())(("a",))
    assert calls == [
        (("a", "b"), DecisionSettings(4, 0.6, 0.1, 3.0), ("b",)),
        (("a",), DecisionSettings(), ()),
    ]


def test_settings_of_the_outputs(monkeypatch, tmp_path):
    calls = {
        name: record(monkeypatch, listen_flags, name)
        for name in ("Printer", "DailyTables", "KeptAudio")
    }
    words = ["--json", "--top_k=5", f"--csv={tmp_path}/t", "--keep_audio=uncertain"]
    words += [f"--keep_folder={tmp_path}/k", "--keep_mb=12.5", "--threshold=0.7"]
    listen_flags.make_outputs(parse(*words), "status")
    assert calls == {
        "Printer": [(True, 5, "status")],
        "DailyTables": [(tmp_path / "t", "status")],
        "KeptAudio": [("uncertain", tmp_path / "k", 12_500_000, 0.7, "status")],
    }
    # Tables and messages take the place of lines on standard output.
    listen_flags.make_outputs(parse(f"--csv={tmp_path}/t"), "status")
    assert len(calls["Printer"]) == 1


@pytest.mark.parametrize(
    ("words", "topic", "name", "discovery"),
    [
        (["--name=hall/1"], "asc_tf/hall_1", "hall/1", "homeassistant"),
        (["--name=hall", "--mqtt_topic=x/y"], "x/y", "hall", "homeassistant"),
        (["--name=hall", "--mqtt_discovery=ha/"], "asc_tf/hall", "hall", "ha"),
        (["--name=hall", "--mqtt_discovery="], "asc_tf/hall", "hall", ""),
    ],
)
def test_settings_of_mqtt(monkeypatch, words, topic, name, discovery):
    class Output:
        def __init__(self, *given):
            calls.append(given)

        def start(self):
            calls.append("started")

    calls = []
    monkeypatch.setattr(mqtt, "MqttOutput", Output)
    monkeypatch.setattr(mqtt_broker, "make_client", lambda *given: given)
    values = parse("--mqtt=mqtts://me@host:99", "--top_k=2", *words)
    listen_flags.make_outputs(values, "status")
    broker = mqtt_broker.parse_broker("mqtts://me@host:99")
    (client, *others, _), started = calls
    assert client == (broker, name, topic)
    assert others == [broker, topic, name, discovery, 2, "status"]
    assert started == "started"


def test_settings_of_status_and_source(monkeypatch, tmp_path):
    statuses = record(monkeypatch, listen, "Status")
    file = tmp_path / "status.json"
    listen._make_status(parse(f"--status_file={file}", "--heartbeat_seconds=60"))
    listen._make_status(parse("--heartbeat_seconds=0"))
    assert [each[2:5:2] for each in statuses] == [(file, 60.0), (None, 0.0)]
