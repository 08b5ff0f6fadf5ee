import collections
from pathlib import Path

import pytest
from corpora import (
    FSD_LAYOUTS,
    FSD_TRAIN,
    SOUNDS,
    corpus_refusal,
    fsd_rows,
    fsd_tests,
    load,
    make_fsd,
    protocol,
    write_csv,
)
from sklearn.model_selection import KFold, StratifiedKFold

from asc_tf.core.errors import UsageError, UserError


@pytest.mark.parametrize("layout", FSD_LAYOUTS)
def test_fsdkaggle2018_is_read_from_each_of_its_layouts(tmp_path, layout):
    manifest = load("fsdkaggle2018", make_fsd(tmp_path, layout))
    manifest.check()
    home = FSD_LAYOUTS[layout][2]
    assert manifest.labels == SOUNDS
    clips = {clip.path: clip for clip in manifest.clips}
    assert len(clips) == 60 + 6
    for name, label, verified, ident in fsd_rows():
        clip = clips[f"{home}audio_train/{name}"]
        known = name if layout == "kaggle" else str(ident)
        assert (clip.label, clip.identifier) == (label, known)
        assert (clip.verified, clip.usage) == (str(verified), "")
    for name, label, usage, ident in fsd_tests(padding=False):
        clip = clips[f"{home}audio_test/{name}"]
        assert (clip.label, clip.identifier) == (label, str(ident))
        assert (clip.verified, clip.usage, clip.split) == ("", usage, "test")
    # 15 % of 20 recordings of each of three labels.
    assert len(manifest.clips_in("validation")) == 9
    ignored = 0 if layout == "zenodo" else 3
    assert manifest.protocol == protocol("fsdkaggle2018", ignored=ignored)


def test_tables_of_zenodo_may_be_beside_the_folders_of_kaggle(tmp_path):
    folder = make_fsd(tmp_path)
    for part in ("audio_train", "audio_test"):
        (folder / f"FSDKaggle2018.{part}").rename(folder / part)
    paths = {clip.path for clip in load("fsdkaggle2018", folder).clips}
    assert {path.split("/")[0] for path in paths} == {"audio_train", "audio_test"}


