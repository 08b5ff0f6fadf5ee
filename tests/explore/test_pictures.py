"""Pictures of clips show true values: seconds, Hz and dB at their places."""

import io

import numpy as np
import pytest
import tiny
from PIL import Image as Pixels

from asc_tf.explore import renderer
from asc_tf.explore.renderer import ClipRenderer
from asc_tf.frontend.mel import hz_to_mel
from asc_tf.manifest import Clip
from asc_tf.report import clip_figures
from asc_tf.report.clip_figures import BandAxis, Image, Picture, Wave, to_log_frequency

CLIP = Clip("x.wav", "x", "x", samples=tiny.RATE, sample_rate=tiny.RATE)
OTHER = Clip("y.wav", "y", "y", samples=tiny.RATE, sample_rate=tiny.RATE)


@pytest.fixture
def drawn(monkeypatch):
    """What a renderer draws, as arguments of `make_figure`, not drawn."""
    made = []

    def draw(*args):
        made.append(args)
        return Picture(b"", b"")

    monkeypatch.setattr(renderer, "draw", draw)
    return made


def tone(frequency, seconds=0.5):
    time = np.arange(round(seconds * tiny.RATE)) / tiny.RATE
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def make_renderer(tmp_path, **changes):
    made = ClipRenderer(tiny.config(tmp_path, **changes))
    made.calibrate([tone(200) + tone(900), tone(3000)])
    return made


def brightest(axes, to_hz):
    """Frequency in Hz at the middle of the row with the highest values."""
    (image,) = axes.images
    values = image.get_array()
    _, _, low, high = image.get_extent()
    return to_hz(
        low + (values.mean(axis=1).argmax() + 0.5) / len(values) * (high - low)
    )


def ticks(axis, low, high):
    """The labels on an axis and their places."""
    places = [place for place in axis.get_ticklocs() if low <= place <= high]
    return dict(
        zip(axis.get_major_formatter().format_ticks(places), places, strict=True)
    )


def test_a_tone_is_drawn_at_its_frequency_and_level(tmp_path, drawn):
    made = make_renderer(tmp_path, frontend__n_fft=1024, frontend__n_mels=64)
    for frequency in (400, 2000, 3600):
        made.render_example(CLIP, tone(frequency, 1.0), 0.0)
        wave, log, mel, bar = clip_figures.make_figure(*drawn[-1]).axes
        assert brightest(log, np.exp) == pytest.approx(frequency, rel=0.05)
        mels = brightest(mel, lambda place: place)
        assert mels == pytest.approx(float(hz_to_mel(frequency, "slaney")), rel=0.05)
        for axes in (log, mel):
            assert axes.images[0].get_clim() == (-80, 0)
            assert axes.images[0].get_array().max() <= 0
            assert axes.get_xlim() == wave.get_xlim() == (0, 1)
        assert bar.get_ylim() == (-80, 0)
    log_ticks = ticks(log.yaxis, *log.get_ylim())
    assert log_ticks == {
        name: pytest.approx(np.log(hertz))
        for name, hertz in (("100", 100), ("300", 300), ("1k", 1000), ("3k", 3000))
    }
    mel_ticks = ticks(mel.yaxis, *mel.get_ylim())
    assert mel_ticks["1k"] == pytest.approx(float(hz_to_mel(1000, "slaney")))
    assert log.get_ylim() == pytest.approx((np.log(40), np.log(4000)))
    assert mel.get_xlabel() == "time (s)"
    assert (log.get_ylabel(), mel.get_ylabel()) == ("Hz (log)", "Hz (mel)")
    assert ticks(mel.xaxis, 0, 1)["1"] == 1
    assert ticks(wave.yaxis, *wave.get_ylim())["0.5"] == 0.5


