"""The page of asc-tf explore: whole, right, harmless, and never of the test part."""

import base64
import csv
import dataclasses
import html
import html.parser
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from asc_tf import cli, datasets
from asc_tf.config import Audio, Augment, Dataset
from asc_tf.explore.corpus import MAX_SHOWN, MIN_SHOWN, _recordings_first, seconds_shown
from asc_tf.frontend.log_axis import hz_to_octaves
from asc_tf.manifest import Clip, Manifest
from asc_tf.report import (
    explore_axes,
    explore_counts,
    explore_figures,
    explore_page,
    explore_settings,
)

MARK = explore_page.MARK


class Page(html.parser.HTMLParser):
    """The tags of a page, each closed, its texts and its tables."""

    VOID = ("meta", "img", "source", "wbr", "br")

    def __init__(self, text):
        super().__init__()
        self.text, self.open, self.seen, self.words = text, [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def players(self):
        """The sounds of the page: name, samples `[samples(, channels)]`, rate."""
        for tag, attrs in self.seen:
            if tag == "audio":
                kind, content = attrs["src"].split(",")
                assert kind == "data:audio/wav;base64"
                sound = io.BytesIO(base64.b64decode(content))
                yield attrs["aria-label"], *soundfile.read(sound, dtype="float32")

    def numbers(self, title):
        """The table of numbers below a heading: rows of texts."""
        part = self.text.split(f"<h2>{title}</h2>")[1].split("</section>")[0]
        rows = re.findall(r"<tr>(.*?)</tr>", part.split("<summary>Numbers")[1], re.S)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
        return [[re.sub("<.*?>", "", cell) for cell in row] for row in cells]


def settings(folder, target, **changes):
    """A configuration file for a corpus of `tiny`."""
    config = tiny.config(folder, **changes)
    target.write_text(config.to_toml(), encoding="utf-8")
    return target


def run(tmp_path, folder, *flags, **changes):
    """Exit code, and the page or None."""
    config = settings(folder, tmp_path / "config.toml", **changes)
    output = tmp_path / "page.html"
    code = cli.main(["explore", f"--config={config}", f"--output={output}", *flags])
    return code, Page(output.read_text(encoding="utf-8")) if output.exists() else None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    code, page = run(
        tmp_path_factory.mktemp("page"), corpus, augment__copies=3, train__seed=5
    )
    assert code == 0
    return page


def examples(page, label):
    """The part of the page with the examples of a label."""
    return page.text.split(f"<summary><b>{label}</b>")[1].split("</details>")[0]


def test_the_page_is_one_file_that_fetches_nothing(made):
    for _, attrs in made.seen:
        for name in ("src", "href", "srcset", "poster", "action"):
            assert attrs.get(name, "#")[:1] == "#" or attrs[name].startswith("data:")
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in made.seen}
    css = "".join(re.findall("<style>(.*?)</style>", made.text, re.S))
    assert "url(" not in css and "@import" not in css
    assert MARK in made.text[:300]


def test_each_label_has_three_examples_to_see_and_to_hear(made):
    for label in tiny.LABELS:
        part = examples(made, label)
        assert part.count("<audio ") == part.count("<svg ") == 3
        assert part.count("<image ") == 6
        for word in ("waveform", "log-frequency", "mel spectrogram", "Hz", "time (s)"):
            assert part.count(word) >= 3


def test_a_player_holds_the_samples_of_its_clip(made, corpus):
    mixed = 0
    for name, samples, rate in made.players():
        if (corpus / name).is_file():
            whole, own_rate = soundfile.read(corpus / name, dtype="float32")
            assert rate == own_rate == tiny.RATE
            np.testing.assert_array_equal(samples, whole)
            mixed += 1
    assert mixed == 9


def test_examples_are_of_different_training_recordings(made, corpus):
    dataset = tiny.config(corpus).dataset
    rows = {clip.path: clip for clip in datasets.load(dataset).clips}
    chosen = [rows[name] for name, _, _ in made.players() if name in rows]
    assert {clip.split for clip in chosen} == {"train"}
    assert len({clip.identifier for clip in chosen}) == len(chosen) == 9


def test_a_second_clip_of_a_recording_comes_after_all_first_ones():
    clips = [Clip(f"{n}.wav", "x", name) for n, name in enumerate("aabac")]
    ordered = _recordings_first(clips)
    assert "".join(clip.identifier for clip in ordered) == "abcaa"


