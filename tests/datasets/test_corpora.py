"""The corpora with a layout of their own; each is made here in miniature."""

import collections
from pathlib import Path

import pytest
import refusals
from corpora import (
    CITIES,
    DEVICES,
    FSD_LAYOUTS,
    FSD_TRAIN,
    SOUNDS,
    dcase_rows,
    edit,
    fsd_rows,
    fsd_tests,
    load,
    make_dcase,
    make_fsd,
    make_mini,
    make_urban,
    protocol,
    write,
    write_csv,
)
from sklearn.model_selection import KFold, StratifiedKFold

from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.dcase import GROUPS, SCENES
from asc_tf.datasets.urbansound8k import CLASSES
from asc_tf.manifest import check_leaks


def refusal(error, name, folder, **settings):
    return refusals.refusal(error, load, name, folder, **settings)


def like_a_spreadsheet(path):
    """Save a table again with a byte order mark, CRLF and an empty last line."""
    text = path.read_text(encoding="utf-8").replace("\n", "\r\n") + "\r\n"
    path.write_bytes(text.encode("utf-8-sig"))


def folds_of(manifest):
    """The folds of each split."""
    return {
        split: sorted({clip.fold for clip in manifest.clips_in(split)})
        for split in ("train", "validation", "test")
    }


# --- asc_mini


@pytest.mark.parametrize(
    "form",
    [
        "{scene}_{number}.wav",
        "{scene}_paris_{number}.wav",
        "{scene}_a_b-2_{number}.WAV",
        "deeper/{scene}/{scene}_x_{number}.wav",
    ],
)
def test_asc_mini_finds_scene_and_number_in_the_name(tmp_path, form):
    manifest = load("asc_mini", make_mini(tmp_path, form))
    manifest.check()
    assert manifest.labels == SCENES
    assert len(manifest.clips) == 80
    for clip in manifest.clips:
        number = int(clip.path.rpartition("_")[2].split(".")[0])
        assert clip.path == form.format(scene=clip.label, number=number)
        assert (clip.split == "test") == (number in (6, 7, 8))


SPELLINGS = ("metrostation", "metro station", "metro_station", "Metro-Station")


@pytest.mark.parametrize("scene", SPELLINGS)
def test_a_scene_of_two_words_is_one_label_however_it_is_spelled(tmp_path, scene):
    make_mini(tmp_path)
    for number in range(1, 9):
        (tmp_path / f"metro_station_{number}.wav").unlink()
        write(tmp_path / f"{scene}_{number}.wav", "")
    manifest = load("asc_mini", tmp_path)
    assert manifest.labels == SCENES
    mine = [clip for clip in manifest.clips if clip.path.startswith(f"{scene}_")]
    assert {clip.label for clip in mine} == {"metro_station"}
    assert {clip.identifier for clip in mine} == {
        f"metro_station_{number}" for number in range(1, 9)
    }
    metro = [clip for clip in manifest.clips if clip.label == "metro"]
    assert {clip.path for clip in metro} == {f"metro_{n}.wav" for n in range(1, 9)}


def test_asc_mini_validates_on_one_training_clip_of_each_scene(tmp_path):
    manifest = load("asc_mini", make_mini(tmp_path))
    drawn = collections.Counter(c.label for c in manifest.clips_in("validation"))
    assert drawn == dict.fromkeys(SCENES, 1)
    assert manifest.protocol == protocol("asc_mini")


@pytest.mark.parametrize(
    "stray",
    [
        *("harbour_1.wav", "bus_9.wav", "bus_0.wav", "bus.wav", "bus1.wav"),
        *("bus_x.wav", "metro_station_x.wav", "my_bus_1.wav", "bus_1.flac/bus_.wav"),
    ],
)
def test_asc_mini_refuses_a_name_that_does_not_fit(tmp_path, stray):
    write(make_mini(tmp_path) / stray, "")
    message = refusal(UserError, "asc_mini", tmp_path)
    assert message.startswith(f"{tmp_path / stray}: not a clip name of asc_mini")
    assert "metro_station" in message


@pytest.mark.parametrize("name", ["README.md", "._bus_1.wav", ".trash/bus_x.wav"])
def test_asc_mini_passes_over_what_is_no_clip(tmp_path, name):
    write(make_mini(tmp_path) / name, "")
    assert len(load("asc_mini", tmp_path).clips) == 80


# --- UrbanSound8K


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


def without(word):
    def change(text):
        return "\n".join(line for line in text.split("\n") if word not in line)

    return change


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
    message = refusal(UsageError, "urbansound8k", folder, protocol=protocol)
    assert message.startswith(f"dataset.protocol = {protocol}: needs {needed} folds")
    load("urbansound8k", make_urban(tmp_path, range(needed)), protocol=protocol)


def test_a_fold_that_the_table_lacks_is_refused(tmp_path):
    folder = make_urban(tmp_path, folds=(1, 2, 3, 10))
    message = refusal(UsageError, "urbansound8k", folder, fold=4)
    assert message == "dataset.fold = 4: the table has the folds: 1, 2, 3, 10"