@pytest.mark.parametrize("protocol", ["kfold", "stratified_kfold"])
@pytest.mark.parametrize("folds", [4, 5])
def test_every_training_clip_validates_in_one_of_the_folds(tmp_path, protocol, folds):
    folder = make_fsd(tmp_path)
    parts = []
    for fold in range(1, folds + 1):
        settings = {"protocol": protocol, "folds": folds, "fold": fold}
        manifest = load("fsdkaggle2018", folder, **settings)
        manifest.check()
        part = manifest.clips_in("validation")
        assert {clip.fold for clip in part} == {fold}
        assert len(part) == 60 // folds
        assert {clip.fold for clip in manifest.clips_in("train")} == {
            *range(1, folds + 1)
        } - {fold}
        assert {clip.fold for clip in manifest.clips_in("test")} == {None}
        assert manifest.protocol["fold"] == fold
        assert manifest.protocol["folds"] == list(range(1, folds + 1))
        if protocol == "stratified_kfold":
            counts = collections.Counter(clip.label for clip in part)
            assert set(counts.values()) == {20 // folds}
        parts += [clip.path for clip in part]
    assert sorted(parts) == sorted(
        f"FSDKaggle2018.audio_train/{row[0]}" for row in fsd_rows()
    )
    last = load("fsdkaggle2018", folder, protocol=protocol, folds=folds)
    assert last.clips_in("validation") == part


@pytest.mark.parametrize("protocol", ["kfold", "stratified_kfold"])
def test_folds_are_those_of_scikit_learn_over_the_unshuffled_table(tmp_path, protocol):
    folder = make_fsd(tmp_path)
    # Neither in the order of names nor in that of labels.
    rows = sorted(fsd_rows(), key=lambda row: row[0][::-1])
    write_csv(folder / FSD_LAYOUTS["zenodo"][0], FSD_TRAIN, rows)
    kind = {"kfold": KFold, "stratified_kfold": StratifiedKFold}[protocol]
    published = kind(4).split(rows, [row[1] for row in rows])
    for fold, (train, validation) in enumerate(published, start=1):
        settings = {"protocol": protocol, "folds": 4, "fold": fold, "seed": fold}
        manifest = load("fsdkaggle2018", folder, **settings)
        for split, places in (("train", train), ("validation", validation)):
            found = {Path(clip.path).name for clip in manifest.clips_in(split)}
            assert found == {rows[place][0] for place in places}


@pytest.mark.parametrize("protocol", ["kfold", "stratified_kfold", "official"])
def test_clips_of_one_freesound_recording_stay_together(tmp_path, protocol):
    folder = make_fsd(tmp_path)
    rows = [(*row[:3], row[3] // 4) for row in fsd_rows()]
    write_csv(folder / FSD_LAYOUTS["zenodo"][0], FSD_TRAIN, rows)
    manifest = load("fsdkaggle2018", folder, protocol=protocol)
    assert len({clip.identifier for clip in manifest.clips_in("validation")}) == 3
    assert len(manifest.clips_in("validation")) == 12
    manifest.check()


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (
            {"protocol": "stratified_kfold", "folds": 21},
            "dataset.folds = 21: more than the 20 recordings of Bark; give fewer folds",
        ),
        (
            {"protocol": "kfold", "folds": 61},
            "dataset.folds = 61: more than the 60 recordings; give fewer folds",
        ),
        (
            {"protocol": "kfold", "folds": 3, "fold": 4},
            "dataset.fold = 4: kfold has the folds: 1, 2, 3",
        ),
    ],
)
def test_folds_that_cannot_be_made_are_refused(tmp_path, settings, wanted):
    folder = make_fsd(tmp_path)
    assert corpus_refusal(UsageError, "fsdkaggle2018", folder, **settings) == wanted


@pytest.mark.parametrize(
    ("name", "head", "label", "settings"),
    [
        ("sample_submission.csv", "fname,label", ",Bark Cello Knock", {}),
        ("test.csv", "fname,label", ",", {}),
        ("test.csv", "fname", "", {}),
        ("lists/mine.csv", "fname", "", {"test_table": "lists/mine.csv"}),
    ],
)
def test_a_test_table_without_labels_makes_a_test_part_without_labels(
    tmp_path, name, head, label, settings
):
    folder = make_fsd(tmp_path, "kaggle")
    if not settings:
        (folder / FSD_LAYOUTS["kaggle"][1]).unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(f"{head}\nx.wav{label}\ny.wav{label}\n")
    manifest = load("fsdkaggle2018", folder, protocol="kfold", **settings)
    manifest.check()
    found = [(clip.path, clip.label) for clip in manifest.clips_in("test")]
    assert found == [("audio_test/x.wav", ""), ("audio_test/y.wav", "")]
    assert manifest.labels == SOUNDS


def test_a_test_table_with_labels_of_its_own_is_scored(tmp_path):
    folder = make_fsd(tmp_path)
    (folder / "test.csv").write_text("fname,label\nx.wav,Bark\n")
    manifest = load("fsdkaggle2018", folder, test_table="test.csv")
    found = [(clip.path, clip.label) for clip in manifest.clips_in("test")]
    assert found == [("FSDKaggle2018.audio_test/x.wav", "Bark")]


def test_a_test_table_that_is_not_there_or_labels_half_of_its_clips_is_refused(
    tmp_path,
):
    folder = make_fsd(tmp_path)
    settings = {"test_table": "test.csv"}
    said = corpus_refusal(UsageError, "fsdkaggle2018", folder, **settings)
    assert said == f"dataset.test_table = test.csv: no such file below {folder}"
    (folder / "test.csv").write_text("fname,label\nx.wav,Bark\ny.wav,\n")
    said = corpus_refusal(UserError, "fsdkaggle2018", folder, **settings)
    assert said.startswith(f"{folder / 'test.csv'}: line 3: no label, but other lines")


def test_clips_without_labels_may_not_be_drawn_for_training(tmp_path):
    folder = make_fsd(tmp_path)
    (folder / "test.csv").write_text("fname\nx.wav\ny.wav\nz.wav\n")
    settings = {"test_table": "test.csv", "protocol": "random", "allow_leaky": True}
    with pytest.raises(UserError, match="only test clips may have none"):
        load("fsdkaggle2018", folder, **settings).check()
