"""The mistakes of a report: the right clips, seconds, probabilities and reasons."""

import io

import numpy as np
import pytest
import soundfile
import tiny

from asc_tf.audio import encode
from asc_tf.evaluation import examples_of_mistakes
from asc_tf.evaluation.examples_of_mistakes import (
    COUNT,
    MAX_DRAWN,
    MAX_PLAYED,
    collect_mistakes,
    make_timeline,
)
from asc_tf.evaluation.predictor import ClipPredictions
from asc_tf.manifest import Clip, Manifest
from asc_tf.pipeline.run import Run
from asc_tf.report import clip_figures

LABELS = ("low", "high", "middle")
SEGMENT = 0.5


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """What is drawn, as arguments of `draw`."""
    made = []

    def draw(*args):
        made.append(args)
        return clip_figures.Picture(b"", b"")

    monkeypatch.setattr(clip_figures, "draw", draw)
    return made


def write_tones(folder, name, frequencies, channels=1, rate=tiny.RATE):
    """A file with a second of each frequency, and its row of the manifest."""
    time = np.arange(rate) / rate
    tones = [0.5 * np.sin(2 * np.pi * frequency * time) for frequency in frequencies]
    samples = np.stack([np.concatenate(tones)] * channels, axis=1)
    soundfile.write(folder / name, samples, rate)
    return Clip(
        name,
        "low",
        name,
        split="test",
        samples=len(samples),
        sample_rate=rate,
        channels=channels,
    )


def make_run(folder, *clips, **changes):
    config = tiny.config(folder, audio__segment_seconds=SEGMENT, **changes)
    return Run(config, None, Manifest(tuple(clips), LABELS))


def predict(*clips):
    """Predictions of clips, each given by the rows of its segments."""
    ids = np.repeat(np.arange(len(clips)), [len(rows) for rows in clips])
    pooled = np.stack([np.mean(rows, axis=0) for rows in clips])
    return ClipPredictions(pooled, np.concatenate(clips).astype(float), ids)


def hear(sound):
    """Length in s and strongest frequency in Hz of an encoded sound."""
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert samples.ndim == 1
    spectrum = np.abs(np.fft.rfft(samples))
    return len(samples) / rate, np.argmax(spectrum) * rate / len(samples)


def test_the_most_confident_mistakes_come_first_and_right_clips_never(tmp_path):
    clips = [write_tones(tmp_path, f"{n}.wav", [440]) for n in range(4)]
    wrong, right = [0.2, 0.8, 0.0], [0.9, 0.1, 0.0]
    surer = [0.05, 0.9, 0.05]
    predictions = predict(2 * [wrong], 2 * [right], 2 * [surer], 2 * [wrong])
    run = make_run(tmp_path, *clips)
    found = collect_mistakes(run, clips, predictions)
    assert [mistake.index for mistake in found] == [2, 0, 3]
    assert [m.index for m in collect_mistakes(run, clips, predictions, 1)] == [2]
    for mistake in found:
        assert mistake.mime == "audio/mpeg" and mistake.note == "1\N{NO-BREAK SPACE}s"
        length, frequency = hear(mistake.sound)
        assert length == pytest.approx(1.0, abs=0.01)
        assert frequency == pytest.approx(440, abs=2)
        np.testing.assert_array_equal(mistake.timeline.starts, [0.0, 0.5])
    np.testing.assert_array_equal(found[0].timeline.probabilities, 2 * [surer])
    assert COUNT % 2 == COUNT % 3 == 0