def test_labels_are_counted_by_split_and_before_and_after_copies(made, corpus):
    clips = datasets.load(tiny.config(corpus).dataset).clips

    def count(label, split):
        return sum(clip.label == label and clip.split == split for clip in clips)

    head, *rows, total = made.numbers("All clips by split")
    assert head == ["label", "train", "validation", "test", "sum"]
    for label, *numbers in rows:
        wanted = [count(label, split) for split in head[1:4]]
        assert [int(number) for number in numbers] == [*wanted, sum(wanted)]
    assert total[-1] == "60"
    head, *rows, _ = made.numbers("Training examples in an epoch")
    assert head == ["label", "before augmentation", "added by copies", "sum"]
    for label, *numbers in rows:
        n = count(label, "train")
        assert [int(number) for number in numbers] == [n, 2 * n, 3 * n]


def test_versions_of_a_clip_differ_and_the_changed_waveform_can_be_heard(
    corpus, tmp_path
):
    code, page = run(tmp_path, corpus, augment__time_roll=True)
    assert code == 0 and "Typical settings" not in page.text
    sounds = {name: samples for name, samples, _ in page.players()}
    plain = np.sort(sounds["as it is"])
    for number in (1, 2, 3, 4):
        version = sounds[f"version {number}"]
        assert not np.array_equal(version, sounds["as it is"])
        np.testing.assert_array_equal(np.sort(version), plain)


def test_a_version_whose_waveform_is_unchanged_has_no_player(made):
    sounds = [name for name, _, _ in made.players()]
    assert "as it is" in sounds and "version 1" not in sounds
    assert made.text.count("waveform unchanged, features changed") >= 4


def test_what_is_not_configured_is_shown_with_typical_settings_and_says_so(
    corpus, tmp_path
):
    off = {"time_masks": 0, "frequency_masks": 0, "mixup_alpha": 0.0}
    code, page = run(tmp_path, corpus, **{f"augment__{k}": v for k, v in off.items()})
    assert code == 0
    assert page.text.count("Typical settings") == 2
    assert {"version 1", "version 4"} <= {name for name, _, _ in page.players()}
    typical, is_typical = explore_settings.for_versions(Augment(), 100, 64)
    assert is_typical and typical.time_roll and typical.time_masks
    assert explore_settings.for_versions(Augment(gain_db=3.0), 1, 1)[1] is False
    assert explore_settings.for_mixtures(Augment(mixup_alpha=0.2))[1] is False


def test_mixed_targets_are_shares_of_the_two_labels_that_sum_to_1(made):
    part = made.text.split("<h2>Mixup</h2>")[1]
    mixtures = part.split("<b>mixture ")[1:]
    assert len(mixtures) == 3
    for mixture in mixtures:
        shares = re.findall(r'scope="row">(\w+)</th><td[^>]*>([\d.]+)</td>', mixture)
        assert len({label for label, _ in shares}) == 2
        assert sum(float(share) for _, share in shares) == pytest.approx(1, abs=1e-9)
        assert 0.02 <= float(shares[0][1]) <= 0.98


def test_the_same_seed_makes_the_same_page_and_another_does_not(made, corpus, tmp_path):
    _, again = run(tmp_path, corpus, augment__copies=3, train__seed=5)
    assert again.text == made.text
    _, other = run(tmp_path, corpus, augment__copies=3, train__seed=6)
    assert examples(other, "hum") != examples(made, "hum")


def test_no_file_of_the_test_part_is_opened(corpus, tmp_path, monkeypatch):
    copied = shutil.copytree(corpus, tmp_path / "corpus")
    for clip in datasets.load(tiny.config(copied).dataset).clips:
        if clip.split != "train":
            (copied / clip.path).write_bytes(b"not audio at all")
    code, page = run(tmp_path, copied, train__segments="all")
    assert code == 0 and "left out" not in page.text


