import pytest
from corpora import (
    CITIES,
    DCASE,
    DEVICES,
    corpus_refusal,
    dcase_rows,
    edit,
    like_a_spreadsheet,
    load,
    make_dcase,
    protocol,
    without,
    write,
)

from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.dcase import GROUPS, SCENES
from asc_tf.manifest import check_leaks


def train_list(folder):
    return next((folder / "evaluation_setup").glob("fold1_train.*"))


@pytest.mark.parametrize("name", DCASE)
def test_a_development_set_is_read_from_its_official_files(tmp_path, name):
    manifest = load(name, make_dcase(tmp_path, name))
    manifest.check()
    wanted = {row[0]: row for row in dcase_rows(name)}
    assert [clip.path for clip in manifest.clips] == sorted(wanted)
    for clip in manifest.clips:
        _, label, identifier, device, split = wanted[clip.path]
        assert (clip.label, clip.identifier, clip.device) == (label, identifier, device)
        assert clip.city == identifier.split("-")[0]
        assert (clip.split == "test") == (split == "test")
    labels = tuple(sorted(GROUPS)) if name == "tau2020_3class" else SCENES
    assert manifest.labels == labels
    subset = {"subset": 100} if name == "tau2022_mobile" else {}
    assert manifest.protocol == protocol(name, fold=1, **subset)


@pytest.mark.parametrize("name", DCASE)
def test_a_development_set_validates_on_whole_locations_of_each_city(tmp_path, name):
    manifest = load(name, make_dcase(tmp_path, name))
    check_leaks(manifest.clips)
    for label in manifest.labels:
        for split in ("train", "validation"):
            cities = {c.city for c in manifest.clips_in(split) if c.label == label}
            assert cities == set(CITIES)


def test_the_validation_share_and_seed_of_a_development_set_are_followed(tmp_path):
    folder = make_dcase(tmp_path, "tau2019")
    half = load("tau2019", folder, validation_share=0.5)
    assert len(half.clips_in("validation")) == len(half.clips_in("train")) == 80
    part = load("tau2019", folder, seed=1).clips_in("validation")
    assert part == load("tau2019", folder, seed=1).clips_in("validation")
    assert part != load("tau2019", folder, seed=2).clips_in("validation")


@pytest.mark.parametrize("name", ["tut2018", "tau2020_mobile"])
def test_tables_of_a_development_set_may_be_saved_again(tmp_path, name):
    before = load(name, make_dcase(tmp_path, name))
    for path in tmp_path.rglob("*.*"):
        like_a_spreadsheet(path)
    assert load(name, tmp_path) == before


@pytest.mark.parametrize("name", ["tut2018", "tau2022_mobile"])
def test_without_the_table_of_all_clips_the_file_names_say_all(tmp_path, name):
    before = load(name, make_dcase(tmp_path, name))
    (tmp_path / "meta.csv").unlink()
    assert load(name, tmp_path) == before


def test_without_an_evaluation_list_labels_come_from_the_table_of_all(tmp_path):
    before = load("tut2018", make_dcase(tmp_path, "tut2018"))
    (tmp_path / "evaluation_setup" / "fold1_evaluate.txt").unlink()
    assert load("tut2018", tmp_path) == before
    (tmp_path / "meta.csv").unlink()
    message = corpus_refusal(UserError, "tut2018", tmp_path)
    assert "fold1_test.txt: line 1: scene_label '' is none of tut2018" in message


def test_flat_files_with_short_names_are_the_same_lists(tmp_path):
    before = load("tau2020_mobile", make_dcase(tmp_path, "tau2020_mobile"))
    setup = tmp_path / "evaluation_setup"
    (tmp_path / "meta.csv").rename(tmp_path / "total.csv")
    (setup / "fold1_train.csv").rename(tmp_path / "train.csv")
    (setup / "fold1_evaluate.csv").rename(tmp_path / "test.csv")
    (setup / "fold1_test.csv").unlink()
    assert load("tau2020_mobile", tmp_path) == before


