"""The page of asc-tf explore: whole, right, harmless, and never of the test split."""

import base64
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from pages import Page

from asc_tf import cli, datasets
from asc_tf.config import Audio, Augment
from asc_tf.explore import renderer
from asc_tf.explore.corpus import Corpus, put_recordings_first
from asc_tf.explore.page_content import (
    MAX_SHOWN,
    MIN_SHOWN,
    choose_seconds,
    count_labels,
)
from asc_tf.explore.renderer import encode_wav
from asc_tf.explore.settings import (
    choose_mixup_settings,
    choose_version_settings,
    list_settings,
)
from asc_tf.manifest import Clip
from asc_tf.report import clip_figures
from asc_tf.report.clip_figures import Picture
from asc_tf.report.explore_page import MARK

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAA"
    "SUVORK5CYII="
)


@pytest.fixture(autouse=True)
def _blank_pictures(monkeypatch):
    """Spares all tests but those of `made` and of test_pictures the drawing."""
    picture = Picture(PIXEL, PIXEL)
    monkeypatch.setattr(renderer, "draw", lambda *args: picture)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    """A page of which one picture of each kind is drawn."""
    drawn, draw = {}, renderer.draw

    def draw_first(panels, *given):
        kind = tuple(getattr(panel, "title", "") for panel in panels)
        if kind not in drawn:
            drawn[kind] = draw(panels, *given)
        return drawn[kind]

    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renderer, "draw", draw_first)
        code, page = run(folder, corpus, augment__copies=3, train__seed=5)
    assert code == 0
    return page


def run(tmp_path, folder, *flags, **changes):
    """Exit code, and the page or None."""
    config = tmp_path / "config.toml"
    config.write_text(tiny.config(folder, **changes).to_toml(), encoding="utf-8")
    output = tmp_path / "page.html"
    code = cli.main(["explore", f"--config={config}", f"--output={output}", *flags])
    return code, Page(output.read_text(encoding="utf-8")) if output.exists() else None


def players(page):
    """The sounds of a page: name, samples `[samples(, channels)]`, sample rate."""
    for player in page.all("audio"):
        kind, content = player.attributes["src"].split(",")
        assert kind == "data:audio/wav;base64"
        sound = io.BytesIO(base64.b64decode(content))
        yield player.attributes["aria-label"], *soundfile.read(sound, dtype="float32")


def examples(page, label):
    """The element with the examples of a label."""
    folds = page.section("Examples of each label").all("details", "label")
    (found,) = (fold for fold in folds if fold.one("summary").one("b").text == label)
    return found


def titles(element):
    """The titles of the cards."""
    return [caption.all("b")[0].text for caption in element.all("figcaption")]


def numbers(page, heading):
    """The unfolded table of numbers below a chart."""
    return page.section(heading).one("details").rows()


def counts(folder, **changes):
    """Label counts by title: names of the groups, and the numbers of each label."""
    config = tiny.config(folder, **changes)
    corpus = Corpus(config, datasets.load(config.dataset))
    return {each.title: (each.groups, dict(each.rows)) for each in count_labels(corpus)}


def test_the_page_is_one_file_that_fetches_nothing(made):
    made.check_harmless()
    assert MARK in made.source[:300]
    assert made.headings == [
        *("All clips by split", "Training examples in an epoch"),
        *("Examples of each label", "Augmentation", "Mixup"),
    ]
    assert made.one("h1").text == "folder: what a model is trained on"
    facts = made.one("header").one("p").text
    assert "3 labels · 42 training clips · sample rate 8000 Hz · segment 0.5 s" in facts
    size = len(made.source.encode()) / 1e3
    said = float(facts.split("this page ")[1].removesuffix(" kB"))
    assert said == pytest.approx(size, abs=1)


def test_each_label_has_three_examples_to_see_and_to_hear(made):
    for label in tiny.LABELS:
        element = examples(made, label)
        assert element.one("summary").text == f"{label} 3 of 14 training clips"
        assert len(element.all("audio")) == 3
        for layers in element.all("div", "layers"):
            data, text = layers.all("img")
            assert data.attributes["alt"].startswith("waveform, log-frequency spectro")
            assert data.attributes["width"] == text.attributes["width"] == "360"
            assert data.attributes["height"] == text.attributes["height"]


def test_a_player_holds_the_samples_of_its_clip(made, corpus):
    clips = {
        clip.path: clip for clip in datasets.load(tiny.config(corpus).dataset).clips
    }
    chosen = []
    for name, samples, rate in players(made):
        if name in clips:
            whole, own_rate = soundfile.read(corpus / name, dtype="float32")
            assert rate == own_rate == tiny.RATE
            np.testing.assert_array_equal(samples, whole)
            chosen.append(clips[name])
    assert {clip.split for clip in chosen} == {"train"}
    assert len({clip.identifier for clip in chosen}) == len(chosen) == 9


