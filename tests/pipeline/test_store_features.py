"""asc-tf features: what it writes, how it continues, and what it refuses."""

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from asc_tf import cli, datasets
from asc_tf.command_line import arguments
from asc_tf.commands import train
from asc_tf.commands.config_from_flags import resolve
from asc_tf.config import Config, Evaluate
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import hash_path
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.frontend import FrontendLayer
from asc_tf.manifest import Clip, read_clips
from asc_tf.pipeline.feature_size import count_segments
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.feature_store.folder import FeaturesFolder
from asc_tf.pipeline.segments import make_segment_batches
from asc_tf.pipeline.store_features import (
    _FeatureComputation,
    _plan_shards,
    _write_array,
    write_features,
)
from asc_tf.pipeline.waveforms import Waveforms

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
    """A finished folder, which no test changes."""
    folder = tmp_path_factory.mktemp("features") / "features"
    write_features(config, folder, shard_bytes=SMALL)
    return folder


@pytest.fixture
def copied(written, tmp_path) -> Path:
    """A copy for tests that change it."""
    return shutil.copytree(written, tmp_path / "features")


def described(folder: Path) -> dict:
    return json.loads((folder / "features.json").read_text())


def features_of(folder: Path, split: str) -> np.ndarray:
    files = [shard["file"] for shard in described(folder)["splits"][split]["shards"]]
    return np.concatenate([np.load(folder / file) for file in files])


def clips_of(folder: Path, split: str) -> list[int]:
    shards = described(folder)["splits"][split]["shards"]
    counts = [count for shard in shards for count in shard["segments_per_clip"]]
    return np.repeat(np.arange(len(counts)), counts).tolist()


def inodes(folder: Path) -> dict[str, tuple[int, int]]:
    """What tells a file that was left alone from one that was written anew."""
    found = {path: path.stat() for path in folder.glob("[tv]*-0*")}
    return {path.name: (s.st_ino, s.st_mtime_ns) for path, s in found.items()}


def check_features(config: Config, folder: Path, *splits: str) -> None:
    """Compare them with those that training would compute in one go, bit by bit."""
    manifest = StoredFeatures.open(folder).manifest
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    for split in splits:
        waveforms = Waveforms(
            manifest.clips_in(split),
            Path(config.dataset.dir),
            manifest.labels,
            config.audio,
            folder.parent / "audio_cache",
        )
        preprocessing = Preprocessing.from_config(config.audio, Evaluate())
        rows = list(make_segment_batches(waveforms, preprocessing, 32))
        values = [layer.extract(row["waveform"]).numpy() for row in rows]
        found = features_of(folder, split)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.concatenate(values))
        clips = np.concatenate([row["clip"].numpy() for row in rows])
        assert clips_of(folder, split) == clips.tolist()
        counts = [count_segments(c, preprocessing) for c in manifest.clips_in(split)]
        assert np.bincount(clips).tolist() == counts


def test_stored_features_are_those_of_the_pipeline_to_the_last_bit(config, written):
    assert len(described(written)["splits"]["train"]["shards"]) > 2
    check_features(config, written, "train", "validation", "test")


@pytest.mark.parametrize(
    ("channels", "rest", "suffix"),
    [("stereo", "align", ".wav"), ("split", "drop", ".ogg")],
)
def test_channels_rests_and_containers_become_features_as_in_the_pipeline(
    channels, rest, suffix, tmp_path
):
    for label in tiny.LABELS:
        for number in range(5):
            seconds = 0.5 + 0.1 * number
            one, other = (tiny.clip(label, 2 * number + n, seconds) for n in range(2))
            path = tmp_path / "corpus" / label / f"{label}{number}-0{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.stack([one, other], axis=1), tiny.RATE)
    config = tiny.config(
        tmp_path / "corpus",
        audio__channels=channels,
        audio__last_segment=rest,
        audio__hop_seconds=0.3,
    )
    folder = tmp_path / "features"
    write_features(config, folder, splits=("train",), shard_bytes=3 * SMALL)
    check_features(config, folder, "train")
    shape = StoredFeatures.open(folder).shape
    assert shape == ((32, 16, 2) if channels == "stereo" else (32, 16))


def test_features_json_counts_and_describes_what_is_there(config, written):
    table = described(written)
    manifest = StoredFeatures.open(written).manifest
    assert (table["format_version"], table["finished"]) == (2, True)
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
        counts = [1 + (c.seconds > 0.501) + (c.seconds > 0.701) for c in clips]
        assert part["n_clips"] == len(clips)
        assert part["n_segments"] == sum(counts)
        shards = part["shards"]
        assert [n for s in shards for n in s["segments_per_clip"]] == counts
        assert sum(s["clips"] for s in shards) == len(clips)
        for shard in shards:
            assert hash_path(written / shard["file"]) == shard["sha256"]
            assert (written / shard["file"]).stat().st_size == shard["bytes"]
            assert shard["segments"] <= 9
    assert {path.name for path in written.iterdir()} == {
        "features.json",
        "manifest.csv",
        ".lock",
        *inodes(written),
    }