def test_a_bad_clip_is_named_and_another_one_taken(corpus, tmp_path, capsys):
    copied = shutil.copytree(corpus, tmp_path / "corpus")
    clips = datasets.load(tiny.config(copied).dataset).clips
    mine = [c.path for c in clips if c.label == "hum" and c.split == "train"]
    for path in mine[:-3]:
        (copied / path).write_bytes(b"RIFF")
    silent, _ = soundfile.read(copied / mine[-3])
    soundfile.write(copied / mine[-3], 0 * silent, tiny.RATE)
    code, page = run(tmp_path, copied)
    assert code == 0
    said = capsys.readouterr().err
    for path in mine[:-2]:
        assert f"left out: {path}: " in said
    assert "silent" in said
    assert examples(page, "hum").count("<audio ") == 2
    table = page.text.split("<h2>Clips left out</h2>")[1]
    assert mine[0].split("/")[-1] in re.sub("<.*?>", "", table)


def test_a_corpus_without_a_usable_clip_fails(corpus, tmp_path, capsys):
    copied = shutil.copytree(corpus, tmp_path / "corpus")
    for path in copied.rglob("*.wav"):
        path.write_bytes(b"RIFF")
    assert run(tmp_path, copied) == (1, None)
    assert "no training clip can be used" in capsys.readouterr().err


def test_names_are_text_on_the_page_and_never_markup(tmp_path):
    evil = "<script>alert(1)<"
    shutil.copytree(tiny.write_corpus(tmp_path / "own"), tmp_path / "corpus")
    (tmp_path / "corpus" / "hum").rename(tmp_path / "corpus" / evil)
    code, page = run(tmp_path, tmp_path / "corpus")
    assert code == 0
    assert "script" not in {tag for tag, _ in page.seen}
    assert html.escape(evil) in page.text and evil not in page.text
    bars = explore_counts.stacked_bars(
        explore_counts.Counts("t", "", ("<i>", '"b"'), ((evil, (1, 2)),))
    )
    assert "<script" not in bars and 'title=""' not in bars and "<i>" not in bars


def table_of_clips(folder, fields, rate=tiny.RATE):
    """A corpus of a table: a clip per row, of `samples` and `label`."""
    folder.mkdir()
    with (folder / "table.csv").open("w", newline="") as stream:
        names = ("filename", "label", "device", "split")
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        for number, (samples, label, device, split) in enumerate(fields):
            soundfile.write(folder / f"{number}.wav", samples, rate)
            row = (f"{number}.wav", label, device, split)
            writer.writerow(dict(zip(names, row, strict=True)))
    return {
        "dataset__name": "csv",
        "dataset__csv_file": "table.csv",
        "dataset__split_column": "split",
        "dataset__device_column": "device",
        "dataset__identifier_pattern": "",
    }


def noise(samples, channels=1):
    shape = (samples, channels) if channels > 1 else samples
    return 0.1 * np.random.default_rng(samples).standard_normal(shape)