def test_a_second_clip_of_a_recording_comes_after_all_first_ones():
    clips = [Clip(f"{n}.wav", "x", name) for n, name in enumerate("aabac")]
    ordered = put_recordings_first(clips)
    assert [clip.path[0] for clip in ordered] == ["0", "2", "4", "1", "3"]


def test_labels_are_counted_by_split_and_before_and_after_copies(made, corpus):
    clips = datasets.load(tiny.config(corpus).dataset).clips

    def count(label, split):
        return sum(clip.label == label and clip.split == split for clip in clips)

    head, *rows, total = numbers(made, "All clips by split")
    assert head == ["label", "train", "validation", "test", "sum"]
    for label, *shown in rows:
        wanted = [count(label, split) for split in head[1:4]]
        assert [int(number) for number in shown] == [*wanted, sum(wanted)]
    assert total[0] == "all labels" and total[-1] == "60"
    head, *rows, _ = numbers(made, "Training examples in an epoch")
    assert head == ["label", "before augmentation", "added by copies", "sum"]
    for label, *shown in rows:
        n = count(label, "train")
        assert [int(number) for number in shown] == [n, 2 * n, 3 * n]
    stacks = made.section("Training examples in an epoch").all("div", "stack")
    bars = stacks[0].all("i")
    assert [bar.attributes["class"] for bar in bars] == ["g0", "g1"]
    assert [bar.attributes["style"] for bar in bars] == [
        "width: 33.33%",
        "width: 66.67%",
    ]
    assert bars[0].attributes["title"] == f"before augmentation: {rows[0][1]}"


def test_a_version_whose_waveform_is_unchanged_has_no_player(made):
    section = made.section("Augmentation")
    assert titles(section) == ["as it is", *(f"version {n}" for n in range(1, 5))]
    assert [name for name, _, _ in players(section)] == ["as it is"]
    notes = [caption.one("span").text for caption in section.all("figcaption")]
    assert notes[1:] == ["waveform unchanged, features changed"] * 4
    settings = section.one("div", "settings")
    names = [name.text for name in settings.all("dt")]
    values = [value.text for value in settings.all("dd")]
    assert dict(zip(names, values, strict=True)) == {
        "augment.time_masks": "1",
        "augment.time_mask_frames": "10",
        "augment.mask_fill": "zero",
        "augment.frequency_masks": "1",
        "augment.frequency_mask_bands": "3",
    }
    assert "standardized per band with statistics of the examples" in settings.text


def test_mixed_targets_are_shares_of_the_two_labels_that_sum_to_1(made):
    section = made.section("Mixup")
    cards = {card.all("b")[0].text: card for card in section.all("figure")}
    assert list(cards) == ["clip A", "clip B", *(f"mixture {n}" for n in (1, 2, 3))]
    for title, card in cards.items():
        shares = {label: float(share) for label, share in card.one("table").rows()}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-9)
        assert len(shares) == (1 if "clip" in title else 2)
        assert max(shares.values()) <= (1 if "clip" in title else 0.98)


def test_versions_of_a_clip_differ_and_the_changed_waveform_can_be_heard(
    corpus, tmp_path
):
    code, page = run(tmp_path, corpus, augment__time_roll=True)
    assert code == 0 and not page.all("p", "typical")
    sounds = {name: samples for name, samples, _ in players(page)}
    plain = np.sort(sounds["as it is"])
    for number in (1, 2, 3, 4):
        version = sounds[f"version {number}"]
        assert not np.array_equal(version, sounds["as it is"])
        np.testing.assert_array_equal(np.sort(version), plain)


def test_what_is_not_configured_is_shown_with_typical_settings_and_says_so(
    corpus, tmp_path
):
    off = {"time_masks": 0, "frequency_masks": 0, "mixup_alpha": 0.0}
    code, page = run(tmp_path, corpus, **{f"augment__{k}": v for k, v in off.items()})
    assert code == 0
    for heading in ("Augmentation", "Mixup"):
        assert "Typical settings." in page.section(heading).one("p", "typical").text
    assert {"version 1", "version 4"} <= {name for name, _, _ in players(page)}
    typical, is_typical = choose_version_settings(Augment(), 100, 64)
    assert is_typical and typical.time_roll and typical.time_masks
    assert list_settings(typical)["augment.gain_db"] == "6"
    assert choose_version_settings(Augment(gain_db=3.0), 1, 1)[1] is False
    assert choose_mixup_settings(Augment(mixup_alpha=0.2))[1] is False


