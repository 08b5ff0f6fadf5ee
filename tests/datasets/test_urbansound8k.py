import pytest
from corpora import (
    URBAN_TABLE,
    corpus_refusal,
    edit,
    folds_of,
    load,
    make_urban,
    protocol,
    without,
)

from asc_tf.core.errors import UsageError
from asc_tf.datasets.urbansound8k import CLASSES


@pytest.mark.parametrize(
    ("fold", "test", "validation"), [(-1, 10, 9), (5, 5, 4), (1, 1, 10)]
)
def test_urbansound8k_tests_on_a_fold_and_validates_on_the_one_before(
    tmp_path, fold, test, validation
):
    manifest = load("urbansound8k", make_urban(tmp_path), fold=fold)
    manifest.check()
    assert folds_of(manifest) == {
        "train": sorted({*range(1, 11)} - {test, validation}),
        "validation": [validation],
        "test": [test],
    }
    folds = list(range(1, 11))
    assert manifest.protocol == protocol("urbansound8k", fold=test, folds=folds)


@pytest.mark.parametrize(
    ("fold", "train", "validation", "test"),
    [
        (-1, [7, 8], 9, 10),
        (4, [1, 2], 3, 4),
        (3, [1, 10], 2, 3),
        (1, [8, 9], 10, 1),
    ],
)
def test_two_folds_train_on_f_and_the_next_and_go_round(
    tmp_path, fold, train, validation, test
):
    folder = make_urban(tmp_path)
    manifest = load("urbansound8k", folder, fold=fold, protocol="two_folds")
    manifest.check()
    assert folds_of(manifest) == {
        "train": train,
        "validation": [validation],
        "test": [test],
    }
    assert len(manifest.clips) == 4 * 20


def test_urbansound8k_is_read_with_its_recordings_and_class_order(tmp_path):
    manifest = load("urbansound8k", make_urban(tmp_path))
    assert manifest.labels == CLASSES
    clip = next(c for c in manifest.clips if c.path.endswith("/703-3-0-1.wav"))
    assert clip.path == "audio/fold7/703-3-0-1.wav"
    assert (clip.label, clip.identifier, clip.fold) == ("dog_bark", "703", 7)


def test_part_of_urbansound8k_goes_round_the_folds_and_classes_it_has(tmp_path):
    folder = make_urban(tmp_path, folds=(1, 2, 3, 10))
    edit(folder / URBAN_TABLE, without("siren"))
    manifest = load("urbansound8k", folder, protocol="two_folds", fold=2)
    assert folds_of(manifest) == {"train": [3, 10], "validation": [1], "test": [2]}
    assert manifest.protocol["folds"] == [1, 2, 3, 10]
    assert manifest.labels == tuple(c for c in CLASSES if c != "siren")


@pytest.mark.parametrize("table", ["UrbanSound8K.csv", "urbansound8k.CSV"])
def test_urbansound8k_may_have_its_table_and_folds_side_by_side(tmp_path, table):
    folder = make_urban(tmp_path, table=table)
    paths = {clip.path for clip in load("urbansound8k", folder).clips}
    assert "fold1/100-0-0-0.wav" in paths
    (folder / "audio").mkdir()
    paths = {clip.path for clip in load("urbansound8k", folder).clips}
    assert "audio/fold1/100-0-0-0.wav" in paths


@pytest.mark.parametrize("protocol", ["official", "two_folds"])
def test_too_few_folds_are_refused(tmp_path, protocol):
    needed = {"official": 3, "two_folds": 4}[protocol]
    folder = make_urban(tmp_path, folds=range(1, needed))
    message = corpus_refusal(UsageError, "urbansound8k", folder, protocol=protocol)
    assert message.startswith(f"dataset.protocol = {protocol}: needs {needed} folds")
    load("urbansound8k", make_urban(tmp_path, range(needed)), protocol=protocol)


def test_a_fold_that_the_table_lacks_is_refused(tmp_path):
    folder = make_urban(tmp_path, folds=(1, 2, 3, 10))
    message = corpus_refusal(UsageError, "urbansound8k", folder, fold=4)
    assert message == "dataset.fold = 4: the table has the folds: 1, 2, 3, 10"


@pytest.mark.shared_data
@pytest.mark.parametrize(("protocol", "fold"), [("official", 1), ("two_folds", 10)])
def test_real_urbansound8k_clips_are_all_there(shared_data, protocol, fold):
    folder = shared_data / "urbansound8k_mini"
    manifest = load("urbansound8k", folder, protocol=protocol, fold=fold)
    manifest.check()
    assert len(manifest.clips) == 319
    assert manifest.labels == CLASSES
    assert all((folder / clip.path).is_file() for clip in manifest.clips)
    order = [1, 2, 3, 10]
    before = order[order.index(fold) - 1]
    assert folds_of(manifest) == {
        "train": sorted({*order} - {fold, before}),
        "validation": [before],
        "test": [fold],
    }