def test_devices_stack_and_odd_clips_are_drawn(tmp_path):
    rate = tiny.RATE
    almost_silent = np.zeros(rate)
    almost_silent[7] = 2**-15
    fields = [
        (noise(rate // 50), "short", "a", "train"),
        (noise(rate // 40, 2), "short", "b", "train"),
        (noise(rate, 2), "short", "b", "train"),
        (noise(65 * rate), "long", "a", "train"),
        (almost_silent, "long", "", "train"),
        (noise(rate), "long", "a", "validation"),
        (noise(rate), "short", "a", "test"),
    ]
    changes = table_of_clips(tmp_path / "odd", fields)
    code, page = run(tmp_path, tmp_path / "odd", **changes)
    assert code == 0
    head, *rows, total = page.numbers("Training clips by device")
    assert head == ["label", "unknown", "a", "b", "sum"]
    by_label = {row[0]: row[1:] for row in rows}
    assert by_label == {"short": ["0", "1", "2", "3"], "long": ["1", "1", "0", "2"]}
    assert total[1:] == ["1", "2", "2", "5"]
    lengths = {name: len(samples) for name, samples, _ in page.players()}
    assert lengths["0.wav"] == rate // 50 and lengths["1.wav"] == rate // 40
    assert lengths["3.wav"] == 4 * rate
    assert "NaN" not in page.text and "nan" not in re.findall(r'd="(.*?)"', page.text)


def test_stereo_is_heard_in_stereo_and_split_is_counted_three_times(tmp_path):
    fields = [
        (noise(4000 + n, 1 + n % 2), label, "", split)
        for n, (label, split) in enumerate(
            (label, split)
            for label in ("x", "y")
            for split in ("train", "train", "validation", "test")
        )
    ]
    changes = table_of_clips(tmp_path / "two", fields)
    folder = tmp_path / "two"
    code, page = run(tmp_path, folder, audio__channels="stereo", **changes)
    assert code == 0
    assert {samples.shape[1] for _, samples, _ in page.players()} == {2}
    code, page = run(tmp_path, folder, audio__channels="split", **changes)
    _, *rows, _ = page.numbers("Training examples in an epoch")
    assert [row[1:] for row in rows] == [["4", "4"]] * 2
    code, page = run(tmp_path, folder, audio__channels="mid_side", **changes)
    assert code == 0


def test_all_segments_of_a_clip_count_where_training_takes_them_all(tmp_path):
    fields = [
        (noise(10000), "x", "", "train"),
        (noise(100), "y", "", "train"),
        (noise(100), "x", "", "validation"),
        (noise(100), "y", "", "test"),
    ]
    changes = table_of_clips(tmp_path / "all", fields)
    changes |= {"train__segments": "all", "augment__copies": 2}
    _, page = run(tmp_path, tmp_path / "all", **changes)
    _, *rows, _ = page.numbers("Training examples in an epoch")
    # Segments of 4000 samples.
    assert rows == [["x", "3", "3", "6"], ["y", "1", "1", "2"]]
    changes["audio__last_segment"] = "drop"
    _, page = run(tmp_path, tmp_path / "all", **changes)
    _, *rows, _ = page.numbers("Training examples in an epoch")
    assert rows == [["x", "2", "2", "4"], ["y", "1", "1", "2"]]


def test_verified_and_unverified_clips_stack():
    clips = tuple(
        Clip(f"{n}.wav", "x", str(n), verified=verified, split=split)
        for n, (verified, split) in enumerate(
            [("1", "train"), ("0", "train"), ("1", "validation"), ("", "test")]
        )
    )
    counts = explore_counts.by_verification(Manifest(clips, ("x", "y")))
    assert counts.groups == ("verified", "not verified")
    assert counts.rows == (("x", (2, 1)), ("y", (0, 0)))
    bare = tuple(dataclasses.replace(clip, verified="") for clip in clips)
    assert explore_counts.by_verification(Manifest(bare, ("x",))) is None
    assert explore_counts.by_device(Manifest(bare, ("x",))) is None


@pytest.mark.shared_data
def test_the_chart_of_verified_clips_has_all_real_training_clips_of_every_fold(
    shared_data,
):
    folder = str(shared_data / "fsdkaggle2018")
    for fold in (1, 2):
        settings = {"protocol": "kfold", "folds": 2, "fold": fold}
        manifest = datasets.load(Dataset("fsdkaggle2018", folder, **settings))
        counts = explore_counts.by_verification(manifest)
        assert counts.groups == ("verified", "not verified")
        assert len(counts.rows) == 41
        numbers = [numbers for _, numbers in counts.rows]
        assert [sum(column) for column in zip(*numbers, strict=True)] == [3710, 5763]


def test_many_devices_share_a_last_group_and_none_is_lost():
    clips = tuple(
        Clip(f"{n}.wav", "x", str(n), device=f"d{n % 30}", split="train")
        for n in range(60)
    )
    counts = explore_counts.by_device(Manifest(clips, ("x",)))
    assert len(counts.groups) == explore_counts.MAX_GROUPS
    assert counts.groups[-1] == "others" and sum(counts.rows[0][1]) == 60


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "linear", "deltas": 2},
        {"kind": "mfcc", "n_mfcc": 8, "standardize": "per_position"},
        {"kind": "pcen", "standardize": "per_clip", "center": False},
        {"image_frames": 24, "image_bands": 32, "standardize": "none"},
        {"logarithm": "natural", "max_frames": 9, "waveform_range": "min_max"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_kind_of_features_is_drawn(corpus, tmp_path, changes):
    own = {f"frontend__{key}": value for key, value in changes.items()}
    code, page = run(tmp_path, corpus, **own)
    assert code == 0
    assert page.text.count("<b>version ") == 4 and page.text.count("<b>mixture ") == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"random_channel": True, "time_reverse": True, "noise": "white"},
        {"mixstyle_alpha": 0.4, "frequency_warp": 0.2, "eq_tilt_db": 6.0},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_augmentation_is_shown(corpus, tmp_path, changes):
    own = {f"augment__{key}": value for key, value in changes.items()}
    code, page = run(tmp_path, corpus, **own)
    assert code == 0
    for key in changes:
        assert f"augment.{key}" in "".join(page.words)


def test_what_explore_did_not_write_is_not_replaced(corpus, tmp_path, capsys):
    page = tmp_path / "page.html"
    page.write_text("my own notes", encoding="utf-8")
    code, left = run(tmp_path, corpus)
    assert code == 2 and left.text == "my own notes"
    assert "did not write" in capsys.readouterr().err
    page.write_text(f"<html>{MARK}</html>", encoding="utf-8")
    code, new = run(tmp_path, corpus)
    assert code == 0 and "Mixup" in new.text
    assert not list(tmp_path.glob(".*partial*"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output={}/none/page.html"], "there is no folder"),
        (["--output={}"], "a folder; give the name of a file"),
        (["page.html"], "--config=page.html: no such file"),
        (["--output="], "--output is missing"),
        (["--config=none.toml"], "no such file"),
        (["--dataset.name=folder", "--dataset.dir={}/none"], "no such folder"),
        (["--outptu=x"], "unknown flag; did you mean --output=x?"),
        (["--frontend.n_fft=1000"], "power of two"),
    ],
)
def test_wrong_arguments_are_refused_before_tensorflow_is_imported(
    tmp_path, flags, message
):
    code = (
        "import sys\n"
        "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from asc_tf import cli\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    given = [flag.format(tmp_path) for flag in flags]
    done = subprocess.run(
        [sys.executable, "-c", code, "explore", *given],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("asc-tf explore: ") and message in done.stderr
    assert not os.listdir(tmp_path)


def test_a_failed_write_leaves_the_older_page(corpus, tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text(MARK, encoding="utf-8")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    code, page = run(tmp_path, corpus)
    assert code == 1 and page.text == MARK


def test_a_wav_file_holds_16_bit_samples_clipped_at_full_scale():
    waveform = np.array([0, 0.5, 1.5, -1.5, 2**-15], np.float32)
    read, rate = soundfile.read(io.BytesIO(explore_page.wav_file(waveform, 8000)))
    np.testing.assert_array_equal(read, [0, 0.5, 1 - 2**-15, -1, 2**-15])
    assert rate == 8000


def test_more_examples_are_shown_for_a_shorter_time():
    audio = Audio(sample_rate=32000)
    assert seconds_shown(3, audio) == MAX_SHOWN
    assert seconds_shown(150, audio) == MIN_SHOWN
    assert seconds_shown(30, audio) == 3.0


def test_a_tone_is_drawn_at_its_place_on_the_logarithmic_axis():
    spectrum = np.zeros((5, 513))
    spectrum[:, 64] = 1
    rows = explore_figures.log_rows(spectrum, 40.0, 16000.0, 31.25, 96)
    place = (rows[0].argmax() + 0.5) / 96
    assert 40 * (16000 / 40) ** place == pytest.approx(2000, rel=0.05)
    shares = {text: share for share, text in explore_axes.log_ticks(40, 16000)}
    assert shares["2k"] == pytest.approx(place, abs=0.01)


def test_an_image_has_the_first_row_at_the_bottom_and_is_reduced_to_its_size():
    from matplotlib.image import imread

    values = np.zeros((1000, 300))
    values[:, 0] = 300 / explore_figures.ROWS
    image = imread(io.BytesIO(explore_figures.image_png(values, 0, 1)))
    assert image.shape[:2] == (explore_figures.ROWS, explore_figures.COLUMNS)
    bright = image[..., :3].sum(axis=2)
    assert bright[-1].min() > bright[:-1].max()


def test_ticks_are_round_and_apart():
    assert [t for _, t in explore_axes.time_ticks(4.0)] == ["0", "1", "2", "3", "4"]
    assert [t for _, t in explore_axes.time_ticks(0.05)][:2] == ["0", "0.01"]
    for ticks in (
        explore_axes.log_ticks(40, 24000),
        explore_axes.linear_ticks(0, 22050),
        explore_axes.octave_ticks(0, 11025, hz_to_octaves),
        explore_axes.mel_ticks(0, 16000, 64, lambda f: np.log1p(f / 700)),
    ):
        shares = [share for share, _ in ticks]
        assert len(ticks) >= 4 and min(np.diff(shares)) >= explore_axes.LEAST
        assert shares[0] >= 0 and shares[-1] <= 1