def test_settings_name_a_folder_without_its_place():
    shown = list_settings(Augment(noise="folder", noise_dir="/home/me/noise"))
    assert shown["augment.noise_dir"] == "noise"


def test_the_same_seed_makes_the_same_page_and_another_does_not(made, corpus, tmp_path):
    def content(page):
        sounds = [player.attributes["src"] for player in page.all("audio")]
        return titles(page), sounds, page.section("Mixup").text

    _, again = run(tmp_path, corpus, augment__copies=3, train__seed=5)
    assert content(again) == content(made)
    _, other = run(tmp_path, corpus, augment__copies=3, train__seed=6)
    assert titles(examples(other, "hum")) != titles(examples(made, "hum"))


def test_no_file_of_the_test_split_is_opened(corpus, tmp_path):
    copied = shutil.copytree(corpus, tmp_path / "corpus")
    for clip in datasets.load(tiny.config(copied).dataset).clips:
        if clip.split != "train":
            (copied / clip.path).write_bytes(b"not audio at all")
    code, page = run(tmp_path, copied, train__segments="all")
    assert code == 0 and "Clips left out" not in page.headings


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
    assert sorted(titles(examples(page, "hum"))) == sorted(mine[-2:])
    _, *rows = page.section("Clips left out").rows()
    assert {path for path, _ in rows} == set(mine[:-2])


def test_a_corpus_without_a_usable_clip_fails(corpus, tmp_path, capsys):
    copied = shutil.copytree(corpus, tmp_path / "corpus")
    for path in copied.rglob("*.wav"):
        path.write_bytes(b"RIFF")
    assert run(tmp_path, copied) == (1, None)
    assert "no training clip can be used" in capsys.readouterr().err