def test_a_shard_holds_whole_clips_even_one_that_is_too_long():
    clips = [Clip(f"{n}.wav", "a", str(n)) for n in range(7)]
    counts = [2, 3, 1, 9, 1, 1, 2]
    plans = list(_plan_shards("train", clips, counts, 5))
    assert [plan.file for plan in plans] == [f"train-0000{n}.npy" for n in range(4)]
    assert [len(plan.clips) for plan in plans] == [2, 1, 1, 3]
    assert [clip for plan in plans for clip in plan.clips] == clips
    # What a shard is made from is known by its clips.
    clips[5] = dataclasses.replace(clips[5], size=1)
    others = list(_plan_shards("train", clips, counts, 5))
    assert [a.source == b.source for a, b in zip(plans, others, strict=True)] == [
        *(True, True, True, False)
    ]


def test_a_finished_folder_is_left_as_it_is_also_with_other_places_and_caches(
    config, corpus, copied, tmp_path, capsys
):
    before, text = inodes(copied), (copied / "features.json").read_text()
    write_features(config, copied, shard_bytes=SMALL)
    assert (copied / "features.json").read_text() == text
    count = len(described(copied)["splits"]["train"]["shards"])
    assert f"in {count} files ({count} unchanged)" in capsys.readouterr().out
    (tmp_path / "moved").symlink_to(corpus)
    changes = {
        "dataset.dir": str(tmp_path / "moved"),
        "audio.cache": "none",
        "frontend.standardize": "none",
        "augment.mixup_alpha": 0.9,
        "train.epochs": 7,
    }
    write_features(config.replace(changes), copied, shard_bytes=SMALL)
    assert inodes(copied) == before


KILLED = """
import json, sys, time
from pathlib import Path
import numpy as np
from asc_tf import config
from asc_tf.pipeline import store_features
from asc_tf.pipeline.feature_store import StoredFeatures

written, file, folder, size = sys.argv[1:]
stored = StoredFeatures.open(written)

class Computation:
    # Without TensorFlow, which takes seconds to import.
    shape = stored.shape

    def __init__(self, run):
        pass

    def __call__(self, split, clips):
        table = json.loads(Path(written, "features.json").read_text())
        shards = table["splits"][split]["shards"]
        counts = [n for shard in shards for n in shard["segments_per_clip"]]
        arrays = [np.load(Path(written, shard["file"])) for shard in shards]
        return zip(np.repeat(range(len(clips)), counts), np.concatenate(arrays))

def write_array(path, array, write=store_features._write_array):
    if "00002" not in path.name:
        return write(path, array)
    write(path, array[:1])
    print("half a shard", flush=True)
    time.sleep(600)

store_features._FeatureComputation = Computation
store_features._scan = lambda *_: stored.manifest
store_features._write_array = write_array
config = config.read(Path(file))
store_features.write_features(config, Path(folder), ("train",), shard_bytes=int(size))
"""


def test_killed_with_9_it_goes_on_and_leaves_finished_shards_alone(
    config, written, tmp_path
):
    folder, file = tmp_path / "features", tmp_path / "config.toml"
    file.write_text(config.to_toml())
    arguments = [sys.executable, "-c", KILLED]
    arguments += map(str, (written, file, folder, SMALL))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert "half a shard\n" in iter(process.stdout.readline, "")
        process.kill()
    table, before = described(folder), inodes(folder)
    assert table["finished"] is False
    done = [shard["file"] for shard in table["splits"]["train"]["shards"]]
    assert sorted(before) == done == ["train-00000.npy", "train-00001.npy"]
    assert list(folder.glob(".*partial*"))
    with pytest.raises(UserError, match=r"not finished; run the same"):
        StoredFeatures.open(folder)
    write_features(config, folder, ("train",), shard_bytes=SMALL)
    after = inodes(folder)
    assert before.items() < after.items()
    assert not list(folder.glob(".*partial*"))
    check_features(config, folder, "train")


