"""What holds for all corpora with a layout of their own."""

import pytest
from corpora import (
    DCASE,
    FSD_LAYOUTS,
    URBAN_TABLE,
    corpus_refusal,
    edit,
    load,
    make_dcase,
    make_fsd,
    make_mini,
    make_urban,
    protocol,
)

from asc_tf.core.errors import UsageError, UserError

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
    message = corpus_refusal(UserError, name, tmp_path)
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
    message = corpus_refusal(UsageError, name, tmp_path)
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
    message = corpus_refusal(UserError, name, folder)
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
    assert corpus_refusal(UserError, name, tmp_path) == f"{path}: no column {column}"


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
    said = corpus_refusal(UsageError, corpus, tmp_path, **settings)
    assert said.startswith(f"dataset.{key} = {settings[key]}: {corpus} has no use for")
