"""The code that export.html prints runs the files of a real export."""

import dataclasses
import sys
import wave

import numpy as np
import pytest
import soundfile
import tiny
from pages import Page
from processes import run_python

import asc_tf
from asc_tf.dsp.channels import select_view
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.report.export_code import READ, SELECT, write_classification


@pytest.fixture(scope="module")
def codes(tiny_export):
    """The printed codes by their titles."""
    text = (tiny_export / "export.html").read_text(encoding="utf-8")
    section = Page(text).section("Run it")
    titles = [element.text for element in section.all("h3")]
    codes = ["".join(element.children) for element in section.all("code")]
    return dict(zip(titles, codes, strict=True))


def test_the_code_for_litert_needs_numpy_and_litert_alone(codes, tiny_export, tmp_path):
    code = codes["In Python, with LiteRT alone"]
    path = tmp_path / "clip.wav"
    soundfile.write(path, tiny.clip("whistle", 3, 1.25), tiny.RATE)
    blocked = ("asc_tf", "tensorflow", "keras", "soundfile", "scipy")
    done = run_python(code, "int8.tflite", path, without=blocked, cwd=tiny_export)
    assert done.returncode == 0, done.stderr
    label, probability = done.stdout.split()
    model = asc_tf.load(tiny_export / "int8.tflite")
    samples = soundfile.read(path, dtype="float32")[0]
    wanted = model.predict(samples, tiny.RATE)
    assert label == tiny.LABELS[wanted.argmax()]
    assert float(probability) == pytest.approx(wanted.max(), abs=1e-5)


def test_the_codes_for_asc_tf_and_for_tensorflow_run(
    codes, tiny_export, monkeypatch, capsys
):
    monkeypatch.chdir(tiny_export)
    soundfile.write("clip.wav", tiny.clip("hum", 3, 0.5), tiny.RATE)
    exec(codes["In Python, with TensorFlow alone"], {})
    label, probability = capsys.readouterr().out.split()
    samples = soundfile.read("clip.wav", dtype="float32")[0]
    wanted = asc_tf.load("saved_model").predict(samples, tiny.RATE)
    assert label == tiny.LABELS[wanted.argmax()]
    assert float(probability) == pytest.approx(wanted.max(), abs=1e-5)
    exec(codes["In Python, with asc_tf"], {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    assert all("'file': 'clip.wav', 'label': " in line for line in lines)


@pytest.mark.parametrize("setting", sorted(SELECT))
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_code_reads_a_wav_as_the_package_does(tmp_path, setting, channels):
    path = str(tmp_path / "clip.wav")
    samples = np.random.default_rng(0).uniform(-1, 1, [50, channels])
    soundfile.write(path, samples, 8000, "PCM_16")
    names = {"clip": path, "wave": wave, "np": np, "sys": sys}
    exec(READ.format(clip="clip", rate="8000", select=SELECT[setting]), names)
    stored = soundfile.read(path, dtype="float32", always_2d=True)[0]
    view = "mono" if setting == "split" else setting
    np.testing.assert_allclose(names["waveform"], select_view(stored, view), atol=1e-7)
    with pytest.raises(SystemExit, match="8000 Hz with 16 bits"):
        exec(READ.format(clip="clip", rate="16000", select=SELECT[setting]), names)


@pytest.mark.parametrize("samples", [7, 10, 24, 25])
@pytest.mark.parametrize(
    "settings",
    [
        {"last_segment": "align", "pooling": "mean", "short_clips": "loop"},
        {"last_segment": "drop", "pooling": "mean_log", "short_clips": "pad"},
        {"segments": "centre", "pooling": "majority"},
        {"pooling": "majority"},
    ],
)
def test_the_code_segments_and_pools_as_the_package_does(settings, samples):
    waveform = np.random.default_rng(1).normal(size=samples).astype("f4")
    preprocessing = Preprocessing(8000, 10, 5, **settings)

    def classify(waveform):
        powers = np.exp(waveform @ np.random.default_rng(0).normal(size=[10, 3]))
        return {"probabilities": powers / powers.sum(axis=1, keepdims=True)}

    about = dataclasses.asdict(preprocessing)
    names = {"about": about, "waveform": waveform, "classify": classify, "np": np}
    exec(write_classification(about), names)
    segments = np.stack([*preprocessing.cut(waveform, 8000)])
    wanted = preprocessing.pool(classify(segments)["probabilities"])
    np.testing.assert_allclose(names["probabilities"], wanted, atol=1e-6)


def test_the_commands_run(codes, tiny_export, monkeypatch, capsys):
    from asc_tf import cli
    from asc_tf.edge import cli as edge_cli

    monkeypatch.chdir(tiny_export)
    soundfile.write("clip.wav", tiny.clip("hum", 3, 0.5), tiny.RATE)
    for title, main in (
        ("On a Raspberry Pi, without TensorFlow", edge_cli.main),
        ("On the command line, audio files of every kind", cli.main),
    ):
        lines = codes[title].splitlines()
        assert len(lines) >= 2
        for line in lines:
            assert main(line.split()[1:]) == 0
            assert capsys.readouterr().out.startswith("clip.wav")
