"""Exact copies of files, labels that a part lacks, and very short clips."""

import dataclasses
import shutil

import pytest
import soundfile
import tiny

from asc_tf import datasets
from asc_tf.config import Audio, Augment, Config, Dataset
from asc_tf.core.errors import UserError
from asc_tf.datasets import duplicates
from asc_tf.datasets.duplicates import describe_duplicates, find_duplicates
from asc_tf.manifest import SPLITS, Clip, Manifest
from asc_tf.pipeline import corpus_checks, prepare
from asc_tf.pipeline.run import Run
from asc_tf.training.train import print_notes
from asc_tf.workdir import Workdir


def rows(folder, *contents, splits=(), labels=()):
    """A clip for each content, written to 0.wav, 1.wav ..."""
    clips = []
    for number, content in enumerate(contents):
        (folder / f"{number}.wav").write_bytes(content)
        split = dict(enumerate(splits)).get(number, "train")
        label = dict(enumerate(labels)).get(number, "hum")
        clips.append(
            Clip(f"{number}.wav", label, str(number), split=split, size=len(content))
        )
    return clips


def paths(groups):
    return [[clip.path for clip in group] for group in groups]


def test_files_with_the_same_bytes_are_copies(tmp_path):
    long = bytes(range(256)) * 64
    # The same size and middle, but another end.
    other = long[:-1] + b"x"
    clips = rows(tmp_path, long, b"short", other, long, b"shore", b"short", long)
    assert paths(find_duplicates(clips, tmp_path)) == [
        ["0.wav", "3.wav", "6.wav"],
        ["1.wav", "5.wav"],
    ]


def test_a_whole_file_is_read_only_where_size_and_a_piece_agree(tmp_path, monkeypatch):
    read = []
    whole = duplicates.hash_path
    monkeypatch.setattr(
        duplicates, "hash_path", lambda path: read.append(path.name) or whole(path)
    )
    long = bytes(30_000)
    middle = long[:15_000] + b"x" + long[15_001:]
    end = long[:-1] + b"x"
    clips = rows(tmp_path, long, middle, end, b"short")
    assert find_duplicates(clips, tmp_path) == []
    assert sorted(read) == ["0.wav", "2.wav"]


def test_several_clips_of_one_file_are_no_copies(tmp_path):
    (clip,) = rows(tmp_path, b"sound")
    later = dataclasses.replace(clip, start=1.0)
    assert find_duplicates([clip, later], tmp_path) == []


def test_a_file_that_is_gone_or_was_not_scanned_is_a_copy_of_nothing(tmp_path):
    clips = rows(tmp_path, b"sound", b"sound", b"sound")
    (tmp_path / "1.wav").unlink()
    clips[2] = dataclasses.replace(clips[2], size=0)
    assert find_duplicates(clips, tmp_path) == []


@pytest.mark.parametrize(
    ("splits", "labels", "said"),
    [
        (
            ("train", "validation"),
            (),
            "1 file has an exact copy in another split (0.wav in train and 1.wav in "
            "validation): the result is too good; ",
        ),
        (
            (),
            ("hum", "hiss"),
            "1 file has an exact copy with another label (0.wav in hum and 1.wav in "
            "hiss): remove the wrong one",
        ),
        ((), (), "1 file has an exact copy in the same split (0.wav in train and 1"),
    ],
)
def test_copies_are_named_by_what_they_spoil(tmp_path, splits, labels, said):
    clips = rows(tmp_path, b"sound", b"sound", splits=splits, labels=labels)
    groups = find_duplicates(clips, tmp_path)
    (note,) = describe_duplicates(groups, ("train", "validation"))
    assert note.startswith(said)
    assert describe_duplicates(groups, ("test",)) == []


def test_copies_may_have_another_label_in_another_span(tmp_path):
    first, second = rows(tmp_path, b"sound", b"sound")
    spans = [
        dataclasses.replace(clip, start=start, duration=1.0, label=label)
        for clip in (first, second)
        for start, label in ((0.0, "hum"), (1.0, "hiss"))
    ]
    (note,) = describe_duplicates(find_duplicates(spans, tmp_path), ("train",))
    assert "in the same split" in note
    spans[-1] = dataclasses.replace(spans[-1], label="whistle")
    (note,) = describe_duplicates(find_duplicates(spans, tmp_path), ("train",))
    assert "with another label (0.wav in hiss and 1.wav in whistle)" in note


@pytest.fixture
def corpus(tmp_path):
    """Clips of three labels, of which one has a copy in each part, and one is short."""
    folder = tiny.write_corpus(tmp_path / "corpus", recordings=4)
    soundfile.write(folder / "hum" / "tick0-0.wav", tiny.clip("hum", 77, 0.05), 8000)
    soundfile.write(folder / "hum" / "tick1-0.wav", tiny.clip("hum", 78, 0.0009), 8000)
    return folder


