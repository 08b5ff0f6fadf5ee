"""The exports of each shipped network pass the doctor, with weights drawn at random."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import soundfile
import tiny

from asc_tf import cli, models
from asc_tf import config as configuration
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.exporting.export import export
from asc_tf.frontend import FrontendLayer
from asc_tf.training.train import prepare
from asc_tf.workdir import Workdir

CASES = {
    "demo-stereo": {"model.filters": (8, 16), "audio.channels": "stereo"},
    "demo-mid_side": {"model.filters": (8, 16), "audio.channels": "mid_side"},
    "esc10_small": {"model.filters": (8, 16)},
    "esa3_cnn": {"model.filters": (4, 4, 4)},
    "esa3_crnn": {"model.filters": (4, 4, 4), "model.units": 4},
    "dcase2018": {},
    "fsdkaggle2018": {},
    "us8k_cnn": {"model.units": 16},
    "us8k_inception": {"model.backbone": "mobilenet_v2", "model.weights": "none"},
    "us8k_inception_hertz": {
        "model.backbone": "mobilenet_v2",
        "model.weights": "none",
    },
}
"""Changes by name of a shipped configuration, with which its network is small."""

INCEPTION = ("us8k_inception", "us8k_inception_hertz")


@pytest.fixture(scope="module")
def stereo_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(24):
        path = folder / tiny.LABELS[number % 3] / f"{number}-0.wav"
        path.parent.mkdir(exist_ok=True)
        left, right = (tiny.clip(tiny.LABELS[(number + n) % 3], number) for n in (0, 1))
        soundfile.write(path, np.stack([left, right / 4], axis=1), tiny.RATE)
    return folder


def make_run(folder, corpus, name, changes):
    """Write a run folder whose network was not trained."""
    config = configuration.read(configuration.find(name))
    given = {
        "dataset.name": "folder",
        "dataset.dir": str(corpus),
        "dataset.protocol": "official",
        "dataset.fold": -1,
        "dataset.folds": 5,
        "dataset.validation": "split",
        "dataset.identifier_pattern": r"/(.+)-\d",
        "train.steps": 0,
        "export.calibration_segments": 8,
        # A network that has learnt nothing agrees with nobody where it is close.
        "export.min_agreement": 0.0,
        "export.max_accuracy_drop": 1.0,
    }
    if config.audio.segment_seconds > 2.5:
        given["audio.segment_seconds"] = 2.5
    if config.frontend.max_frames:
        given["frontend.max_frames"] = 125
    config = config.replace(given | changes)
    workdir = Workdir(folder / "run")
    manifest = prepare(config, workdir).manifest
    workdir.begin(config, manifest)
    keras.utils.set_random_seed(0)
    shape = Preprocessing.from_config(config.audio, config.evaluate).segment_shape
    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    features = frontend.compute_output_shape((None, *shape))[1:]
    body = models.build(config.model, features, len(manifest.labels), 0.9)
    models.attach_frontend(frontend, body, shape).save(workdir.model_file)
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_each_shipped_network_passes_the_doctor(case, stereo_corpus, tmp_path):
    name = case.split("-")[0]
    workdir = make_run(tmp_path, stereo_corpus, name, CASES[case])
    content = export(workdir, tmp_path / "export")
    assert content["rejected"] == {}
    for format_name in ("saved_model", "float32", "int8"):
        row = content["formats"][format_name]
        failed = [each for each in row["findings"] if each["passed"] is False]
        assert failed == []
        for split in ("validation", "test"):
            assert row[split]["n_clips"] > 0
            if format_name != "int8":
                assert row[split]["agreement"] == 1
                assert row[split]["max_difference"] < 1e-3
        if format_name != "saved_model":
            timed = {(each["threads"], each["part"]) for each in row["latency"]}
            assert len(timed) == 6, row["findings"]
        # The activations of the backbone vanish with random weights, and the builtin
        # kernels of LiteRT refuse their scales; XNNPACK does not.
        if format_name == "int8" and name not in INCEPTION:
            assert row["arena_bytes"] > 4 * workdir.config().audio.segment_samples
            assert row["layers"], row["findings"]


# --- kill -9 --------------------------------------------------------------------------


@pytest.mark.slow
def test_an_export_killed_while_files_are_examined_leaves_nothing(tiny_run, tmp_path):
    for seconds in (0.0, 1.5):
        output = tmp_path / f"{seconds}" / "export"
        words = ["export", str(tiny_run.path), f"--output={output}"]
        words.append("--formats=float32")
        kill_export(words, output.parent, seconds)
        assert not output.exists() or json.loads((output / "export.json").read_text())
    assert cli.main(words) == 0
    assert [path.name for path in output.parent.iterdir()] == ["export"]


def kill_export(words, folder, seconds):
    """Kill an export so long after it began to examine; its children end with it."""
    process = subprocess.Popen([sys.executable, "-m", "asc_tf.cli", *words])
    end = time.monotonic() + 300
    while time.monotonic() < end and process.poll() is None:
        if list(folder.rglob("segments.float32")):
            break
        time.sleep(0.01)
    time.sleep(seconds)
    children = find_children(process.pid)
    process.kill()
    process.wait()
    end = time.monotonic() + 30
    while any(map(is_alive, children)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_alive, children))


def find_children(pid):
    text = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    ).stdout
    return [int(word) for word in text.split()]


def is_alive(pid):
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return True
