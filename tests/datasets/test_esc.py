import csv

import pytest
from corpora import load, make_folders, protocol, touch
from esc_corpora import (
    ESC_COLUMNS,
    SOURCES_PER_FOLD,
    TAKES,
    make_esc10_folders,
    make_esc50_table,
    rows,
)
from refusals import refusal

from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.esc import ESC10_TARGETS
from asc_tf.manifest import check_leaks


def test_both_layouts_of_esc10_give_the_same_clips_labels_and_splits(tmp_path):
    by_folder = load("esc10", make_esc10_folders(tmp_path / "folders"), fold=3)
    by_table = load("esc10", make_esc50_table(tmp_path / "table"), fold=3)
    assert by_folder.labels == by_table.labels == tuple(ESC10_TARGETS.values())
    assert len(by_folder.clips) == 10 * 5 * SOURCES_PER_FOLD * len(TAKES)
    assert rows(by_folder) == rows(by_table)
    assert by_folder.protocol == by_table.protocol
    assert by_table.protocol == protocol("esc10", fold=3, folds=[1, 2, 3, 4, 5])
    by_folder.check()


def test_clip_paths_point_at_the_files_of_their_layout(tmp_path):
    by_folder = load("esc10", make_esc10_folders(tmp_path / "folders"))
    assert all((tmp_path / "folders" / clip.path).is_file() for clip in by_folder.clips)
    by_table = load("esc10", make_esc50_table(tmp_path / "table"))
    assert "audio/1-100010-A-0.wav" in {clip.path for clip in by_table.clips}


@pytest.mark.parametrize("fold", [1, 5])
def test_the_official_fold_is_the_test_part_and_nothing_else_is(tmp_path, fold):
    manifest = load("esc10", make_esc10_folders(tmp_path), fold=fold)
    assert {clip.fold for clip in manifest.clips_in("test")} == {fold}
    assert len(manifest.clips_in("test")) == 10 * SOURCES_PER_FOLD * len(TAKES)
    rest = {clip.fold for clip in manifest.clips if clip.split != "test"}
    assert rest == {1, 2, 3, 4, 5} - {fold}


def test_validation_is_drawn_by_source_recording_stratified_by_label(tmp_path):
    manifest = load("esc10", make_esc10_folders(tmp_path))
    check_leaks(manifest.clips)
    for label in manifest.labels:
        drawn = {
            c.identifier for c in manifest.clips_in("validation") if c.label == label
        }
        # 15 % of 16 recordings, each of two takes.
        assert len(drawn) == 2
    assert len(manifest.clips_in("validation")) == 2 * 10 * len(TAKES)


def test_the_dataset_seed_and_share_decide_what_is_drawn(tmp_path):
    folder = make_esc10_folders(tmp_path)

    def drawn(**settings):
        part = load("esc10", folder, **settings).clips_in("validation")
        return {clip.identifier for clip in part}

    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    assert len(drawn(validation_share=0.5)) == 8 * 10


def test_identifiers_are_source_recordings(tmp_path):
    manifest = load("esc10", make_esc10_folders(tmp_path))
    clip = next(c for c in manifest.clips if "1-100010-B" in c.path)
    assert clip.identifier == "100010"
    assert len({c.identifier for c in manifest.clips}) == 10 * 5 * SOURCES_PER_FOLD


def test_esc50_has_all_classes_of_its_table_in_the_order_of_their_targets(tmp_path):
    manifest = load("esc50", make_esc50_table(tmp_path))
    names = ESC10_TARGETS | {2: "pig", 30: "door_wood_knock"}
    assert manifest.labels == tuple(names[target] for target in sorted(names))
    assert manifest.protocol["corpus"] == "esc50"


def test_part_of_esc10_has_its_labels_in_the_same_order(tmp_path):
    folder = make_esc10_folders(tmp_path)
    for path in (folder / "010 - Fire crackling").iterdir():
        path.unlink()
    labels = load("esc10", folder).labels
    wanted = (name for name in ESC10_TARGETS.values() if name != "crackling_fire")
    assert labels == tuple(wanted)


@pytest.mark.parametrize("fold", [0, 6])
def test_a_fold_that_esc_does_not_have_is_refused(tmp_path, fold):
    message = refusal(
        UsageError, load, "esc10", make_esc10_folders(tmp_path), fold=fold
    )
    assert message == f"dataset.fold = {fold}: esc10 has the folds: 1, 2, 3, 4, 5"


def test_the_fold_minus_one_is_the_last_that_the_copy_has(tmp_path):
    manifest = load("esc10", make_esc10_folders(tmp_path))
    assert Dataset().fold == -1
    assert {clip.fold for clip in manifest.clips_in("test")} == {5}
    for path in tmp_path.glob("*/5-*"):
        path.unlink()
    manifest = load("esc10", tmp_path)
    assert manifest.protocol["fold"] == 4
    assert {clip.fold for clip in manifest.clips_in("test")} == {4}