def test_training_says_where_no_recordings_are_named(tmp_path, capsys):
    folder = tiny.write_corpus(tmp_path / "corpus", recordings=3)
    for pattern, is_said in ((r"/(.+)-\d", False), ("", True)):
        config = tiny.config(folder, dataset__identifier_pattern=pattern)
        manifest = datasets.load(config.dataset)
        print_notes(Run(config, Workdir(tmp_path / "run"), manifest))
        said = "Each file counts as a recording of its own" in capsys.readouterr().out
        assert said == is_said


def test_training_names_copies_short_clips_and_what_is_left_out(corpus, capsys):
    config, workdir = tiny.config(corpus), Workdir(corpus.parent / "run")
    drawn = datasets.load(config.dataset)
    first, held, tested = (drawn.clips_in(split)[0] for split in SPLITS)
    for clip in (held, tested):
        shutil.copy(corpus / first.path, corpus / clip.path)
    manifest = prepare.scan_corpus(config, SPLITS, ())
    print_notes(Run(config, workdir, manifest))
    said = capsys.readouterr()
    assert f"{first.path} in train and {held.path} in validation" in said.out
    # The test part is not read before it is evaluated.
    assert tested.path not in said.out
    assert "1 clip is shorter than 0.1 s, and so mostly padding" in said.out
    assert "hum/tick0-0.wav (50 ms)" in said.out
    assert "left out: hum/tick1-0.wav: too short: 0.88 ms" in said.err
    notes = "".join(
        corpus_checks.describe_corpus_problems(manifest, corpus, SPLITS, ("test",))
    )
    assert f"({first.path} in train and {tested.path} in test)" in notes
    # Of a run that goes on, files are not compared again.
    workdir.checkpoint_file.parent.mkdir(parents=True)
    workdir.checkpoint_file.touch()
    print_notes(Run(config, workdir, manifest))
    assert "exact copy" not in capsys.readouterr().out


def test_what_the_table_alone_shows_is_refused_before_files_are_read(
    tmp_path, monkeypatch, capsys
):
    rows(tmp_path, b"", b"", b"")
    (tmp_path / "t.csv").write_text(
        "filename,label,split\n0.wav,hum,train\n1.wav,hum,validation\n2.wav,hiss,test\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    config = Config(
        dataset=Dataset(
            name="csv",
            dir=f"~/{tmp_path.name}",
            csv_file="t.csv",
            split_column="split",
        )
    )
    with pytest.raises(UserError, match="no training clip has the label hiss"):
        prepare.scan_corpus(config, SPLITS, ())
    assert "checking" not in capsys.readouterr().out


def test_a_label_that_a_part_lacks_is_named_with_what_to_do():
    clips = (
        Clip("0.wav", "hum", "0", split="train"),
        Clip("1.wav", "hiss", "1", split="train"),
        Clip("2.wav", "hum", "2", split="validation"),
        Clip("3.wav", "hiss", "3", split="validation", reason="silent"),
        Clip("4.wav", "hiss", "4", split="test"),
    )
    manifest = Manifest(clips, ("hum", "hiss"))
    assert corpus_checks.describe_missing_labels(manifest) == [
        "the validation split has no clip of hiss: the best epoch is chosen without "
        "it; add recordings of it, or, where the split is drawn, raise "
        "dataset.validation_share",
        "the test split has no clip of hum: the result says nothing about it; add its "
        "files, or choose another dataset.fold or, where the split is drawn, "
        "dataset.test_share",
    ]
    assert corpus_checks.describe_corpus_problems(manifest, None, (), ()) == (
        corpus_checks.describe_missing_labels(manifest)
    )
    # A run without a validation part misses no label in it.
    without = Manifest(clips[:2], ("hum", "hiss"))
    assert corpus_checks.describe_missing_labels(without) == []


def test_short_clips_are_named_from_a_tenth_of_a_second():
    clips = [
        Clip(f"{n}.wav", "hum", str(n), sample_rate=1000, samples=samples)
        for n, samples in enumerate((99, 100, 50, 20, 60))
    ]
    (short, tiny_ones) = corpus_checks.describe_unusual_clips(
        clips, Config(audio=Audio(sample_rate=8000, segment_seconds=0.5))
    )
    assert short.startswith("5 clips are shorter than a segment of 0.5 s")
    assert tiny_ones.startswith("4 clips are shorter than 0.1 s")
    assert "0.wav (99 ms), 2.wav (50 ms), 3.wav (20 ms) ...;" in tiny_ones


def test_a_random_channel_of_clips_with_more_than_two_is_named():
    clips = [
        Clip(f"{n}.wav", "hum", str(n), sample_rate=1000, samples=9999, channels=n)
        for n in (1, 2, 3, 6)
    ]
    drawn = Config(augment=Augment(random_channel=True))
    (note,) = corpus_checks.describe_unusual_clips(clips, drawn)
    assert note.startswith("2 clips have more than two channels, 3.wav for one: ")
    assert corpus_checks.describe_unusual_clips(clips, Config()) == []