def write_table(folder, rows):
    """A corpus of a table: a clip per row, of samples, label, device and split."""
    folder.mkdir()
    with (folder / "table.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("filename", "label", "device", "split"))
        for number, (samples, *names) in enumerate(rows):
            soundfile.write(folder / f"{number}.wav", samples, tiny.RATE)
            writer.writerow((f"{number}.wav", *names))
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


def test_names_are_text_on_the_page_and_never_markup(tmp_path):
    evil, device = "<script>alert(1)<", '"><img src=x onerror=alert(1)>'
    rows = [
        (noise(4000 + n), label, device, split)
        for n, (label, split) in enumerate(
            (label, split)
            for label in (evil, "x")
            for split in ("train", "validation", "test")
        )
    ]
    changes = write_table(tmp_path / "own", rows)
    code, page = run(tmp_path, tmp_path / "own", **changes)
    assert code == 0
    page.check_harmless()
    assert examples(page, evil)
    for heading in page.headings[:3]:
        assert evil in [row[0] for row in numbers(page, heading)]
    assert page.section("Training clips by device").one("li").text == f"{device} 2"
    assert all(image.attributes["src"].startswith("data:") for image in page.all("img"))


def test_devices_stack_and_odd_clips_are_drawn(tmp_path, monkeypatch):
    def draw(*args):
        clip_figures.make_figure(*args)
        return Picture(PIXEL, PIXEL)

    monkeypatch.setattr(renderer, "draw", draw)
    rate = tiny.RATE
    almost_silent = np.zeros(rate)
    almost_silent[7] = 2**-15
    rows = [
        (noise(rate // 50), "short", "a", "train"),
        (noise(rate // 40, 2), "short", "b", "train"),
        (noise(rate, 2), "short", "b", "train"),
        (noise(65 * rate), "long", "a", "train"),
        (almost_silent, "long", "", "train"),
        (noise(rate), "long", "a", "validation"),
        (noise(rate), "short", "a", "test"),
    ]
    changes = write_table(tmp_path / "odd", rows)
    with np.errstate(all="raise"):
        code, page = run(tmp_path, tmp_path / "odd", **changes)
    assert code == 0
    head, *shown, total = numbers(page, "Training clips by device")
    assert head == ["label", "unknown", "a", "b", "sum"]
    by_label = {row[0]: row[1:] for row in shown}
    assert by_label == {"short": ["0", "1", "2", "3"], "long": ["1", "1", "0", "2"]}
    assert total[1:] == ["1", "2", "2", "5"]
    lengths = {name: len(samples) for name, samples, _ in players(page)}
    assert lengths["0.wav"] == rate // 50 and lengths["1.wav"] == rate // 40
    assert lengths["3.wav"] == 4 * rate
    notes = {
        caption.one("b").text: caption.one("span").text
        for caption in examples(page, "long").all("figcaption")
    }
    begin, end = notes["3.wav"].split(" · ")[1].removesuffix(" s of 65 s").split(" to ")
    assert float(end) - float(begin) == 4 and "nan" not in page.text.lower()


def test_stereo_is_played_in_stereo_and_split_is_counted_three_times(tmp_path):
    rows = [
        (noise(4000 + n, 1 + n % 2), label, "", split)
        for n, (label, split) in enumerate(
            (label, split)
            for label in ("x", "y")
            for split in ("train", "train", "validation", "test")
        )
    ]
    folder = tmp_path / "two"
    changes = write_table(folder, rows)
    for channels, played in (("stereo", (2,)), ("mid_side", ())):
        code, page = run(tmp_path, folder, audio__channels=channels, **changes)
        assert code == 0
        assert {samples.shape[1:] for _, samples, _ in players(page)} == {played}
    groups, by_label = counts(folder, audio__channels="split", **changes)[
        "Training examples in an epoch"
    ]
    assert groups == ("before augmentation",) and by_label == {"x": (4,), "y": (4,)}


def test_all_segments_of_a_clip_count_where_training_takes_them_all(tmp_path):
    rows = [
        (noise(10000), "x", "", "train"),
        (noise(100), "y", "", "train"),
        (noise(100), "x", "", "validation"),
        (noise(100), "y", "", "test"),
    ]
    changes = write_table(tmp_path / "all", rows)
    changes |= {"train__segments": "all", "augment__copies": 2}
    # Segments of 4000 samples.
    for last_segment, n in (("align", 3), ("drop", 2)):
        changes["audio__last_segment"] = last_segment
        _, by_label = counts(tmp_path / "all", **changes)[
            "Training examples in an epoch"
        ]
        assert by_label == {"x": (n, n), "y": (1, 1)}


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
    shown = [name.text for name in page.section("Augmentation").all("dt")]
    assert {f"augment.{key}" for key in changes} <= set(shown)


def test_what_explore_did_not_write_is_not_replaced(corpus, tmp_path, capsys):
    page = tmp_path / "page.html"
    page.write_text("my own notes", encoding="utf-8")
    code, left = run(tmp_path, corpus)
    assert code == 2 and left.source == "my own notes"
    assert "did not write" in capsys.readouterr().err
    page.write_text(f"<html>{MARK}</html>", encoding="utf-8")
    code, new = run(tmp_path, corpus)
    assert code == 0 and "Mixup" in new.headings
    assert not list(tmp_path.glob(".*partial*"))


def test_a_failed_write_leaves_the_older_page(corpus, tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text(MARK, encoding="utf-8")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    code, page = run(tmp_path, corpus)
    assert code == 1 and page.source == MARK


def test_wrong_arguments_are_refused_before_tensorflow_is_imported(tmp_path):
    messages = {
        f"--output={tmp_path}/none/page.html": "there is no folder",
        f"--output={tmp_path}": "a folder; give the name of a file",
        "page.html": "--config=page.html: no such file",
        "--output=": "--output is missing",
        "--config=none.toml": "no such file",
        f"--dataset.name=folder --dataset.dir={tmp_path}/none": "no such folder",
        "--outptu=x": "unknown flag; did you mean --output=x?",
        "--frontend.n_fft=1000": "power of two",
    }
    code = (
        "import contextlib, io, json, sys\n"
        "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from asc_tf import cli\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said:\n"
        "        code = cli.main(['explore', *words.split()])\n"
        "    print(json.dumps([code, said.getvalue()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(list(messages))],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for line, message in zip(done.stdout.splitlines(), messages.values(), strict=True):
        exit_code, said = json.loads(line)
        assert exit_code == 2
        assert said.startswith("asc-tf explore: ") and message in said
    assert not os.listdir(tmp_path)


def test_a_wav_file_holds_16_bit_samples_clipped_at_full_scale():
    waveform = np.array([0, 0.5, 1.5, -1.5, 2**-15], np.float32)
    read, rate = soundfile.read(io.BytesIO(encode_wav(waveform, 8000)))
    np.testing.assert_array_equal(read, [0, 0.5, 1 - 2**-15, -1, 2**-15])
    assert rate == 8000


def test_more_examples_are_shown_for_a_shorter_time():
    audio = Audio(sample_rate=32000)
    assert choose_seconds(3, audio) == MAX_SHOWN
    assert choose_seconds(150, audio) == MIN_SHOWN
    assert choose_seconds(30, audio) == 3.0