def test_files_with_capital_endings_are_clips_of_esc_too(tmp_path):
    before = load("esc10", make_esc10_folders(tmp_path))
    for path in tmp_path.glob("*/*.ogg"):
        path.rename(path.with_suffix(".OGG"))
    after = load("esc10", tmp_path)
    assert rows(after) == rows(before)
    assert all(clip.path.endswith(".OGG") for clip in after.clips)


@pytest.mark.parametrize("columns", [["filename", "fold"], ["x"]])
def test_columns_that_the_esc_table_lacks_are_named(tmp_path, columns):
    folder = make_esc50_table(tmp_path, columns=columns)
    message = refusal(UserError, load, "esc50", folder)
    missing = [name for name in ESC_COLUMNS[:5] if name not in columns]
    assert message.endswith(f"esc50.csv: no column {', '.join(missing)}")


def test_an_esc_table_saved_again_by_a_spreadsheet_is_read(tmp_path):
    before = load("esc10", make_esc50_table(tmp_path))
    path = tmp_path / "meta" / "esc50.csv"
    text = path.read_text(encoding="utf-8").replace("True", "TRUE")
    path.write_text(text, encoding="utf-8-sig")
    assert load("esc10", tmp_path) == before


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"target": "dog"}, "line 9: target dog is no whole number"),
        ({"target": ""}, "line 9: no target"),
        ({"category": ""}, "line 9: no category"),
        ({"filename": ""}, "line 9: no filename"),
        ({"filename": "dog.wav"}, "line 9: dog.wav is not an ESC clip name"),
        ({"filename": "../1-7-A-0.wav"}, "line 9: audio/../1-7-A-0.wav is not in the"),
        ({"filename": "1-7-A-0.wav", "fold": 2}, "line 9: fold 2, but audio/1-7-A-0"),
        (
            {"filename": "5-130053-A-30.wav", "fold": 5},
            "line 9: audio/5-130053-A-30.wav is there already, ",
        ),
    ],
)
def test_a_bad_row_of_the_esc_table_is_named(tmp_path, change, wanted):
    folder = make_esc50_table(tmp_path, change=change)
    assert wanted in refusal(UserError, load, "esc50", folder)


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b'filename,"' + b"x" * 200000])
def test_an_esc_table_that_is_no_table_is_refused_by_name(tmp_path, content):
    touch(tmp_path / "meta" / "esc50.csv").write_bytes(content)
    message = refusal(UserError, load, "esc50", tmp_path)
    assert f"{tmp_path / 'meta' / 'esc50.csv'}: cannot be read" in message


@pytest.mark.parametrize(
    "stray",
    [
        "dog.wav",
        "1-100010-A (1).ogg",
        "Copy of 1-100010-A.ogg",
        "6-100010-A.ogg",
        "0-100010-A.ogg",
        "1-100010.ogg",
    ],
)
def test_a_stray_file_in_a_class_folder_is_named(tmp_path, stray):
    touch(make_esc10_folders(tmp_path) / "001 - Dog bark" / stray)
    message = refusal(UserError, load, "esc10", tmp_path)
    assert f"001 - Dog bark/{stray}: {stray} is not an ESC clip name" in message
    assert "move the file out" in message


@pytest.mark.parametrize(
    "name",
    [
        "001 - Dog bark/._1-100010-A.ogg",
        "001 - Dog bark/notes.txt",
        "__MACOSX/x.ogg",
        "spectrograms/1-100010-A.ogg",
        "top.ogg",
    ],
)
def test_hidden_files_and_what_is_no_class_folder_are_passed_over(tmp_path, name):
    before = load("esc10", make_esc10_folders(tmp_path))
    touch(tmp_path / name)
    assert load("esc10", tmp_path) == before


def test_a_class_that_esc10_does_not_have_is_refused(tmp_path):
    make_folders(make_esc10_folders(tmp_path), "011 - Pig/1-5-A.ogg")
    message = refusal(UserError, load, "esc10", tmp_path)
    assert "011 - Pig: no class of ESC-10" in message
    assert "pig" in load("esc50", tmp_path).labels


@pytest.mark.shared_data
def test_real_esc10_agrees_with_its_table_clip_by_clip(shared_data):
    esc10_folder = shared_data / "esc10"
    with (esc10_folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        table = {row["path"]: row for row in csv.DictReader(stream)}
    manifest = load("esc10", esc10_folder)
    assert {clip.path for clip in manifest.clips} == set(table)
    for clip in manifest.clips:
        row = table[clip.path]
        assert clip.label == row["esc50_category"]
        assert clip.identifier == row["src_file"]
        assert clip.fold == int(row["fold"])
