"""asc-tf features: what it writes, how it goes on, and what it refuses."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tiny

from asc_tf import cli, datasets
from asc_tf.config import Config, Evaluate
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import hash_path
from asc_tf.frontend import FrontendLayer
from asc_tf.manifest import read_clips
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.feature_store.layout import FeaturesFolder
from asc_tf.pipeline.store_features import (
    _Computation,
    _expected_segments,
    write_features,
)
from asc_tf.pipeline.waveforms import Waveforms, segment_batches

SMALL = 20_000
"""Bytes of a shard: nine segments of the tiny corpus."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), recordings=5)


@pytest.fixture(scope="module")
def config(corpus) -> Config:
    return tiny.config(corpus, audio__hop_seconds=0.2)


@pytest.fixture(scope="module")
def written(config, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("features") / "npz"
    write_features(config, folder, shard_bytes=SMALL)
    return folder


def described(folder: Path) -> dict:
    return json.loads((folder / "features.json").read_text())


def shards_of(folder: Path, split: str) -> list[dict[str, np.ndarray]]:
    found = []
    for shard in described(folder)["splits"][split]["shards"]:
        with np.load(folder / shard["file"]) as arrays:
            found.append(dict(arrays))
    return found


def inodes(folder: Path) -> dict[str, tuple[int, int]]:
    """What tells a file that was left alone from one that was written anew."""
    found = {path: path.stat() for path in folder.glob("*-0*")}
    return {path.name: (s.st_ino, s.st_mtime_ns) for path, s in found.items()}


def expected(config: Config, folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and clip numbers as training would compute them in one go."""
    manifest = StoredFeatures.open(folder).manifest
    waveforms = Waveforms(
        manifest.clips_in(split),
        Path(config.dataset.dir),
        manifest.labels,
        config.audio,
        folder.parent / "audio_cache",
    )
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    rows = list(segment_batches(waveforms, config.audio, Evaluate()))
    values = [layer.extract(row["waveform"]).numpy() for row in rows]
    clips = [row["clip"].numpy() for row in rows]
    return np.concatenate(values), np.concatenate(clips)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_stored_features_are_those_of_the_pipeline_to_the_last_bit(
    split, config, written
):
    shards = shards_of(written, split)
    values, clips = expected(config, written, split)
    found = np.concatenate([shard["features"] for shard in shards])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(
        np.concatenate([shard["clip"] for shard in shards]), clips
    )


@pytest.mark.parametrize("channels", ["stereo", "split"])
def test_channels_become_features_as_in_the_pipeline(channels, tmp_path):
    for label in tiny.LABELS:
        for number in range(5):
            one, other = (tiny.clip(label, 2 * number + n) for n in range(2))
            path = tmp_path / "corpus" / label / f"{label}{number}-0.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.stack([one, other], axis=1), tiny.RATE)
    config = tiny.config(tmp_path / "corpus", audio__channels=channels)
    folder = tmp_path / "features"
    write_features(config, folder, splits=("train",), shard_bytes=3 * SMALL)
    values, clips = expected(config, folder, "train")
    shards = shards_of(folder, "train")
    assert len(shards) > 1
    np.testing.assert_array_equal(
        np.concatenate([shard["features"] for shard in shards]), values
    )
    np.testing.assert_array_equal(
        np.concatenate([shard["clip"] for shard in shards]), clips
    )
    stored = StoredFeatures.open(folder)
    assert stored.shape == values.shape[1:]
    assert stored.shape == ((32, 16, 2) if channels == "stereo" else (32, 16))


def test_features_json_counts_and_describes_what_is_there(config, written):
    table = described(written)
    manifest = StoredFeatures.open(written).manifest
    assert table["format_version"] == 1
    assert table["format"] == "npz"
    assert table["labels"] == list(tiny.LABELS)
    assert (table["shape"], table["dtype"]) == ([32, 16], "float32")
    assert (table["frames"], table["bands"]) == (32, 16)
    assert table["config"]["frontend"]["n_mels"] == 16
    assert table["config"]["audio"]["hop_seconds"] == 0.2
    # Where the audio lay is nobody's business but the writer's.
    assert table["config"]["dataset"]["dir"] == ""
    assert table["protocol"] == manifest.protocol
    assert list(table["splits"]) == ["train", "validation", "test"]
    for split, part in table["splits"].items():
        clips = manifest.clips_in(split)
        # 0.4 to 0.8 s, in segments of 0.5 s that start 0.2 s apart.
        law = [1 if c.seconds < 0.501 else 2 if c.seconds < 0.701 else 3 for c in clips]
        assert part["n_clips"] == len(clips)
        assert part["n_segments"] == sum(law)
        shards = part["shards"]
        assert [n for s in shards for n in s["segments_per_clip"]] == law
        assert sum(s["clips"] for s in shards) == len(clips)
        for shard in shards:
            assert hash_path(written / shard["file"]) == shard["sha256"]
            assert (written / shard["file"]).stat().st_size == shard["bytes"]
            assert shard["segments"] <= 9


def test_a_rest_that_fills_no_segment_is_not_stored_where_it_is_dropped(
    config, tmp_path
):
    config = config.replace({"audio.last_segment": "drop"})
    contents = write_features(config, tmp_path / "features", splits=("validation",))
    clips = StoredFeatures.open(tmp_path / "features").manifest.clips_in("validation")
    law = [1 if clip.seconds < 0.699 else 2 for clip in clips]
    (shard,) = contents.splits["validation"]
    assert shard.segments_per_clip == tuple(law)
    assert [_expected_segments(clip, config.audio) for clip in clips] == law


def test_the_rows_of_a_shard_say_label_clip_fold_and_weight(written):
    stored = StoredFeatures.open(written)
    for shard in shards_of(written, "train"):
        clips = [stored.manifest.clips_in("train")[row] for row in shard["clip"]]
        assert [stored.labels[row] for row in shard["label_id"]] == [
            clip.label for clip in clips
        ]
        assert set(shard["fold"]) == {-1}
        assert set(shard["weight"]) == {1.0}
        assert all(shard[n].dtype == np.int32 for n in ("label_id", "clip", "fold"))
        assert shard["weight"].dtype == np.float32


def test_each_row_names_the_fold_of_its_clip(corpus, tmp_path):
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["filename", "label", "fold"])
        for path in sorted(corpus.rglob("*.wav")):
            fold = int(path.stem[-3]) + 1
            writer.writerow([path.relative_to(corpus), path.parent.name, fold])
    config = tiny.config(
        corpus,
        dataset__name="csv",
        dataset__csv_file=str(table),
        dataset__fold_column="fold",
        dataset__fold=2,
    )
    folder = tmp_path / "features"
    write_features(config, folder)
    stored = StoredFeatures.open(folder)
    for split in ("train", "validation", "test"):
        (shard,) = shards_of(folder, split)
        clips = stored.manifest.clips_in(split)
        assert [clips[row].fold for row in shard["clip"]] == shard["fold"].tolist()
        assert (set(shard["fold"]) == {2}) == (split == "test")


def test_tfrecord_holds_the_same_as_npz(config, written, tmp_path):
    folder = tmp_path / "tfrecord"
    write_features(config, folder, "tfrecord", shard_bytes=SMALL)
    table = described(folder)
    assert table["format"] == "tfrecord"
    for split in table["splits"]:
        for number, arrays in enumerate(shards_of(written, split)):
            file = folder / f"{split}-{number:05}.tfrecord"
            examples = [
                tf.train.Example.FromString(record.numpy()).features.feature
                for record in tf.data.TFRecordDataset(str(file))
            ]
            for name in ("label_id", "clip", "fold"):
                found = [example[name].int64_list.value[0] for example in examples]
                np.testing.assert_array_equal(found, arrays[name])
            raw = [example["features"].bytes_list.value[0] for example in examples]
            values = [np.frombuffer(b, "<f4").reshape(table["shape"]) for b in raw]
            np.testing.assert_array_equal(np.stack(values), arrays["features"])
            weights = [example["weight"].float_list.value[0] for example in examples]
            np.testing.assert_array_equal(weights, arrays["weight"])


def test_a_finished_folder_is_left_as_it_is(config, written, capsys):
    before, text = inodes(written), (written / "features.json").read_text()
    write_features(config, written, shard_bytes=SMALL)
    assert inodes(written) == before
    assert (written / "features.json").read_text() == text
    count = len(described(written)["splits"]["train"]["shards"])
    assert f"in {count} files ({count} kept as they were)" in capsys.readouterr().out


def test_other_places_and_cache_are_no_other_settings(
    config, corpus, written, tmp_path
):
    (tmp_path / "moved").symlink_to(corpus)
    changes = {
        "dataset.dir": str(tmp_path / "moved"),
        "audio.cache": "none",
        "frontend.standardize": "none",
        "augment.mixup_alpha": 0.9,
        "train.epochs": 7,
    }
    before = inodes(written)
    write_features(config.replace(changes), written, shard_bytes=SMALL)
    assert inodes(written) == before


def start(config: Config, folder: Path) -> subprocess.Popen:
    """`write_features` in a process of its own, with many small shards."""
    file = folder.parent / "config.toml"
    file.write_text(config.to_toml())
    code = (
        "import sys; from pathlib import Path; from asc_tf import config\n"
        "from asc_tf.pipeline.store_features import write\n"
        "write(config.read(Path(sys.argv[1])), Path(sys.argv[2]), "
        "shard_bytes=int(sys.argv[3]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(file), str(folder), "12000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_with_9_it_goes_on_and_leaves_finished_shards_alone(config, tmp_path):
    folder = tmp_path / "features"
    process = start(config, folder)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("train-*.npz"))) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "features.json").exists()
    noted = json.loads((folder / "partial.json").read_text())
    done = [shard["file"] for shard in noted["splits"]["train"]["shards"]]
    before = inodes(folder)
    assert len(done) >= 2
    with pytest.raises(UserError, match=r"was not finished; run the same"):
        StoredFeatures.open(folder)
    write_features(config, folder, shard_bytes=12000)
    after = inodes(folder)
    assert {name: after[name] for name in done} == {name: before[name] for name in done}
    assert not (folder / "partial.json").exists()
    assert not list(folder.glob(".*partial*"))
    for split in ("train", "validation", "test"):
        found = np.concatenate([s["features"] for s in shards_of(folder, split)])
        np.testing.assert_array_equal(found, expected(config, folder, split)[0])


def test_after_a_failure_in_between_only_the_rest_is_computed(
    config, tmp_path, monkeypatch
):
    folder, computed = tmp_path / "features", []
    compute = _Computation.__call__

    def failing(self, clips):
        if len(computed) == 3:
            raise KeyboardInterrupt
        computed.append(clips)
        return compute(self, clips)

    def counting(self, clips):
        computed.append(clips)
        return compute(self, clips)

    monkeypatch.setattr(_Computation, "__call__", failing)
    with pytest.raises(KeyboardInterrupt):
        write_features(config, folder, shard_bytes=SMALL)
    monkeypatch.setattr(_Computation, "__call__", counting)
    write_features(config, folder, shard_bytes=SMALL)
    splits = described(folder)["splits"].values()
    assert len(computed) == sum(len(part["shards"]) for part in splits)
    assert len(set(computed)) == len(computed)


def test_a_finished_folder_is_not_whole_while_it_is_written_to_again(
    config, tmp_path, monkeypatch
):
    folder = tmp_path / "features"
    write_features(config, folder, splits=("train",))
    before = inodes(folder)
    with monkeypatch.context() as broken:
        broken.setattr(_Computation, "__call__", lambda self, clips: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_features(config, folder, splits=("validation",))
    with pytest.raises(UserError, match="was not finished"):
        StoredFeatures.open(folder)
    write_features(config, folder, splits=("validation",))
    assert StoredFeatures.open(folder).splits == ("train", "validation")
    assert before.items() <= inodes(folder).items()


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_shard_is_computed_anew_and_the_others_are_kept(
    damage, config, written
):
    file = written / "train-00001.npz"
    whole, before = file.read_bytes(), inodes(written)
    values = bytearray(whole)
    values[1000] ^= 1
    file.write_bytes({"flipped": bytes(values), "cut": whole[:-1], "gone": b""}[damage])
    if damage == "gone":
        file.unlink()
    with pytest.raises(UserError) as refused:
        StoredFeatures.open(written).dataset("train")
    assert str(file) in str(refused.value)
    assert "run the same asc-tf features command again" in str(refused.value)
    write_features(config, written, shard_bytes=SMALL)
    after = inodes(written)
    assert before.pop(file.name) != after.pop(file.name)
    assert after == before
    found = np.concatenate([s["features"] for s in shards_of(written, "train")])
    np.testing.assert_array_equal(found, expected(config, written, "train")[0])
    StoredFeatures.open(written).verify("train")


def test_other_settings_are_refused_naming_the_keys(config, written):
    other = config.replace({"frontend.n_mels": 8, "audio.segment_seconds": 0.25})
    before = inodes(written)
    with pytest.raises(UsageError) as refused:
        write_features(other, written)
    message = str(refused.value)
    assert "audio.segment_seconds is 0.5 there and 0.25 here" in message
    assert "frontend.n_mels is 16 there and 8 here" in message
    assert "name a new folder" in message
    with pytest.raises(UsageError, match="--format is 'npz' there and 'tfrecord' here"):
        write_features(config, written, "tfrecord")
    assert inodes(written) == before


def test_settings_are_refused_before_the_first_shard_too(config, tmp_path, monkeypatch):
    monkeypatch.setattr(_Computation, "__call__", lambda self, clips: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_features(config, tmp_path / "features")
    with pytest.raises(UsageError, match=r"frontend.n_mels is 16 there and 8 here"):
        write_features(config.replace({"frontend.n_mels": 8}), tmp_path / "features")


def test_a_folder_of_something_else_is_refused_and_left_alone(config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty and not a features folder"):
        write_features(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UsageError, match=r"notes.txt: a file, not a folder"):
        write_features(config, tmp_path / "notes.txt")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 2}', "\x00"])
def test_a_damaged_features_json_is_refused(text, config, tmp_path):
    (tmp_path / "features.json").write_text(text)
    with pytest.raises(UserError, match=r"features.json: says nothing that this"):
        write_features(config, tmp_path)
    with pytest.raises(UserError, match=r"features.json: says nothing that this"):
        StoredFeatures.open(tmp_path)


def test_a_second_process_is_turned_away(config, tmp_path):
    folder = tmp_path / "features"
    with (
        FeaturesFolder(folder).lock(),
        pytest.raises(UserError, match="another process is writing features here"),
    ):
        write_features(config, folder)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_the_test_part_is_not_opened_unless_it_is_asked_for(
    config, corpus, tmp_path, monkeypatch
):
    opened = []
    from asc_tf.audio import scan

    inspect = scan.inspect_all
    monkeypatch.setattr(
        scan,
        "inspect_all",
        lambda files, *rest: opened.extend(files) or inspect(files, *rest),
    )
    folder = tmp_path / "features"
    write_features(config, folder, splits=("train", "validation"))
    clips = read_clips(folder / "manifest.csv")
    mine = {str(corpus / c.path) for c in clips if c.split in ("train", "validation")}
    assert {str(path) for path in opened} == mine
    assert {clip.split for clip in clips if not clip.size} == {"test"}
    assert list(described(folder)["splits"]) == ["train", "validation"]
    assert not list(folder.glob("test-*"))
    # Asked for later it is added, and the others are kept.
    before = inodes(folder)
    write_features(config, folder, splits=("test",))
    after = inodes(folder)
    assert list(described(folder)["splits"]) == ["train", "validation", "test"]
    assert {name: after[name] for name in before} == before
    assert len(opened) == len(clips)


def test_a_clip_that_cannot_be_used_is_named_and_left_out(tmp_path, capsys):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=5)
    clips = write_features(tiny.config(corpus), tmp_path / "whole")
    bad = StoredFeatures.open(tmp_path / "whole").manifest.clips_in("train")[3].path
    (corpus / bad).write_bytes(b"RIFF but no more")
    capsys.readouterr()
    folder = tmp_path / "features"
    fewer = write_features(tiny.config(corpus), folder)
    out, err = capsys.readouterr()
    assert f"left out: {bad}: " in err
    assert "; 1 left out" in out
    counts = [
        sum(shard.clips for shard in contents.splits["train"])
        for contents in (clips, fewer)
    ]
    assert counts[0] - counts[1] == 1
    (row,) = [c for c in read_clips(folder / "manifest.csv") if c.path == bad]
    assert row.reason
    stored = StoredFeatures.open(folder)
    for shard in shards_of(folder, "train"):
        found = [stored.manifest.clips_in("train")[row].label for row in shard["clip"]]
        assert found == [stored.labels[row] for row in shard["label_id"]]


def test_what_changed_in_the_corpus_is_computed_anew(tmp_path):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=5)
    config, folder = tiny.config(corpus), tmp_path / "features"
    write_features(config, folder, shard_bytes=SMALL)
    before = inodes(folder)
    changed = StoredFeatures.open(folder).manifest.clips_in("train")[-1]
    soundfile.write(
        corpus / changed.path, tiny.clip(changed.label, 999, 0.7), tiny.RATE
    )
    write_features(config, folder, shard_bytes=SMALL)
    after = inodes(folder)
    last = max(name for name in before if name.startswith("train"))
    assert [name for name in before if before[name] != after[name]] == [last]
    found = np.concatenate([shard["features"] for shard in shards_of(folder, "train")])
    np.testing.assert_array_equal(found, expected(config, folder, "train")[0])


def test_shards_of_clips_that_are_gone_are_removed(tmp_path):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=6)
    config, folder = tiny.config(corpus), tmp_path / "features"
    write_features(config, folder, shard_bytes=2 * SMALL)
    for path in corpus.rglob("*[45]-*.wav"):
        path.unlink()
    (folder / ".train-00099.partial.npz").touch()
    write_features(config, folder, shard_bytes=2 * SMALL)
    listed = {
        shard["file"]
        for part in described(folder)["splits"].values()
        for shard in part["shards"]
    }
    assert set(inodes(folder)) == listed
    assert not list(folder.glob(".*partial*"))


def test_a_shard_holds_whole_clips_even_one_that_is_too_long(tmp_path):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=5)
    config = tiny.config(corpus)
    (long, *_) = [c for c in datasets.load(config.dataset).clips if c.split == "test"]
    soundfile.write(corpus / long.path, tiny.clip(long.label, 1, 20.0), tiny.RATE)
    folder = tmp_path / "features"
    contents = write_features(config, folder, splits=("test",), shard_bytes=3 * 2048)
    shards = [shard.segments_per_clip for shard in contents.splits["test"]]
    assert shards[0] == (40,)
    assert len(shards) > 2
    assert all(sum(counts) <= 3 for counts in shards[1:])
    assert all(sum(one) + two[0] > 3 for one, two in pairwise(shards[1:]))


def command_line(corpus: Path, folder: Path, *more: str) -> list[str]:
    return [
        *("features", "--dataset.name=folder", f"--dataset.dir={corpus}"),
        *(r"--dataset.identifier_pattern=/(.+)-\d", "--audio.sample_rate=8000"),
        *("--audio.segment_seconds=0.5", "--frontend.n_mels=16"),
        *(f"--output={folder}", *more),
    ]


def test_the_command_says_what_it_wrote_and_what_comes_next(corpus, tmp_path, capsys):
    folder = tmp_path / "features"
    config = tmp_path / "config.toml"
    config.write_text("[augment]\ntime_roll = true\n[frontend]\nplacement = 'model'\n")
    argv = command_line(corpus, folder, "--splits=validation,train")
    assert cli.main([*argv, f"--config={config}"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = [line.split(":")[0] for line in out.splitlines() if re.match("t|v", line)]
    assert lines == ["train", "validation"]
    assert re.search(
        r"\ntrain: \d+ clips, \d+ segments, \d+\.\d MB in 1 file, \d+\.\d s\n", out
    )
    (after,) = [line for line in out.splitlines() if line.startswith("Next: ")]
    assert after.startswith(f"Next: asc-tf train --config={config} ")
    assert f"--dataset.features={folder} " in after
    assert "--frontend.n_mels=16 " in after
    # Training from features refuses what acts on waveforms.
    assert "--augment.time_roll=False --frontend.placement=dataset " in after


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--output="], "--output is missing"),
        (["a", "stray"], "unexpected argument stray"),
        (["--splits=trian"], "--splits: 'trian' must be one of train"),
        (["--splits="], "--splits is empty"),
        (["--format=hdf5"], "--format=hdf5"),
        (["--dataset.dir=none"], "none: no such folder"),
        (["--config=nonsense"], "--config=nonsense: no such file"),
        (["--frontend.n_mels=0"], "--frontend.n_mels = 0: must be at least 1"),
        (["--model.dropout=0.1"], "--model.dropout: a key of the configuration that"),
        (["--dataset.features=x"], "--dataset.features: a key of the configuration"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2_without_tensorflow(
    more, message, corpus, tmp_path
):
    argv = [a for a in command_line(corpus, tmp_path / "features") if a not in more]
    code = (
        "import sys; from asc_tf.cli import main; code = main(sys.argv[1:]); "
        "print('tensorflow' in sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv, *more],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_other_settings_are_refused_without_tensorflow(written, corpus, tmp_path):
    code = (
        "import sys; sys.modules['keras'] = None; from asc_tf.cli import main; "
        "code = main(sys.argv[1:]); print('tensorflow' in sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command_line(corpus, written)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr
    assert "frontend.n_fft is 256 there and 1024 here" in done.stderr


def test_a_failure_is_one_line_and_code_1(tmp_path, capsys):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=5)
    for path in corpus.rglob("hum*.wav"):
        path.write_bytes(b"nothing")
    argv = command_line(corpus, tmp_path / "features")
    assert cli.main(argv) == 1
    assert "asc-tf features: " in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "features").exists()


@pytest.mark.shared_data
def test_real_recordings_are_stored_as_they_are_heard(shared_data, tmp_path):
    config = Config().replace(
        {
            "dataset.name": "folder",
            "dataset.dir": str(shared_data / "esc10"),
            "audio.segment_seconds": 2.0,
        }
    )
    folder = tmp_path / "features"
    write_features(config, folder, splits=("validation",), shard_bytes=3_000_000)
    shards = shards_of(folder, "validation")
    assert len(shards) > 1
    values, _ = expected(config, folder, "validation")
    np.testing.assert_array_equal(
        np.concatenate([shard["features"] for shard in shards]), values
    )


def test_test_clips_without_labels_are_stored_without_a_target(
    config, tmp_path, monkeypatch
):
    manifest = datasets.load(config.dataset)
    clips = tuple(
        dataclasses.replace(clip, label="") if clip.split == "test" else clip
        for clip in manifest.clips
    )
    blank = dataclasses.replace(manifest, clips=clips)
    monkeypatch.setattr(datasets, "load", lambda _: blank)
    write_features(config, tmp_path / "npz", splits=("test",))
    (shard,) = shards_of(tmp_path / "npz", "test")
    assert set(shard["label_id"]) == {-1}
    rows = list(StoredFeatures.open(tmp_path / "npz").dataset("test"))
    assert len(rows) == len(shard["clip"])
    assert not any(row["target"].numpy().any() for row in rows)
