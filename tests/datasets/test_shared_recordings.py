"""Recordings that a published split has on both sides: followed, counted, named."""

import csv
import json

import pytest
import tiny

from asc_tf.audio.scan import scan
from asc_tf.config import Dataset
from asc_tf.core.errors import UserError
from asc_tf.datasets.shared_recordings import drop_shared, find_shared, format_shared
from asc_tf.manifest import Clip, Manifest
from asc_tf.pipeline import prepare
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.store_features import write_features
from asc_tf.training.train import print_notes
from asc_tf.workdir import Workdir

PUBLISHED = ("train", "validation", "test")
ROWS = [
    Clip("0.wav", "hum", "a", split="train"),
    Clip("1.wav", "hum", "a", split="validation"),
    Clip("2.wav", "hiss", "b", split="train"),
    Clip("3.wav", "hiss", "b", split="validation"),
    Clip("4.wav", "hiss", "b", split="test"),
    Clip("5.wav", "hum", "c", split="train"),
    Clip("6.wav", "hum", "c", split="train"),
]


def protocol(shared):
    return {"shared_recordings": {"names": shared}}


@pytest.mark.parametrize(
    ("published", "found"),
    [
        (PUBLISHED, {"a": PUBLISHED[:2], "b": PUBLISHED}),
        # The validation part was drawn from the training part: its leaks are ours.
        (("train", "test"), {}),
        ((), {}),
    ],
)
def test_only_what_the_published_split_divides_is_shared(published, found):
    assert find_shared(ROWS, published) == found


@pytest.mark.parametrize("published", [("train", "test"), ()])
def test_a_recording_that_the_drawing_divides_is_refused(published):
    shared = find_shared(ROWS, published)
    with pytest.raises(UserError, match=r"a \(train and validation\)"):
        Manifest(tuple(ROWS), ("hum", "hiss"), protocol(shared)).check()


def test_a_recording_of_a_drawn_validation_part_may_be_in_the_published_test_part():
    rows = [
        Clip("1.wav", "hum", "a", split="validation"),
        Clip("2.wav", "hum", "a", split="test"),
    ]
    assert find_shared(rows, ("train", "test")) == {"a": ("validation", "test")}


def test_a_published_recording_may_not_reach_a_third_split():
    shared = {"b": ("train", "test")}
    with pytest.raises(UserError, match=r"b \(test and train and validation\)"):
        Manifest(tuple(ROWS[2:]), ("hum", "hiss"), protocol(shared)).check()


def test_clips_stay_in_the_last_split_of_their_recording_only():
    kept = drop_shared(ROWS, find_shared(ROWS, PUBLISHED))
    assert [clip.path for clip in kept if not clip.reason] == [
        *("1.wav", "4.wav", "5.wav", "6.wav"),
    ]
    assert {clip.path: clip.reason for clip in kept if clip.reason} == {
        "0.wav": "its recording is also in the validation split",
        "2.wav": "its recording is also in the test split",
        "3.wav": "its recording is also in the test split",
    }


def test_a_scan_does_not_take_back_what_is_left_out(tmp_path):
    rows = drop_shared(ROWS, find_shared(ROWS, PUBLISHED))
    scanned = scan(Manifest(rows, ()), tmp_path, PUBLISHED, tiny.config(tmp_path).audio)
    reasons = [clip.reason for clip in scanned.clips]
    assert [r for r in reasons if r.startswith("its recording")] == [
        row.reason for row in rows if row.reason
    ]
    assert reasons.count("no such file") == 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Labelled clips with a table that has two recordings on both sides."""
    folder = tiny.write_corpus(tmp_path_factory.mktemp("shared"), recordings=6)
    split = {0: "test", 1: "validation"}
    rows = []
    for path in sorted(folder.rglob("*.wav")):
        label, number, take = path.parent.name, *path.stem[-3:].split("-")
        part = split.get(int(number), "train")
        if (label, number, take) in (("hum", "0", "1"), ("hum", "1", "1")):
            part = "train"
        name = path.relative_to(folder).as_posix()
        rows.append((name, label, f"{label}{number}", part))
    rows.append(("hum/gone.wav", "hum", "hiss1", "train"))
    with (folder / "table.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("filename", "label", "place", "part"), *rows])
    return folder


def settings(corpus, **changes):
    return tiny.config(
        corpus,
        dataset__name="csv",
        dataset__csv_file="table.csv",
        dataset__identifier_pattern="",
        dataset__identifier_column="place",
        dataset__split_column="part",
        **changes,
    )


NOTE = (
    "the table's split; 7 clips of 3 recordings are on both sides (hiss1 in train and "
    "validation, hum0 in train and test, hum1 in train and validation); 4 clips of 2 "
    "recordings among the files that are there; "
)
OFFER = (
    "dataset.drop_shared_recordings=true leaves these clips out of training and "
    "validation"
)


def test_training_says_what_is_shared_and_writes_it_down(corpus, tmp_path, capsys):
    config, workdir = settings(corpus), Workdir(tmp_path / "run")
    run = prepare.prepare(config, workdir)
    manifest = run.manifest
    print_notes(run)
    assert f"{NOTE}{OFFER}\n" in capsys.readouterr().out
    workdir.begin(config, manifest)
    written = json.loads(workdir.protocol_file.read_text())["shared_recordings"]
    assert written == {
        "clips": 7,
        "recordings": 3,
        "clips_present": 4,
        "recordings_present": 2,
        "left_out": 0,
        "names": {
            "hiss1": ["train", "validation"],
            "hum0": ["train", "test"],
            "hum1": ["train", "validation"],
        },
    }
    assert workdir.manifest().protocol == manifest.protocol


def test_stored_features_and_training_leave_shared_clips_out(corpus, tmp_path, capsys):
    config = settings(corpus, dataset__drop_shared_recordings=True)
    write_features(config, tmp_path / "features", splits=("train", "validation"))
    said = capsys.readouterr()
    assert (
        f"{NOTE}3 of these clips are left out of training and validation\n" in said.out
    )
    assert "its recording" not in said.err
    stored = StoredFeatures.open(tmp_path / "features")
    whole = prepare.prepare(settings(corpus), Workdir(tmp_path / "run")).manifest
    assert stored.n_clips("train") == len(whole.clips_in("train")) - 2
    assert {clip.path for clip in whole.clips_in("train")} - {
        clip.path for clip in stored.manifest.clips_in("train")
    } == {"hum/hum0-1.wav", "hum/hum1-1.wav"}
    assert stored.n_clips("validation") == len(whole.clips_in("validation"))
    with pytest.raises(UserError, match="drop_shared_recordings is True in the folder"):
        stored.check(settings(corpus))
    stored.check(config)


def test_a_corpus_without_shared_recordings_says_nothing():
    assert format_shared({"corpus": "esc10"}) == ""
    assert Dataset().drop_shared_recordings is False
