"""asc-edge listen as a command: parity, outputs, signals, the model file."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from processes import start_interruptible
from simulation import LABELS as LABELS_OF_WORLD
from simulation import (
    FakeClock,
    FakeModelFile,
    ImmediateTask,
    SlowTask,
    World,
    blocks,
    predict,
    tone,
)
from statistics_model import (
    HOP,
    LABELS,
    LENGTH,
    METADATA,
    RATE,
    fields,
    seal,
    write_wav,
)

from asc_tf.core.errors import UserError
from asc_tf.edge import cli, tflite_metadata
from asc_tf.edge.listening.listener import Settings
from asc_tf.edge.listening.model_file import (
    CHECK_SECONDS,
    RETRY_SECONDS,
    ModelFile,
    start_in_thread,
)
from asc_tf.edge.listening.status import Status
from asc_tf.edge.listening.systemd import Notifier
from asc_tf.edge.runtime import EdgeModel

ROOT = Path(__file__).parents[3]


def noise(samples, channels=1):
    generator = np.random.default_rng(samples)
    levels = generator.uniform(0, 0.9, -(-samples // 400)).repeat(400)[:samples]
    return levels[:, None] * generator.uniform(-1, 1, (samples, channels))


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("rate", "channels", "subtype", "hop"),
    [
        (RATE, 1, "PCM_16", None),
        (44_100, 2, "PCM_24", None),
        (11_024, 1, "FLOAT", 0.03),
        (48_000, 8, "PCM_16", 0.25),
    ],
)
def test_raw_probabilities_are_those_of_classify_segments(
    model_file, tmp_path, capsys, rate, channels, subtype, hop
):
    path = write_wav(tmp_path / "a.wav", noise(rate * 2 + 77, channels), rate, subtype)
    flags = [f"--model={model_file}", "--json", "--top_k=3"]
    flags += [f"--hop_seconds={hop}"] if hop else []
    assert cli.main(["classify", "--segments", *flags, str(path)]) == 0
    *expected, _ = rows_of(capsys.readouterr().out)
    assert cli.main(["listen", *flags, f"--source={path}"]) == 0
    rows = rows_of(capsys.readouterr().out)
    shared = ("start", "end", "label", "probability", "top")
    assert [{k: row[k] for k in shared} for row in rows] == [
        {k: row[k] for k in shared} for row in expected
    ]
    assert len(rows) > 5
    assert [row["window"] for row in rows] == list(range(len(rows)))
    assert {(row["source"], row["stream"], row["time"]) for row in rows} == {
        (str(path), 1, None)
    }


def listen_in_child(arguments, **options):
    return start_interruptible(
        [sys.executable, "-m", "asc_tf.edge.cli", "listen", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_raw_pcm_on_standard_input_is_classified_to_its_end_without_a_loss(
    model_file, tmp_path, capsys
):
    samples = (noise(RATE * 3 + 5) * 32767).astype("<i2")
    path = write_wav(tmp_path / "a.wav", samples)
    flags = ["--segments", "--json", f"--model={model_file}"]
    assert cli.main(["classify", *flags, str(path)]) == 0
    *expected, _ = rows_of(capsys.readouterr().out)
    flags = [f"--model={model_file}", "--json", "--source=-", f"--sample_rate={RATE}"]
    process = listen_in_child(flags, stdin=subprocess.PIPE)
    out, err = process.communicate(samples.tobytes(), timeout=60)
    assert process.returncode == 0
    rows = rows_of(out.decode())
    assert [row["top"] for row in rows] == [row["top"] for row in expected]
    assert [row["start"] for row in rows] == [row["start"] for row in expected]
    assert all(row["time"] is not None for row in rows)
    assert f"{len(rows)} windows" in err.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_after_everything_is_written(
    model_file, tmp_path, number
):
    notify = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(notify))
        server.settimeout(60)
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(notify),
            "WATCHDOG_USEC": "900000",
        }
        flags = [f"--model={model_file}", "--source=-", f"--sample_rate={RATE}"]
        tables, status_file = tmp_path / "tables", tmp_path / "status"
        flags += [f"--csv={tables}", f"--status_file={status_file}"]
        process = listen_in_child(flags, stdin=subprocess.PIPE, env=environment)
        process.stdin.write(bytes(2 * RATE))
        process.stdin.flush()
        messages = []
        while sum(text == "WATCHDOG=1" for text in messages) < 3:
            messages.append(server.recv(4096).decode())
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        while messages[-1] != "STOPPING=1":
            messages.append(server.recv(4096).decode())
    assert "READY=1" in messages
    (table,) = tables.glob("*.csv")
    n_windows = (RATE - LENGTH) // HOP + 1
    assert len(table.read_text().splitlines()) == 1 + n_windows
    status = json.loads(status_file.read_text())
    assert (status["state"], status["windows"]) == ("ended", n_windows)
    assert status["model"]["labels"] == 3
    assert status["csv"] == {"waiting": 0, "lost": 0}


def test_text_is_for_a_person_and_silent_where_a_table_is_written(
    model_file, tmp_path, capsys
):
    path = write_wav(tmp_path / "a.wav", np.full(LENGTH, 0.9), subtype="FLOAT")
    flags = ["listen", f"--model={model_file}", f"--source={path}", "--top_k=1"]
    assert cli.main([*flags, "--threshold=0.99"]) == 0
    output = capsys.readouterr()
    assert output.out == "     0.000 * unknown  (métro 0.9268)\n"
    assert output.err == "asc-edge listen: ended, 1 windows\n"
    assert cli.main([*flags, f"--csv={tmp_path / 'tables'}"]) == 0
    assert capsys.readouterr().out == ""


def test_the_line_of_a_silent_window_says_that_its_label_means_nothing(
    model_file, tmp_path, capsys
):
    path = write_wav(tmp_path / "a.wav", np.zeros(LENGTH))
    assert cli.main(["listen", f"--model={model_file}", f"--source={path}"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.endswith(
        "  silent: every sample is 0; the predicted label means nothing"
    )


def test_a_loss_exits_with_1_and_a_full_disk_below_stderr_ends_nothing(
    model_file, tmp_path, capsys
):
    path = write_wav(tmp_path / "a.wav", noise(RATE))
    flags = [f"--model={model_file}", f"--source={path}"]
    assert cli.main(["listen", *flags, "--csv=/proc/absent"]) == 1
    assert "lines could not be written" in capsys.readouterr().err
    command = [sys.executable, "-m", "asc_tf.edge.cli", "listen", *flags]
    # Without buffers nothing would be left to write at the end.
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, f"--csv={tmp_path / 'tables'}"],
            cwd=ROOT,
            stderr=full,
            env=environment,
        )
    assert done.returncode == 0
    (table,) = (tmp_path / "tables").glob("*.csv")
    n_windows = -(-(RATE - LENGTH) // HOP) + 1
    assert len(table.read_text().splitlines()) == 1 + n_windows


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--source=absent.wav"], "no such file"),
        (["--keep_audio=all"], "needs --keep_folder"),
        (["--keep_audio=uncertain", "--keep_folder=x"], "needs --threshold"),
        (["--keep_folder=x"], "has no effect without --keep_audio"),
        (["--source="], "--source: is empty"),
        (["--buffer_seconds=5"], "--buffer_seconds: has no effect with --source="),
        (["--keep_mb=5"], "--keep_mb: has no effect without --keep_audio"),
        (["--name=x"], "--name: has no effect without --mqtt"),
        (["--mqtt_discovery="], "--mqtt_discovery: has no effect without --mqtt"),
        (["--private_threshold=0.5"], "has no effect without --private"),
        (["--mqtt_topic=x"], "has no effect without --mqtt"),
        (["--private=cat"], "--private=cat: the model has no such label"),
        (["--sample_rate=999"], "sample_rate"),
        (["--threshold=nan"], "finite"),
        (["--model=absent"], "--model=absent: no such file"),
        (["--csv=FILE"], "is a file"),
        (["a.wav"], "unexpected argument"),
    ],
)
def test_wrong_usage_exits_with_2(model_file, tmp_path, capsys, flags, message):
    (tmp_path / "file").touch()
    flags = [flag.replace("FILE", str(tmp_path / "file" / "x")) for flag in flags]
    arguments = ["listen", f"--model={model_file}", "--source=-", *flags]
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_refused_setting_of_a_source_does_not_show_its_password(model_file, capsys):
    source = "--source=http://user:secret@camera.local/audio"
    words = ["listen", f"--model={model_file}", source, "--buffer_seconds=5"]
    assert cli.main(words) == 2
    message = capsys.readouterr().err
    assert "has no effect with --source=http://" in message
    assert "secret" not in message


def test_a_replaced_model_is_taken_over_when_it_is_whole(
    model_file, flatbuffer, tmp_path
):
    path = tmp_path / "m.tflite"
    path.write_bytes(model_file.read_bytes())
    clock, said = FakeClock(), []
    status = Status(clock, said.append)
    file = ModelFile(path, EdgeModel, status, ImmediateTask)
    first = file.model

    def wait(seconds=2.5 * CHECK_SECONDS):
        until = clock.now + seconds
        while clock.now < until:
            status.tick()
            clock.sleep(0.5)

    wait()
    assert file.model is first and not file.take_new()
    # Half a copy, then the copy of a damaged file.
    newer = tmp_path / "newer"
    newer.write_bytes(flatbuffer)
    renamed = [*LABELS[:2], "parc"]
    tflite_metadata.write_metadata(newer, {**METADATA, "labels": renamed})
    content = newer.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    wait()
    assert file.model is first
    assert "the present model stays in use" in status.alarms["model"]
    path.write_bytes(content[:100] + b"x" + content[101:])
    wait()
    assert file.model is first
    seal(path, flatbuffer, fields(flatbuffer, format_version=2))
    wait()
    assert file.model is first
    assert "install a newer asc-tf" in status.alarms["model"]
    path.unlink()
    wait()
    assert file.model is first
    path.write_bytes(content)
    wait()
    assert file.model is first
    assert status.alarms == {}
    assert file.explain_new() == "the model file was replaced"
    assert not file.can_continue()  # it has other labels
    assert file.take_new() and not file.explain_new()
    assert file.model.labels == ("airport", "métro", "parc")
    assert not file.take_new()


def test_windows_of_one_block_have_the_labels_of_the_model_that_classified_them(
    tmp_path,
):
    """The labels of the new model are in another order, and one is private."""
    path = tmp_path / "m.tflite"
    path.write_bytes(b"1")
    others = ("rain", "speech", "dog")
    world = World(
        [[tone(6), tone(6)]], kind="stdin", settings=Settings(private=("rain",))
    )

    def load(path):
        labels = LABELS_OF_WORLD if path.read_bytes() == b"1" else others
        model = FakeModelFile(labels).model

        def predict_and_replace(segments):
            if path.read_bytes() == b"1":
                path.write_bytes(b"22")
            world.clock.now += 1.1 * CHECK_SECONDS
            order = [LABELS_OF_WORLD.index(label) for label in labels]
            return predict(segments)[:, order]

        model.predict_segments = predict_and_replace
        return model

    world.model_file = ModelFile(path, load, world.status, ImmediateTask)
    world.listener._model_file = world.model_file
    world.run()
    assert world.model_file.model.labels == others
    assert len(world.recorder.reports) >= 7
    assert all(report.is_private for report in world.recorder.reports)
    assert world.rows == []


def test_the_old_model_answers_while_the_new_file_is_tried(tmp_path):
    """The trial takes 80 s: another process tries a file that may hang."""
    path, tried = tmp_path / "m.tflite", []
    path.write_bytes(b"1")
    replace = lambda connection: path.write_bytes(b"22")  # noqa: E731
    refuse = lambda connection: path.write_bytes(b"333")  # noqa: E731
    world = World([[*blocks(20), replace, *blocks(100), refuse, *blocks(100)]])
    others = ("cat", "snow", "song")

    def load(path):
        tried.append(world.clock.now)
        if len(tried) == 3:
            raise UserError("LiteRT did not load the model within 30 s")
        labels = others if len(tried) == 2 else LABELS_OF_WORLD
        return FakeModelFile(labels).model

    start = lambda run: SlowTask(world.clock, 80.0, run)  # noqa: E731
    world.model_file = ModelFile(path, load, world.status, start)
    world.listener._model_file = world.model_file
    world.run()
    assert len(tried) == 3
    labels = [row["label"] for row in world.rows]
    first = labels.index("snow")
    assert labels == ["rain"] * first + ["snow"] * (len(labels) - first)
    assert world.recorder.times[first] - tried[1] < 3
    # No window waits: each comes a second after the one before, but for the swap.
    assert max(np.diff(world.recorder.times)) <= 2 + 1e-6
    assert any("did not load the model" in text for text in world.said)


def test_a_new_model_of_the_same_windows_and_labels_takes_over_without_a_pause(
    tmp_path,
):
    """Outputs learn of no interruption, at which audio that waits would be kept."""
    path = tmp_path / "m.tflite"
    path.write_bytes(b"1")
    replace = lambda connection: path.write_bytes(b"22")  # noqa: E731
    world = World([[*blocks(20), replace, *blocks(20)]], hop=250)

    def load(path):
        model = FakeModelFile(hop=250).model
        if path.read_bytes() != b"1":
            model.predict_segments = lambda segments: predict(segments)[:, [1, 0, 2]]
        return model

    world.model_file = ModelFile(path, load, world.status, ImmediateTask)
    world.listener._model_file = world.model_file
    world.run()
    starts = [row["start"] for row in world.rows]
    assert starts == [0.25 * number for number in range(157)]
    labels = [row["label"] for row in world.rows]
    first = labels.index("dog")
    assert labels == ["rain"] * first + ["dog"] * (157 - first) and 80 < first < 130
    assert (world.recorder.begun, world.status.counts.gaps) == (1, 0)
    assert world.recorder.interruptions == 1  # the end of the source


def look_at_file(clock, status):
    for _ in range(3):
        clock.now += CHECK_SECONDS
        status.tick()


def test_a_call_in_the_background_gives_its_result_or_its_error():
    gate = threading.Event()
    task = start_in_thread(lambda: gate.wait(60) and "model")
    assert not task.done()
    gate.set()
    assert task.result() == "model" and task.done()

    def fail():
        raise UserError("damaged")

    with pytest.raises(UserError, match="damaged"):
        start_in_thread(fail).result()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_a_new_model_that_the_system_cannot_load_is_tried_again(tmp_path, error):
    path, clock, errors = tmp_path / "m.tflite", FakeClock(), [error]
    path.write_bytes(b"1")

    def load(path):
        if path.read_bytes() == b"1":
            return "the first"
        if errors:
            raise errors.pop()
        return "the second"

    status = Status(clock, lambda text: None)
    file = ModelFile(path, load, status, ImmediateTask)
    path.write_bytes(b"22")
    look_at_file(clock, status)
    assert file.model == "the first" and not file.take_new()
    expected = "Input/output error" if error.args else "not enough memory"
    assert status.alarms["model"].startswith("the new file cannot be tried now")
    assert expected in status.alarms["model"]
    clock.now += RETRY_SECONDS
    look_at_file(clock, status)
    assert file._candidate == "the second" and "model" not in status.alarms


@pytest.mark.parametrize("place", ["start", "end"])
def test_no_error_of_a_new_model_ends_the_listener(tmp_path, place):
    path, clock = tmp_path / "m.tflite", FakeClock()
    path.write_bytes(b"1")

    def load(path):
        if path.read_bytes() != b"1":
            raise KeyError("tensor")
        return "the first"

    def start(run):
        if place == "start":
            raise RuntimeError("can't start new thread")
        return ImmediateTask(run)

    status = Status(clock, lambda text: None)
    file = ModelFile(path, load, status, start)
    path.write_bytes(b"22")
    look_at_file(clock, status)
    wanted = {"start": "can't start new thread", "end": "refused, .*: KeyError"}[place]
    assert re.search(wanted, status.alarms["model"])
    assert file.model == "the first" and not file.take_new()


def test_a_new_model_of_other_labels_begins_within_a_stream():
    def replace(connection):
        model = FakeModelFile(("cat", "snow", "song"), length=500, hop=500).model
        world.model_file.model, world.model_file.new = model, "replaced"

    world = World([[*blocks(2), replace, *blocks(2)]], kind="stdin")
    world.run()
    assert [row["label"] for row in world.rows] == ["rain"] * 2 + ["snow"] * 4
    assert world.rows[2]["start"] == 2.0
    assert world.recorder.begun == 2


def test_outside_of_a_service_no_message_is_sent(tmp_path):
    assert Notifier({}).watchdog_seconds is None
    other = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}
    assert Notifier(other).watchdog_seconds is None
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "absent")}).send("READY=1")


def test_the_status_file_is_whole_and_tells_what_is_wrong(tmp_path):
    path, seen = tmp_path / "status.json", []
    read = lambda c: seen.append(json.loads(path.read_text()))  # noqa: E731
    script = [*blocks(12), read, 21.0, read]
    World([script], kind="stdin", status_file=path).run()
    listening, quiet = seen
    assert listening["state"] == "listening" and listening["alarms"] == {}
    assert listening["windows"] >= 9
    assert quiet["alarms"] == {"source": "no audio for 20 s"}
    assert json.loads(path.read_text())["state"] == "ended"


def test_heartbeats_say_how_it_goes():
    world = World([blocks(8000, size=10)], kind="stdin", length=10_000, hop=10_000)
    world.run()
    beats = [text for text in world.said if text.startswith("listening")]
    assert beats == ["listening, 360 windows", "listening, 720 windows"]


def test_a_fifo_that_a_thread_writes_is_heard(model_file, tmp_path, capsys):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    contents = write_wav(tmp_path / "a.wav", noise(RATE)).read_bytes()

    def write():
        for _ in range(2):
            path.write_bytes(contents)
            time.sleep(1.5)

    thread = threading.Thread(target=write)
    thread.start()
    n_windows = 2 * (-(-(RATE - LENGTH) // HOP) + 1)
    flags = [f"--model={model_file}", f"--source={path}", f"--windows={n_windows}"]
    assert cli.main(["listen", *flags, "--json", "--seconds=120"]) == 0
    thread.join()
    rows = rows_of(capsys.readouterr().out)
    assert len(rows) == n_windows
    assert {row["stream"] for row in rows} == {1, 2}


@pytest.mark.parametrize(
    ("changes", "samples"),
    [
        ({"channels": "split"}, 5000),
        ({"channels": "right", "last_segment": "drop"}, 5000),
        ({"segments": "centre"}, 5000),
        ({"short_clips": "loop"}, 700),
        ({}, LENGTH),
    ],
)
def test_views_and_ends_of_a_stream_are_those_of_classify_segments(
    flatbuffer, tmp_path, capsys, changes, samples
):
    model = tmp_path / "m.tflite"
    model.write_bytes(flatbuffer)
    tflite_metadata.write_metadata(model, {**METADATA, **changes})
    path = write_wav(tmp_path / "a.wav", noise(samples, 2))
    flags = [f"--model={model}", "--json"]
    assert cli.main(["classify", "--segments", *flags, str(path)]) == 0
    *expected, _ = rows_of(capsys.readouterr().out)
    assert cli.main(["listen", *flags, f"--source={path}"]) == 0
    rows = rows_of(capsys.readouterr().out)
    shared = ("start", "end", "top")
    assert [[row[k] for k in shared] for row in rows] == [
        [row[k] for k in shared] for row in expected
    ]


def test_private_windows_are_in_no_output_of_the_command(model_file, tmp_path, capsys):
    levels = np.repeat([0.9, 0.0, 0.9], 4 * LENGTH)
    path = write_wav(tmp_path / "a.wav", levels, subtype="FLOAT")
    flags = [f"--model={model_file}", f"--source={path}", "--json", "--top_k=1"]
    flags += [f"--csv={tmp_path}/t", "--keep_audio=all", f"--keep_folder={tmp_path}/k"]
    flags += ["--private=métro", "--private_threshold=1"]
    assert cli.main(["listen", *flags]) == 0
    output = capsys.readouterr()
    rows = rows_of(output.out)
    assert 5 <= len(rows) <= 9
    assert "métro" not in {row["label"] for row in rows}
    assert output.err == f"asc-edge listen: ended, {len(rows)} windows\n"
    assert [row["window"] for row in rows] == list(range(len(rows)))
    (table,) = (tmp_path / "t").glob("*.csv")
    assert len(table.read_text().splitlines()) == 1 + len(rows)
    assert "métro" not in output.out + table.read_text()
    kept = list((tmp_path / "k").glob("*.wav"))
    assert 0 < len(kept) <= len(rows)
    for file in kept:
        assert file.read_bytes()[44:].strip(b"\0") == b""


def test_a_microphone_that_vanishes_and_comes_back_is_recorded_on(
    model_file, tmp_path, monkeypatch, capsys
):
    """A recorder that gives a second of audio, and then finds its device gone."""
    program = tmp_path / "arecord"
    program.write_text(
        f"#!{sys.executable} -S\n"
        "import sys\n"
        "sys.stdout.buffer.write(bytes(range(256)) * 375)\n"
        "sys.stdout.flush()\n"
        "sys.exit('arecord: read error: No such device')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    flags = [f"--model={model_file}", "--source=plughw:1,0", "--json", "--windows=30"]
    assert cli.main(["listen", *flags, "--seconds=60"]) == 0
    output = capsys.readouterr()
    rows = rows_of(output.out)
    assert [row["window"] for row in rows] == list(range(30))
    # A second has 19 windows; those that the resampler still held are lost.
    assert {1, 2} <= {row["stream"] for row in rows}
    assert "No such device" in output.err
    assert "source: works again" in output.err