@pytest.mark.parametrize(
    ("changes", "unit", "low", "high"),
    [
        ({"kind": "linear", "deltas": 2}, "Hz", 0, 4000),
        ({"kind": "linear", "frequency_axis": "logarithmic"}, "Hz (log)", 0, None),
        (
            {"kind": "mfcc", "n_mfcc": 8, "standardize": "per_position"},
            "coeff",
            -0.5,
            7.5,
        ),
        (
            {"kind": "pcen", "standardize": "per_clip", "center": False},
            "Hz (mel)",
            0,
            None,
        ),
        (
            {"image_frames": 24, "image_bands": 32, "standardize": "none"},
            *("Hz (mel)", 0, None),
        ),
        (
            {"logarithm": "natural", "max_frames": 9, "waveform_range": "min_max"},
            *("Hz (mel)", 0, None),
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_every_kind_of_features_is_drawn(tmp_path, drawn, changes, unit, low, high):
    own = {f"frontend__{key}": value for key, value in changes.items()}
    made = make_renderer(tmp_path, **own)
    versions = made.render_versions(CLIP, tone(300), tone(700))
    assert len(versions.originals) == 1 and len(versions.augmented) == 4
    mixtures = made.render_mixtures((CLIP, tone(300)), (OTHER, tone(700)))
    assert len(mixtures.originals) == 2 and len(mixtures.augmented) == 3
    assert len(drawn) == 10
    *_, features, bar = clip_figures.make_figure(*drawn[0]).axes
    assert features.get_ylabel().startswith(unit)
    bottom, top = features.get_ylim()
    assert bottom == pytest.approx(low, abs=2) and top == pytest.approx(high or top)
    assert len(ticks(features.yaxis, bottom, top)) >= 3
    assert bar.get_ylim() == features.images[0].get_clim()
    seconds = 9 * 128 / tiny.RATE if "max_frames" in changes else 0.5
    assert features.get_xlim() == pytest.approx((0, seconds))


def test_of_two_clips_of_one_label_a_mixture_is_of_that_label(tmp_path, drawn):
    made = make_renderer(tmp_path)
    mixtures = made.render_mixtures((CLIP, tone(300)), (CLIP, tone(700)))
    assert mixtures.augmented[0].targets == {"x": pytest.approx(1)}


def test_a_spectrum_of_a_tone_is_converted_without_losing_it():
    for place in range(2, 512):
        spectrum = np.zeros((5, 513))
        spectrum[:, place] = 1
        rows = to_log_frequency(spectrum, 40 / 31.25, 96)
        assert rows.shape == (5, 96) and rows.max() == 1
        share = (np.flatnonzero(rows[0]).mean() + 0.5) / 96
        assert 40 * (16000 / 40) ** share == pytest.approx(
            31.25 * place, rel=0.25 / place + 0.04
        )


def test_a_picture_is_two_layers_of_one_size_with_the_first_band_at_the_bottom():
    values = np.zeros((1000, 300))
    values[:, :100] = 1
    image = Image(values, "title", BandAxis("Hz", 0.0, 300.0))
    picture = clip_figures.draw([Wave(tone(100)), image], 0.5, (0.0, 1.0))
    data, text = (Pixels.open(io.BytesIO(png)) for png in (picture.data, picture.text))
    assert data.format == text.format == "PNG" and data.size == text.size
    assert data.size[0] == 2 * clip_figures.WIDTH
    assert len(picture.data) + len(picture.text) < 60_000
    data, text = (
        np.asarray(layer.convert("RGBA")).astype(int) for layer in (data, text)
    )
    # What is drawn on one layer leaves the other free.
    assert not ((data[..., 3] > 0) & (text[..., 3] > 0)).any()
    assert text[..., :3].max() == 0 and text[..., 3].max() == 255
    figure = clip_figures.make_figure([Wave(tone(100)), image], 0.5, (0.0, 1.0))
    left, bottom, right, top = np.round(figure.axes[1].bbox.extents).astype(int)
    shown = data[len(data) - top : len(data) - bottom, left:right, :3].sum(axis=2)
    rows = shown.mean(axis=1)
    assert (rows[: len(rows) * 6 // 10] < 60).all()
    assert (rows[len(rows) * 7 // 10 :] > 600).all()


def test_silence_is_a_line_through_the_whole_waveform():
    image = Image(np.zeros((4, 4)), "title", BandAxis("Hz", 0.0, 4.0))
    panels = [Wave(np.zeros(tiny.RATE, np.float32)), image]
    picture = clip_figures.draw(panels, 1.0, (0.0, 1.0))
    data = np.asarray(Pixels.open(io.BytesIO(picture.data)).convert("RGBA"))
    figure = clip_figures.make_figure(panels, 1.0, (0.0, 1.0))
    left, bottom, right, top = np.round(figure.axes[0].bbox.extents).astype(int)
    wave = data[len(data) - top : len(data) - bottom, left:right, 3]
    assert (wave.max(axis=0) > 100).mean() > 0.98