URBAN_TABLE = "metadata/UrbanSound8K.csv"
URBAN_ROWS = [
    ("1-1-0-0.wav,1,0,4,1,two,1,car_horn", "fold 'two' is not a whole number"),
    ("1-1-0-0.wav,1,0,4,1,2,1,siren", "classID 1 with class 'siren' is no class"),
    ("1-1-0-0.wav,1,0,4,1,2,10,siren", "classID 10 with class 'siren' is no"),
    ("1-1-0-0.wav,1,0,4,1,2,,siren", "no classID"),
    ("1-1-0-0.wav,1,0,4,1,2,1", "no class"),
    (",1,0,4,1,2,1,car_horn", "no slice_file_name"),
    ("1-1-0-0.wav,,0,4,1,2,1,car_horn", "no fsID"),
    ("../../x.wav,1,0,4,1,2,1,car_horn", "is not in the corpus folder"),
    ("100-0-0-1.wav,100,0,4,1,1,0,air_conditioner", "is there already, "),
]


# --- DCASE

DCASE = ("tut2018", "tau2019", "tau2020_mobile", "tau2020_3class", "tau2022_mobile")


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
    message = refusal(UserError, "tut2018", tmp_path)
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
    message = refusal(UsageError, "tau2022_mobile", folder, subset=20)
    assert message.startswith("dataset.subset = 20: the official lists have 5, 10, 25")
    message = refusal(UsageError, "tau2022_mobile", folder, subset=10)
    assert f"{folder}: has no split10.csv (for this dataset.subset)" in message


def test_the_only_fold_of_a_development_set_is_the_first(tmp_path):
    folder = make_dcase(tmp_path, "tut2018")
    assert load("tut2018", folder, fold=1) == load("tut2018", folder)
    message = refusal(UsageError, "tut2018", folder, fold=2)
    assert message == "dataset.fold = 2: tut2018 has the folds: 1"


def test_a_missing_list_is_named_with_the_layout(tmp_path):
    folder = make_dcase(tmp_path, "tau2019")
    train_list(folder).unlink()
    message = refusal(UsageError, "tau2019", folder)
    assert "has no fold1_train.csv or fold1_train.txt or train.csv" in message
    assert "expected evaluation_setup/fold1_train" in message


DCASE_ROWS = [
    ("audio/bus-oslo-900-0-a.wav\tferry", "scene_label 'ferry' is none of tau2019"),
    ("audio/bus-oslo-900-0-a.wav\tindoor", "scene_label 'indoor' is none of"),
    ("audio/bus-oslo-900-0-a.wav", "scene_label '' is none of tau2019"),
    (
        "audio/bus-oslo-900-0-a.wav\ttram",
        "scene_label says tram of bus-oslo-900-0-a",
    ),
    ("audio/ferry-oslo-900-0-a.wav\ttram", "the list says no scene"),
    ("audio/bus900.wav\tbus", "audio/bus900.wav does not say its location"),
    ("audio/bus-oslo-9-0-0-a.wav\tbus", "does not say its location"),
    ("../bus-oslo-900-0-a.wav\tbus", "is not in the corpus folder"),
    ("/x/bus-oslo-900-0-a.wav\tbus", "is not in the corpus folder"),
    ("C:\\x\\bus-oslo-900-0-a.wav\tbus", "is not in the corpus folder"),
    ("audio/bus-lyon-6-0-a.wav\tbus", "is there already, "),
    ("audio/bus-lyon-10-0-a.wav\tbus", "is there already, "),
    ("\tbus", "no filename"),
]


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
    message = refusal(UserError, "tau2019", tmp_path)
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


# --- FSDKaggle2018


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
    assert refusal(UsageError, "fsdkaggle2018", folder, **settings) == wanted


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
    said = refusal(UsageError, "fsdkaggle2018", folder, **settings)
    assert said == f"dataset.test_table = test.csv: no such file below {folder}"
    (folder / "test.csv").write_text("fname,label\nx.wav,Bark\ny.wav,\n")
    said = refusal(UserError, "fsdkaggle2018", folder, **settings)
    assert said.startswith(f"{folder / 'test.csv'}: line 3: no label, but other lines")


def test_clips_without_labels_may_not_be_drawn_for_training(tmp_path):
    folder = make_fsd(tmp_path)
    (folder / "test.csv").write_text("fname\nx.wav\ny.wav\nz.wav\n")
    settings = {"test_table": "test.csv", "protocol": "random", "allow_leaky": True}
    with pytest.raises(UserError, match="only test clips may have none"):
        load("fsdkaggle2018", folder, **settings).check()


FSD_TRAIN_ROWS = [
    ("x.wav,Bark,yes,1", "manually_verified 'yes' is not 0 or 1"),
    ("x.wav,Bark,,1", "no manually_verified"),
    ("x.wav,,1,1", "no label"),
    ("../../x.wav,Bark,1,1", "is not in the corpus folder"),
    ("000003e8.wav,Bark,1,1", "is there already, "),
]
FSD_TEST_ROWS = [
    ("x.wav,Meow,Public,1", "label 'Meow' is not among the 3 of the training"),
    ("x.wav,Bark,,1", "no usage"),
]