def test_a_folder_is_not_finished_while_it_is_written_to_again(
    config, tmp_path, monkeypatch
):
    folder, compute = tmp_path / "features", _FeatureComputation.__call__
    monkeypatch.setattr(_FeatureComputation, "__call__", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_features(config, folder, splits=("validation",))
    # Settings are known before the first shard is written.
    with pytest.raises(
        UsageError, match=r"frontend.n_mels is 16 in the folder and 8 in the config"
    ):
        write_features(config.replace({"frontend.n_mels": 8}), folder)
    with monkeypatch.context() as whole:
        whole.setattr(_FeatureComputation, "__call__", compute)
        write_features(config, folder, splits=("validation",))
    before = inodes(folder)
    assert StoredFeatures.open(folder).splits == ("validation",)
    with pytest.raises(ZeroDivisionError):
        write_features(config, folder, splits=("test",))
    with pytest.raises(UserError, match="not finished"):
        StoredFeatures.open(folder)
    monkeypatch.setattr(_FeatureComputation, "__call__", compute)
    write_features(config, folder, splits=("test",))
    assert StoredFeatures.open(folder).splits == ("validation", "test")
    assert before.items() <= inodes(folder).items()


def test_damaged_shards_are_computed_anew_and_the_others_are_left_alone(config, copied):
    before = inodes(copied)
    flipped, cut, gone = (copied / f"train-0000{number}.npy" for number in range(3))
    values = bytearray(flipped.read_bytes())
    values[1000] ^= 1
    flipped.write_bytes(values)
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    with pytest.raises(UserError) as refused:
        StoredFeatures.open(copied).dataset("train")
    assert f"{flipped}: missing or damaged" in str(refused.value)
    write_features(config, copied, shard_bytes=SMALL)
    after = inodes(copied)
    assert after.keys() == before.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {flipped.name, cut.name, gone.name}
    StoredFeatures.open(copied).verify("train")
    check_features(config, copied, "train")


def test_other_settings_are_refused_naming_the_keys(config, written):
    other = config.replace({"frontend.n_mels": 8, "audio.segment_seconds": 0.25})
    before = inodes(written)
    with pytest.raises(UsageError) as refused:
        write_features(other, written)
    message = str(refused.value)
    assert (
        "audio.segment_seconds is 0.5 in the folder and 0.25 in the config" in message
    )
    assert "frontend.n_mels is 16 in the folder and 8 in the config" in message
    assert "name a new folder" in message
    assert inodes(written) == before


def test_a_folder_of_something_else_is_refused_and_left_alone(config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty and not a features folder"):
        write_features(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UsageError, match=r"notes.txt: a file, not a folder"):
        write_features(config, tmp_path / "notes.txt")


def test_a_folder_of_an_earlier_format_is_refused_and_left_alone(config, tmp_path):
    file = tmp_path / "features.json"
    file.write_text('{"format_version": 1, "format": "npz"}')
    with pytest.raises(UserError, match=r"version 1 is not 2; .* new folder as --outp"):
        write_features(config, tmp_path)
    file.rename(tmp_path / "partial.json")
    with pytest.raises(UsageError, match="name a new folder"):
        write_features(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["partial.json"]


def test_a_second_process_is_turned_away(config, tmp_path):
    folder = tmp_path / "features"
    with (
        FeaturesFolder(folder).lock(),
        pytest.raises(UserError, match="another process is writing features here"),
    ):
        write_features(config, folder)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_the_test_split_is_not_opened_unless_it_is_asked_for(
    config, corpus, tmp_path, monkeypatch
):
    from asc_tf.audio import scan

    # Test clips of a competition have no labels.
    manifest, opened, inspect = datasets.load(config.dataset), [], scan.inspect_all
    clips = tuple(
        dataclasses.replace(clip, label="") if clip.split == "test" else clip
        for clip in manifest.clips
    )
    blank = dataclasses.replace(manifest, clips=clips)
    monkeypatch.setattr(datasets, "load", lambda _: blank)
    monkeypatch.setattr(
        scan,
        "inspect_all",
        lambda files, *rest: opened.extend(files) or inspect(files, *rest),
    )
    folder = tmp_path / "features"
    write_features(config, folder, splits=("validation",))
    clips = read_clips(folder / "manifest.csv")
    mine = {str(corpus / c.path) for c in clips if c.split == "validation"}
    assert {str(path) for path in opened} == mine
    assert {clip.split for clip in clips if not clip.size} == {"train", "test"}
    assert list(described(folder)["splits"]) == ["validation"]
    # Asked for later it is added, and the other is left as it is.
    before = inodes(folder)
    write_features(config, folder, splits=("test",))
    after = inodes(folder)
    assert list(described(folder)["splits"]) == ["validation", "test"]
    assert {name: after[name] for name in before} == before
    assert {Path(path).relative_to(corpus).as_posix() for path in opened} == {
        clip.path for clip in clips if clip.split != "train"
    }
    rows = list(StoredFeatures.open(folder).dataset("test"))
    assert len(rows) == len(features_of(folder, "test"))
    assert not any(row["target"].numpy().any() for row in rows)


def test_what_changes_in_the_corpus_is_computed_anew_and_named(
    config, tmp_path, capsys
):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=6)
    config = config.replace({"dataset.dir": str(corpus)})
    folder = tmp_path / "features"

    def write() -> list[str]:
        """Write the training split, and name the shards that are others now."""
        before = inodes(folder)
        write_features(config, folder, splits=("train",), shard_bytes=2 * SMALL)
        after = inodes(folder)
        assert list(after) and not list(folder.glob(".*partial*"))
        shards = described(folder)["splits"]["train"]["shards"]
        assert set(after) == {shard["file"] for shard in shards}
        return sorted(name for name in after if before.get(name) != after[name])

    *_, last = write()
    *_, changed = StoredFeatures.open(folder).manifest.clips_in("train")
    values = tiny.clip(changed.label, 999, 0.7)
    soundfile.write(corpus / changed.path, values, tiny.RATE)
    assert write() == [last]
    check_features(config, folder, "train")
    # One clip cannot be used any more, and some are gone.
    train = StoredFeatures.open(folder).manifest.clips_in("train")
    (corpus / train[0].path).write_bytes(b"RIFF but no more")
    for path in corpus.rglob("*[45]-*.wav"):
        path.unlink()
    (folder / ".train-00099.0123abcd-1-0123abcd.partial.npy").touch()
    capsys.readouterr()
    assert last not in write()
    check_features(config, folder, "train")
    out, err = capsys.readouterr()
    assert f"left out: {train[0].path}: " in err
    assert "; 1 left out" in out
    rows = {clip.path: clip for clip in read_clips(folder / "manifest.csv")}
    assert rows[train[0].path].reason
    left = [
        clip.path for clip in StoredFeatures.open(folder).manifest.clips_in("train")
    ]
    assert train[0].path not in left
    assert len(set(clips_of(folder, "train"))) == len(left) < len(train)


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
    (corpus.parent / "noise").mkdir(exist_ok=True)
    config.write_text(
        "[augment]\ntime_roll = true\nnoise = 'folder'\n"
        f"noise_dir = '{corpus.parent / 'noise'}'\n[frontend]\nplacement = 'model'\n"
        "[evaluate]\nsegments = 'centre'\n"
    )
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
    assert "--augment.time_roll=False --augment.noise=none " in after
    assert "--augment.noise_dir= " in after
    assert "--frontend.placement=dataset --evaluate.segments=all " in after
    # The command that is printed is accepted.
    words = shlex.split(after.removeprefix("Next: asc-tf train "))
    values = train.COMMAND.flag_values()
    arguments.parse(values, words)
    assert resolve(values).dataset.features == str(folder)


WRONG = {
    "--output=": "--output is missing",
    "stray": "unexpected argument stray",
    "--splits=trian": "--splits: 'trian' must be one of train",
    "--splits=": "--splits is empty",
    "--format=npz": "--format",
    "--dataset.dir=none": "none: no such folder",
    "--config=nonsense": "--config=nonsense: no such file",
    "--frontend.n_mels=0": "--frontend.n_mels = 0: must be at least 1",
    "--model.dropout=0.1": "--model.dropout: a key of the configuration that",
    "--dataset.features=x": "--dataset.features: a key of the configuration",
    # The folder is of other settings.
    "--frontend.top_db=70": "n_fft is 256 in the folder and 1024 in the config",
}


def test_wrong_usage_is_one_line_and_code_2_without_tensorflow(
    corpus, written, tmp_path
):
    places = [tmp_path / "features"] * (len(WRONG) - 1) + [written]
    lines = [
        [*command_line(corpus, folder), *("a" for _ in range(more == "stray")), more]
        for more, folder in zip(WRONG, places, strict=True)
    ]
    code = (
        "import json, sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from asc_tf.cli import main\n"
        "for argv in json.loads(sys.argv[1]):\n"
        "    print(main(argv), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.stdout == "2\n" * len(WRONG), done.stderr
    errors = done.stderr.splitlines()
    for error, message in zip(errors, WRONG.values(), strict=True):
        assert message in error
    assert not list(tmp_path.iterdir())


def test_a_failure_is_one_line_and_code_1(tmp_path, capsys):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=5)
    for path in corpus.rglob("hum*.wav"):
        path.write_bytes(b"nothing")
    argv = command_line(corpus, tmp_path / "features")
    assert cli.main(argv) == 1
    assert "asc-tf features: " in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "features").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_that_commands_report():
    with pytest.raises(OSError, match="No space left"):
        _write_array(Path("/dev/full"), np.zeros((9, 300, 64), np.float32))