def test_clips_that_neither_list_names_are_left_out_and_counted(tmp_path):
    folder = make_dcase(tmp_path, "tau2020_mobile")
    edit(train_list(folder), without("lyon-0"))
    manifest = load("tau2020_mobile", folder)
    assert not any(clip.identifier == "lyon-0" for clip in manifest.clips)
    assert manifest.protocol["unlisted"] == 4 * len(DEVICES)


@pytest.mark.parametrize("folder", ["evaluation_setup", "split_setup", "."])
def test_a_subset_is_read_from_its_own_list(tmp_path, folder):
    make_dcase(tmp_path, "tau2022_mobile")
    lines = train_list(tmp_path).read_text(encoding="utf-8").split("\n")
    write(tmp_path / folder / "split25.csv", "\n".join([lines[0], *lines[1:-1:4]]))
    manifest = load("tau2022_mobile", tmp_path, subset=25)
    manifest.check()
    whole = load("tau2022_mobile", tmp_path)
    assert manifest.clips_in("test") == whole.clips_in("test")
    assert 4 * sum(c.split != "test" for c in manifest.clips) == sum(
        c.split != "test" for c in whole.clips
    )
    assert manifest.protocol["subset"] == 25


def test_a_subset_without_an_official_list_is_refused(tmp_path):
    folder = make_dcase(tmp_path, "tau2022_mobile")
    message = corpus_refusal(UsageError, "tau2022_mobile", folder, subset=20)
    assert message.startswith("dataset.subset = 20: the official lists have 5, 10, 25")
    message = corpus_refusal(UsageError, "tau2022_mobile", folder, subset=10)
    assert f"{folder}: has no split10.csv (for this dataset.subset)" in message


def test_the_only_fold_of_a_development_set_is_the_first(tmp_path):
    folder = make_dcase(tmp_path, "tut2018")
    assert load("tut2018", folder, fold=1) == load("tut2018", folder)
    message = corpus_refusal(UsageError, "tut2018", folder, fold=2)
    assert message == "dataset.fold = 2: tut2018 has the folds: 1"


def test_a_missing_list_is_named_with_the_layout(tmp_path):
    folder = make_dcase(tmp_path, "tau2019")
    train_list(folder).unlink()
    message = corpus_refusal(UsageError, "tau2019", folder)
    assert "has no fold1_train.csv or fold1_train.txt or train.csv" in message
    assert "expected evaluation_setup/fold1_train" in message


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (
            "\tlyon-0\ta",
            "\tlyon-1\ta",
            "identifier says lyon-1 of airport-lyon-0-0-a.wav",
        ),
        ("\tlyon-0\ta", "\tlyon-0\tb", "source_label says b of airport-lyon-0-0-a.wav"),
        ("\tairport\t", "\tpark\t", "scene_label says park of airport-lyon-0-0-a.wav"),
        ("\tlyon-0\ta", "\t\ta", "no identifier"),
        ("identifier", "place", "meta.csv: no column identifier"),
        ("lyon-0-1-a.wav", "lyon-0-0-a.wav", "is there already, "),
    ],
)
def test_a_table_of_all_clips_that_contradicts_the_names_is_refused(
    tmp_path, old, new, wanted
):
    meta = make_dcase(tmp_path, "tau2019") / "meta.csv"
    edit(meta, lambda text: text.replace(old, new, 1))
    message = corpus_refusal(UserError, "tau2019", tmp_path)
    assert wanted in message
    assert str(meta) in message


def test_an_identifier_that_names_the_recording_too_is_cut_to_its_location(tmp_path):
    folder = make_dcase(tmp_path, "tau2022_mobile")
    before = load("tau2022_mobile", folder)
    edit(folder / "meta.csv", lambda text: text.replace("\tlyon-0\t", "\tlyon-0-3\t"))
    assert load("tau2022_mobile", folder) == before


def test_a_name_that_says_nothing_is_read_from_the_table_of_all_clips(tmp_path):
    folder = make_dcase(tmp_path, "tau2019")
    for path in (folder / "meta.csv", train_list(folder)):
        edit(path, lambda text: text.replace("airport-lyon-0-0-a.wav", "x.wav"))
    clip = next(c for c in load("tau2019", folder).clips if c.path == "audio/x.wav")
    assert (clip.label, clip.identifier) == ("airport", "lyon-0")
    assert (clip.city, clip.device) == ("lyon", "a")