# --- all of them

MAKERS = {
    "urbansound8k": make_urban,
    "fsdkaggle2018": make_fsd,
    **{name: (lambda folder, name=name: make_dcase(folder, name)) for name in DCASE},
}


BAD_ROWS = {
    ("urbansound8k", URBAN_TABLE): URBAN_ROWS,
    ("tau2019", "evaluation_setup/fold1_train.csv"): DCASE_ROWS,
    ("fsdkaggle2018", FSD_LAYOUTS["zenodo"][0]): FSD_TRAIN_ROWS,
    ("fsdkaggle2018", FSD_LAYOUTS["zenodo"][1]): FSD_TEST_ROWS,
}


@pytest.mark.parametrize(
    ("name", "table", "row", "wanted"),
    [(*table, *row) for table, rows in BAD_ROWS.items() for row in rows],
)
def test_a_bad_row_of_a_table_is_named(tmp_path, name, table, row, wanted):
    path = MAKERS[name](tmp_path) / table
    edit(path, lambda text: text + row + "\n")
    message = refusal(UserError, name, tmp_path)
    assert wanted in message
    # A clip that is in both lists is named in the second one.
    second = str(path).replace("train", "evaluate")
    number = len(path.read_text().splitlines())
    assert message.startswith((f"{path}: line {number}", f"{second}: line "))


@pytest.mark.parametrize("name", [*MAKERS, "asc_mini"])
def test_every_corpus_has_the_leaky_protocol_where_it_is_allowed(tmp_path, name):
    folder = (MAKERS | {"asc_mini": make_mini})[name](tmp_path)
    manifest = load(name, folder, protocol="random", allow_leaky=True)
    manifest.check()
    assert manifest.protocol == protocol(name, "random", leaky=True)
    share = len(manifest.clips_in("test")) / len(manifest.clips)
    assert share == pytest.approx(0.2, abs=0.05)
    assert len(manifest.clips) == len(load(name, folder).clips)


@pytest.mark.parametrize("name", [*MAKERS, "asc_mini"])
def test_an_empty_folder_is_refused_with_the_layout_it_should_have(tmp_path, name):
    message = refusal(UsageError, name, tmp_path)
    assert message.startswith(f"dataset.dir = {tmp_path}: ")
    assert "expected " in message


@pytest.mark.parametrize("name", ["urbansound8k", "fsdkaggle2018", "tau2019"])
@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"\xff\xfe\0", "cannot be read"),
        (b'"' + b"x" * 200000, "cannot be read"),
        (b"", "is empty"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path, name, content, wanted):
    folder = MAKERS[name](tmp_path)
    for path in folder.rglob("*.*"):
        if path.is_file():
            path.write_bytes(content)
    message = refusal(UserError, name, folder)
    assert wanted in message
    assert message.startswith(str(folder))


@pytest.mark.parametrize(
    ("name", "table", "column"),
    [
        ("urbansound8k", URBAN_TABLE, "fsID"),
        ("fsdkaggle2018", FSD_LAYOUTS["zenodo"][0], "manually_verified"),
        ("fsdkaggle2018", FSD_LAYOUTS["zenodo"][1], "usage"),
        ("tau2019", "meta.csv", "source_label"),
    ],
)
def test_a_column_that_a_table_lacks_is_named(tmp_path, name, table, column):
    path = MAKERS[name](tmp_path) / table
    edit(path, lambda text: text.replace(column, "other", 1))
    assert refusal(UserError, name, tmp_path) == f"{path}: no column {column}"


# --- real clips


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


@pytest.mark.parametrize(
    ("name", "settings", "key"),
    [
        ("mini", {"fold": 2}, "fold"),
        ("mini", {"folds": 3}, "folds"),
        ("mini", {"unverified_weight": 0.5}, "unverified_weight"),
        ("mini", {"test_table": "test.csv"}, "test_table"),
        ("mini", {"drop_shared_recordings": True}, "drop_shared_recordings"),
        ("mini", {"fold": 2, "protocol": "random", "allow_leaky": True}, "fold"),
        ("mini", {"test_share": 0.3}, "test_share"),
        ("mini", {"subset": 5}, "subset"),
        ("us8k", {"test_share": 0.3}, "test_share"),
        ("us8k", {"validation_share": 0.4}, "validation_share"),
    ],
)
def test_a_setting_that_a_corpus_has_no_use_for_is_refused(
    tmp_path, name, settings, key
):
    if name == "mini":
        make_mini(tmp_path)
    else:
        make_urban(tmp_path)
    corpus = {"mini": "asc_mini", "us8k": "urbansound8k"}[name]
    said = refusal(UsageError, corpus, tmp_path, **settings)
    assert said.startswith(f"dataset.{key} = {settings[key]}: {corpus} has no use for")