def test_of_a_long_clip_the_surest_seconds_are_drawn_and_played(tmp_path, drawn):
    frequencies = [300] * 20 + [1000] * 10 + [300] * 10
    clip = write_tones(tmp_path, "long.wav", frequencies)
    rows = np.tile([0.4, 0.6, 0.0], (80, 1))
    rows[50] = [0.0, 1.0, 0.0]
    (found,) = collect_mistakes(make_run(tmp_path, clip), [clip], predict(rows))
    ((panel,), seconds, limits) = drawn[0]
    # Around the segment from 25.0 to 25.5 s.
    assert seconds == MAX_DRAWN and limits == (-80.0, 0.0)
    assert found.note.replace("\N{NO-BREAK SPACE}", " ") == (
        "picture: 10.0 to 40.0 of 40.0 s · player: 22.8 to 27.8 s"
    )
    loudest = panel.values.argmax(axis=1)
    low, high = loudest[20], loudest[len(loudest) // 2]
    third = len(loudest) // 3
    assert low < high
    # 10 s of the low tone, 10 s of the high one, 10 s of the low one.
    np.testing.assert_array_equal(loudest[5 : third - 5], low)
    np.testing.assert_array_equal(loudest[third + 5 : 2 * third - 5], high)
    length, frequency = hear(found.sound)
    assert length == pytest.approx(MAX_PLAYED, abs=0.01)
    assert frequency == pytest.approx(1000, abs=2)


def test_a_clip_in_a_longer_file_has_its_own_seconds(tmp_path):
    whole = write_tones(tmp_path, "file.wav", [200, 800, 1600])
    clip = Clip(
        **{**vars(whole), "start": 1.0, "duration": 1.0},
    )
    run = make_run(tmp_path, clip)
    (found,) = collect_mistakes(run, [clip], predict(2 * [[0.0, 1.0, 0.0]]))
    length, frequency = hear(found.sound)
    assert length == pytest.approx(1.0, abs=0.01)
    assert frequency == pytest.approx(800, abs=2)
    assert found.timeline.starts == (0.0, 0.5)


def test_a_stereo_clip_is_played_as_one_channel(tmp_path):
    clip = write_tones(tmp_path, "stereo.wav", [500], channels=2, rate=44100)
    for channels in ("mono", "stereo", "mid_side", "left"):
        run = make_run(tmp_path, clip, audio__channels=channels)
        (found,) = collect_mistakes(run, [clip], predict([[0.0, 1.0, 0.0]]))
        length, frequency = hear(found.sound)
        assert length == pytest.approx(1.0, abs=0.01)
        assert frequency == pytest.approx(500, abs=2)


def test_with_split_channels_a_segment_has_the_mean_of_its_channels(tmp_path):
    clip = write_tones(tmp_path, "stereo.wav", [500], channels=2)
    config = make_run(tmp_path, clip, audio__channels="split").config
    by_view = np.random.default_rng(0).random((3, 2, 3))
    timeline = make_timeline(config, clip, by_view.reshape(6, 3))
    assert timeline.starts == (0.0, 0.5) and timeline.seconds == SEGMENT
    np.testing.assert_allclose(timeline.probabilities, by_view.mean(axis=0))
    # Numbers that do not fit the clip have no times.
    assert make_timeline(config, clip, np.ones((5, 3))) is None
    assert make_timeline(config, Clip("x.wav", "low", "x"), np.ones((6, 3))) is None


def test_a_file_that_is_gone_broken_or_shorter_is_named_and_the_rest_is_shown(tmp_path):
    clips = [write_tones(tmp_path, f"{n}.wav", [300, 300]) for n in range(4)]
    (tmp_path / "0.wav").unlink()
    (tmp_path / "1.wav").write_bytes(b"not audio")
    soundfile.write(tmp_path / "2.wav", np.zeros(8), tiny.RATE)
    late = Clip(**{**vars(clips[2]), "start": 1.0})
    clips[2] = late
    predictions = predict(*(4 * [4 * [[0.0, 1.0, 0.0]]]))
    gone, broken, shorter, fine = collect_mistakes(
        make_run(tmp_path, *clips), clips, predictions
    )
    assert gone.problem == (
        "The audio file is no longer there, so it cannot be shown or played."
    )
    assert broken.problem.startswith("The audio file cannot be read: ")
    assert str(tmp_path) not in broken.problem
    assert "shorter since it was scanned" in shorter.problem
    assert not fine.problem and fine.sound
    for mistake in (gone, broken, shorter):
        assert mistake.picture is None and mistake.sound == b""
    # Its probabilities are known all the same.
    assert len(gone.timeline.starts) == 4


def test_a_file_without_samples_and_any_other_failure_never_lose_a_report(
    tmp_path, monkeypatch
):
    clips = [write_tones(tmp_path, f"{n}.wav", [300, 300]) for n in range(2)]
    soundfile.write(tmp_path / "0.wav", np.zeros(0), tiny.RATE)
    predictions = predict(*(2 * [4 * [[0.0, 1.0, 0.0]]]))
    run = make_run(tmp_path, *clips)
    empty, fine = collect_mistakes(run, clips, predictions)
    assert "The audio file cannot be read: " in empty.problem
    assert fine.sound and not fine.problem

    def fail(*given):
        raise RuntimeError("no codec")

    monkeypatch.setattr(examples_of_mistakes, "encode_excerpt", fail)
    for mistake in collect_mistakes(run, clips, predictions)[1:]:
        assert mistake.problem == "The audio file cannot be read: no codec."


def test_a_clip_of_stored_features_need_not_be_scanned(tmp_path):
    write_tones(tmp_path, "x.wav", [600])
    clip = Clip("x.wav", "low", "x", split="test")
    (found,) = collect_mistakes(
        make_run(tmp_path, clip), [clip], predict([[0.0, 1.0, 0.0]])
    )
    assert hear(found.sound)[1] == pytest.approx(600, abs=2)
    assert found.note == "1\N{NO-BREAK SPACE}s" and found.timeline is None


def test_clips_without_labels_have_no_mistakes(tmp_path):
    clip = Clip("x.wav", "", "x", split="test")
    run = make_run(tmp_path, clip)
    assert collect_mistakes(run, [clip], predict([[0.0, 1.0, 0.0]])) == []


@pytest.mark.parametrize("rate, own", [(44100, 44100), (96000, 48000), (4000, 8000)])
def test_an_excerpt_has_a_sample_rate_of_mp3(rate, own):
    time = np.arange(rate) / rate
    sound = encode.encode_excerpt(np.sin(2 * np.pi * 440 * time) * 0.5, rate)
    assert sound.mime == "audio/mpeg"
    assert soundfile.info(io.BytesIO(sound.data)).samplerate == own
    length, frequency = hear(sound.data)
    assert length == pytest.approx(1.0, abs=0.01)
    assert frequency == pytest.approx(440, abs=2)


def test_without_mp3_an_excerpt_is_ogg_vorbis_even_if_it_is_a_minute_long(monkeypatch):
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"OGG": "OGG"})
    waveform = np.random.default_rng(0).normal(0, 0.1, 60 * 8000).astype(np.float32)
    sound = encode.encode_excerpt(waveform, 8000)
    assert sound.mime == "audio/ogg" and sound.data[:4] == b"OggS"
    assert hear(sound.data)[0] == pytest.approx(60.0, abs=0.01)
