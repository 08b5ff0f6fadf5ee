import csv
import dataclasses
import os

import pytest
from corpora import load, protocol
from refusals import refusal

from asc_tf import datasets
from asc_tf.config import FIELDS, Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.esc import ESC10_TARGETS
from asc_tf.datasets.shared_recordings import format_shared
from asc_tf.manifest import check_leaks

CLASS_FOLDERS = {
    "001 - Dog bark": 0,
    "002 - Rain": 10,
    "003 - Sea waves": 11,
    "004 - Baby cry": 20,
    "005 - Clock tick": 38,
    "006 - Person sneeze": 21,
    "007 - Helicopter": 40,
    "008 - Chainsaw": 41,
    "009 - Rooster": 1,
    "010 - Fire crackling": 12,
}
TAKES = "AB"
LINE_ENDS = "\r\n"
SOURCES_PER_FOLD = 4
ESC_COLUMNS = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]


def esc_clips(targets):
    """(target, fold, source, take) of a little ESC corpus."""
    return [
        (target, fold, 100000 + 1000 * target + 10 * fold + number, take)
        for target in targets
        for fold in range(1, 6)
        for number in range(SOURCES_PER_FOLD)
        for take in TAKES
    ]


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def make_esc10_folders(folder):
    for name, target in CLASS_FOLDERS.items():
        for _, fold, source, take in esc_clips([target]):
            touch(folder / name / f"{fold}-{source}-{take}.ogg")
    touch(folder / "README.md")
    return folder


def esc_row(target, fold, source, take, category, esc10):
    name = f"{fold}-{source}-{take}-{target}.wav"
    return dict(
        zip(
            ESC_COLUMNS,
            (name, fold, target, category, esc10, source, take),
            strict=True,
        )
    )


def make_esc50_table(folder, columns=ESC_COLUMNS, change=None):
    """ESC-50's layout with ESC-10's classes and two more."""
    names = ESC10_TARGETS | {2: "pig", 30: "door_wood_knock"}
    rows = [
        esc_row(*clip, names[clip[0]], clip[0] in ESC10_TARGETS)
        for clip in reversed(esc_clips(names))
    ]
    if change:
        rows[7] |= change
    path = folder / "meta" / "esc50.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def make_folders(folder, *names):
    for name in names:
        touch(folder / name)
    return folder


def make_table(folder, text, encoding="utf-8"):
    (folder / "meta.csv").write_bytes(text.encode(encoding))
    return folder


def load_csv(folder, text, encoding="utf-8", **settings):
    make_table(folder, text, encoding)
    return load("csv", folder, csv_file="meta.csv", **settings)


def rows(manifest):
    """What both layouts of ESC have to agree in."""
    return {
        (
            os.path.basename(c.path)[: len("1-100000-A")],
            c.label,
            c.identifier,
            c.fold,
            c.split,
        )
        for c in manifest.clips
    }


# --- load, whatever the corpus


def test_a_missing_folder_is_refused_by_name(tmp_path):
    message = refusal(UsageError, load, "folder", tmp_path / "nowhere")
    assert message == f"dataset.dir = {tmp_path / 'nowhere'}: no such folder"


@pytest.mark.parametrize("name", ["synthetic", "esc10", "folder", "csv"])
def test_a_folder_that_is_not_named_is_asked_for(name):
    message = refusal(UsageError, datasets.load, Dataset(name=name))
    assert message.startswith("dataset.dir is missing")
    assert name in message


@pytest.mark.parametrize(
    ("name", "expected"),
    [("esc10", "1-100032-A"), ("esc50", "meta/esc50.csv"), ("folder", "WAV, FLAC")],
)
def test_an_empty_folder_is_refused_with_the_layout_it_should_have(
    tmp_path, name, expected
):
    message = refusal(UsageError, load, name, tmp_path)
    assert f"dataset.dir = {tmp_path}: no clips found; expected" in message
    assert expected in message


def test_a_table_without_rows_is_refused_by_name(tmp_path):
    for settings in ({}, {"split_column": "split"}, {"fold_column": "split"}):
        message = refusal(
            UserError, load_csv, tmp_path, "filename,label,split\n", **settings
        )
        assert message == (
            f"{tmp_path / 'meta.csv'}: has a header but no row; add one for each clip"
        )


def test_a_home_that_does_not_exist_is_a_folder_like_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(UsageError, load, "folder", "~no-such-user/clips")
    assert message == "dataset.dir = ~no-such-user/clips: no such folder"


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make_folders(tmp_path / "clips", *(f"{x}/{n}.wav" for x in "ab" for n in range(9)))
    assert load("folder", "~/clips").labels == ("a", "b")


@pytest.mark.parametrize("name", ["bus/caf\udce9.wav", "bus/two\nlines.wav"])
def test_a_clip_whose_name_no_table_can_hold_is_refused(tmp_path, name):
    make_folders(tmp_path, "tram/1.wav", name)
    message = refusal(UserError, load, "folder", tmp_path)
    assert repr(name) in message
    assert "rename it" in message


def test_clips_below_linked_folders_are_used_once_and_circles_end(tmp_path):
    corpus, site = tmp_path / "corpus", tmp_path / "site"
    make_folders(corpus, "bus/a.wav", "bus/z/c.wav", "tram/a.wav", ".git/x.wav")
    make_folders(site, "b.wav", "deep/d.wav")
    (corpus / "bus" / "siteB").symlink_to(site)
    (corpus / "bus" / "again").symlink_to(corpus / "bus" / "z")
    (site / "circle").symlink_to(site)
    # The folder of a label holds no clips of another one.
    (corpus / "bus" / "up").symlink_to(corpus)
    paths = sorted(clip.path for clip in load("folder", corpus).clips)
    wanted = ["bus/a.wav", "bus/siteB/b.wav", "bus/siteB/deep/d.wav", "bus/z/c.wav"]
    assert paths == [*wanted, "tram/a.wav"]


# --- the leaky protocol, and settings that a corpus does not have


def make_takes(folder):
    """Two labels of ten recordings, each of four clips."""
    return make_folders(
        folder,
        *(
            f"{label}/{label}{n}-{take}.wav"
            for label in ("bus", "tram")
            for n in range(10)
            for take in "abcd"
        ),
    )


def test_the_random_protocol_divides_recordings_and_says_that_it_is_leaky(tmp_path):
    manifest = load(
        "folder",
        make_takes(tmp_path),
        protocol="random",
        allow_leaky=True,
        identifier_pattern=r"(\w+)-[abcd]",
    )
    # Of 40 clips of each label 20 per cent, then 15 per cent of the rest.
    parts = [manifest.clips_in(split) for split in ("test", "validation", "train")]
    assert [len(part) for part in parts] == [16, 10, 54]
    assert [sum(c.label == "bus" for c in part) for part in parts] == [8, 5, 27]
    with pytest.raises(UserError, match="in two splits"):
        check_leaks(manifest.clips)
    assert manifest.protocol == protocol("folder", "random", leaky=True)
    manifest.check()
    honest = {"corpus": "folder", "leaky": False}
    with pytest.raises(UserError, match="in two splits"):
        dataclasses.replace(manifest, protocol=honest).check()


def test_the_random_protocol_keeps_each_clips_recording_and_follows_the_seed(tmp_path):
    settings = {"protocol": "random", "allow_leaky": True}
    manifest = load("esc10", make_esc10_folders(tmp_path), **settings)
    official = load("esc10", tmp_path)
    assert [(c.path, c.identifier, c.fold) for c in manifest.clips] == [
        (c.path, c.identifier, c.fold) for c in official.clips
    ]
    assert {clip.fold for clip in manifest.clips_in("test")} == {1, 2, 3, 4, 5}
    assert load("esc10", tmp_path, **settings) == manifest
    assert load("esc10", tmp_path, **settings, seed=1) != manifest


def test_the_seed_decides_which_recordings_are_drawn_for_the_test(tmp_path):
    folder = make_takes(tmp_path)

    def drawn(seed):
        return load("folder", folder, seed=seed).clips_in("test")

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_folder_has_no_official_protocol_but_one_that_is_drawn(tmp_path):
    folder = make_takes(tmp_path)
    protocol = load("folder", folder, seed=7).protocol["protocol"]
    assert protocol == "drawn by file, seed 7"
    pattern = r"(\w+)-[abcd]"
    manifest = load("folder", folder, identifier_pattern=pattern)
    assert manifest.protocol["protocol"] == "drawn by recording, seed 0"


@pytest.mark.parametrize(
    ("parts", "settings", "wanted"),
    [
        (
            ("train", "validation", "test"),
            {"split_column": "it"},
            "split of the table",
        ),
        (
            ("train", "train", "test"),
            {"split_column": "it"},
            "split of the table, validation split drawn by file, seed 0",
        ),
        (
            ("1", "1", "2"),
            {"fold_column": "it"},
            "folds of the table, validation split drawn by file, seed 0",
        ),
        (("1", "1", "2"), {}, "drawn by file, seed 0"),
    ],
)
def test_a_table_says_whether_its_split_is_its_own(tmp_path, parts, settings, wanted):
    rows = [f"{n}.wav,{'ab'[n % 2]},{parts[n // 4]}" for n in range(12)]
    text = "\n".join(["filename,label,it", *rows]) + "\n"
    manifest = load_csv(tmp_path, text, **settings)
    assert manifest.protocol["protocol"] == wanted


def test_the_random_protocol_must_be_allowed(tmp_path):
    message = refusal(
        UsageError, load, "folder", make_takes(tmp_path), protocol="random"
    )
    assert message.startswith("dataset.protocol = random: ")
    assert "set dataset.allow_leaky" in message


def test_allowing_leaks_changes_nothing_by_itself(tmp_path):
    folder = make_esc10_folders(tmp_path)
    assert load("esc10", folder, allow_leaky=True) == load("esc10", folder)


@pytest.mark.parametrize(
    ("name", "protocol", "known"),
    [
        ("esc10", "two_folds", "official, random"),
        (
            *("folder", "two_folds"),
            "official, kfold, stratified_kfold, grouped_kfold, random",
        ),
        ("tut2018", "stratified_kfold", "official, random"),
        ("urbansound8k", "kfold", "official, two_folds, random"),
        ("fsdkaggle2018", "two_folds", "official, kfold, stratified_kfold, random"),
    ],
)
def test_a_protocol_that_a_corpus_does_not_have_is_refused(
    tmp_path, name, protocol, known
):
    message = refusal(UsageError, load, name, tmp_path, protocol=protocol)
    assert message == (
        f"dataset.protocol = {protocol}: {name} has the protocols {known}"
    )


def make_recordings(folder):
    """Make clips of 7, 4 and 11 recordings; return settings of four grouped folds."""
    for label, count in RECORDINGS.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            for take in range(1 + number % 3):
                (folder / label / f"{label}{number}-{take}.wav").touch()
    pattern = r"/(.+)-\d"
    return {"protocol": "grouped_kfold", "folds": 4, "identifier_pattern": pattern}


RECORDINGS = {"dog": 7, "rain": 4, "sea": 11}


@pytest.mark.parametrize("protocol", ["kfold", "stratified_kfold", "grouped_kfold"])
def test_made_folds_test_each_recording_once_and_may_spread_every_label(
    tmp_path, protocol
):
    folder = tmp_path / "clips"
    settings = {**make_recordings(folder), "protocol": protocol}
    tested, sizes = [], []
    for fold in range(1, 5):
        manifest = load("folder", folder, fold=fold, **settings)
        manifest.check()
        assert manifest.protocol["folds"] == [1, 2, 3, 4]
        assert manifest.protocol["fold"] == fold
        clips = manifest.clips_in("test")
        tested += [clip.path for clip in clips]
        sizes.append(len({clip.identifier for clip in clips}))
        for label, count in RECORDINGS.items() if protocol != "kfold" else ():
            own = {clip.identifier for clip in clips if clip.label == label}
            assert count // 4 <= len(own) <= -(-count // 4)
    assert sorted(tested) == sorted(clip.path for clip in manifest.clips)
    assert protocol != "kfold" or sorted(sizes) == [5, 5, 6, 6]
    other = load("folder", folder, fold=4, seed=1, **settings)
    assert other.clips_in("test") != clips


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"folds": 5},
            "dataset.folds = 5: more than the 4 recordings of rain; give fewer folds",
        ),
        (
            {"folds": 23, "protocol": "kfold"},
            "dataset.folds = 23: more than the 22 recordings; give fewer folds",
        ),
        ({"fold": 5}, "dataset.fold = 5: grouped_kfold has the folds: 1, 2, 3, 4"),
    ],
)
def test_folds_that_cannot_be_made_of_a_folder_are_refused(tmp_path, changes, message):
    folder = tmp_path / "clips"
    settings = make_recordings(folder) | changes
    assert refusal(UsageError, load, "folder", folder, **settings) == message


def test_every_corpus_of_the_configuration_has_an_adapter():
    choices = FIELDS["dataset.name"].metadata["choices"]
    assert sorted(datasets.ADAPTERS) == sorted(choices)


# --- ESC


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


# --- one folder per label


def test_without_a_pattern_each_clip_is_a_recording(tmp_path):
    make_folders(
        tmp_path, *(f"{x}/{n}.wav" for x in ("tram", "bus") for n in range(20))
    )
    manifest = load("folder", tmp_path)
    assert manifest.labels == ("bus", "tram")
    assert all(clip.identifier == clip.path for clip in manifest.clips)
    assert all(clip.label == clip.path.split("/")[0] for clip in manifest.clips)
    assert [len(manifest.clips_in(s)) for s in ("train", "validation", "test")] == [
        28,
        4,
        8,
    ]
    assert manifest.protocol == protocol("folder", "drawn by file, seed 0")
    manifest.check()


def test_the_first_group_of_the_pattern_is_the_identifier(tmp_path):
    make_folders(
        tmp_path,
        *(
            f"{x}/{x}-{n}-{t}.wav"
            for x in ("bus", "tram")
            for n in range(9)
            for t in "ab"
        ),
    )
    manifest = load("folder", tmp_path, identifier_pattern=r"(\w+-\d+)-[ab]\.wav$")
    assert {c.identifier for c in manifest.clips} == {
        f"{x}-{n}" for x in ("bus", "tram") for n in range(9)
    }
    manifest.check()


def test_named_groups_give_identifier_city_and_device(tmp_path):
    make_folders(tmp_path, "bus/bus-paris-7-s1.wav", "tram/tram-lyon-8-.wav")
    pattern = r"-(?P<city>\w+)-(?P<identifier>\d+)-(?P<device>\w+)?\.wav"
    clips = load("folder", tmp_path, identifier_pattern=pattern).clips
    assert [(c.identifier, c.city, c.device) for c in clips] == [
        ("7", "paris", "s1"),
        ("8", "lyon", ""),
    ]
    pattern = r"-(?P<city>\w+)-(\d+)-"
    clips = load("folder", tmp_path, identifier_pattern=pattern).clips
    assert [(c.identifier, c.city) for c in clips] == [("7", "paris"), ("8", "lyon")]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("(", "not a regular expression"),
        (r"\d+", "has no group for the recording"),
        (r"(?P<city>bus)", "has no group for the recording"),
        (r"(\d+)\.flac", "does not match bus/bus-1.wav"),
        (r"(x)?\d\.wav", "finds no identifier in bus/bus-1.wav"),
        (r"(?P<city>bus)-(?P<identifier>\d)?", "finds no identifier in tram/"),
        (r"(?P<identifer>\d)", "unknown group identifer; did you mean identifier?"),
        (r"(?P<place>\d)", "unknown group place (known: identifier, city, device)"),
    ],
)
def test_a_pattern_that_does_not_fit_is_refused_with_itself(tmp_path, pattern, wanted):
    make_folders(tmp_path, "bus/bus-1.wav", "tram/bus-.wav")
    message = refusal(UsageError, load, "folder", tmp_path, identifier_pattern=pattern)
    assert message.startswith(f"dataset.identifier_pattern = {pattern!r}: ")
    assert wanted in message


def test_one_label_folder_is_refused_by_the_check(tmp_path):
    make_folders(tmp_path, *(f"bus/{n}.wav" for n in range(9)))
    message = refusal(UserError, load("folder", tmp_path).check)
    assert "fewer than two labels (found: bus)" in message


@pytest.mark.parametrize(
    "name",
    [
        "bus/._1.wav",
        ".Trash/bus/1.wav",
        ".cache/1.wav",
        "bus/.snapshots/1.wav",
        "__MACOSX/bus/._1.wav",
        "bus/readme.txt",
        "empty/readme.md",
        "top-level.wav",
    ],
)
def test_hidden_files_and_what_is_no_clip_are_passed_over(tmp_path, name):
    make_folders(tmp_path, "bus/1.wav", "tram/1.wav")
    before = load("folder", tmp_path)
    touch(tmp_path / name)
    (tmp_path / "bus" / "folder.wav").mkdir()
    assert load("folder", tmp_path) == before


@pytest.mark.parametrize("suffix", ["WAV", "flac", "aiff"])
def test_clips_of_any_depth_and_format_belong_to_the_uppermost_folder(tmp_path, suffix):
    make_folders(tmp_path, f"bus/day 1/take/a.{suffix}", f"tram/b.{suffix}")
    clips = load("folder", tmp_path).clips
    assert [(clip.path, clip.label) for clip in clips] == [
        (f"bus/day 1/take/a.{suffix}", "bus"),
        (f"tram/b.{suffix}", "tram"),
    ]


# --- a table


def test_every_column_can_be_named_by_a_setting(tmp_path):
    manifest = load_csv(
        tmp_path,
        "clip,scene,place,town,mic,part,five,from,long\n"
        "x.wav,bus,p1,paris,a,train,1,0.5,2\n"
        "y.wav,tram,p2,lyon,b,test,2,,\n"
        "z.wav,tram,p3,lyon,b,validation,2,0,1e1\n",
        path_column="clip",
        label_column="scene",
        identifier_column="place",
        city_column="town",
        device_column="mic",
        split_column="part",
        fold_column="five",
        start_column="from",
        duration_column="long",
    )
    x, y, z = manifest.clips
    assert (x.path, x.label, x.identifier, x.city, x.device) == (
        *("x.wav", "bus", "p1", "paris", "a"),
    )
    assert (x.split, x.fold, x.start, x.duration) == ("train", 1, 0.5, 2.0)
    assert (y.split, y.fold, y.start, y.duration) == ("test", 2, 0.0, 0.0)
    assert (z.split, z.duration) == ("validation", 10.0)
    assert manifest.labels == ("bus", "tram")
    # The split column decides, so that the fold is no part of the protocol.
    assert manifest.protocol == protocol("csv", "split of the table")


@pytest.mark.parametrize(
    ("separator", "ending", "encoding"),
    [
        (",", "\n", "utf-8-sig"),
        (",", "\r\n", "utf-8"),
        ("\t", "\n", "utf-8"),
        (";", "\r\n", "utf-8-sig"),
    ],
)
def test_the_separator_line_ending_and_byte_order_mark_are_found_out(
    tmp_path, separator, ending, encoding
):
    lines = [
        ["filename", "label", "note"],
        ["a.wav", "métro", "x"],
        ["b.wav", "bus", ""],
    ]
    text = "".join(separator.join(line) + ending for line in lines)
    manifest = load_csv(tmp_path, text, encoding)
    assert [(c.path, c.label) for c in manifest.clips] == [
        ("a.wav", "métro"),
        ("b.wav", "bus"),
    ]


@pytest.mark.parametrize("breaking", ["\n", "\r\n", "\u2028", "\x85", "\x0b", "\x1c"])
def test_quoted_fields_may_hold_separators_quotes_and_line_breaks(tmp_path, breaking):
    text = (
        "filename,note,label\n"
        f'"a, b.wav","first{breaking}second ""quoted""","bus"\n'
        f"b.wav,{breaking.strip(LINE_ENDS)},tram\n"
    )
    manifest = load_csv(tmp_path, text)
    assert [(c.path, c.label) for c in manifest.clips] == [
        ("a, b.wav", "bus"),
        ("b.wav", "tram"),
    ]


def test_spaces_around_separators_are_no_part_of_a_value(tmp_path):
    manifest = load_csv(tmp_path, 'filename, label\na.wav , "bus"\nb.wav,bus \n')
    assert manifest.labels == ("bus",)
    assert [clip.path for clip in manifest.clips] == ["a.wav", "b.wav"]


def test_without_an_identifier_a_file_is_a_recording_however_its_path_is_written(
    tmp_path,
):
    manifest = load_csv(
        tmp_path,
        "filename,label,start\nd\\a.wav,bus,1\nd/a.wav,bus,0\nb.wav,tram,0\n",
        start_column="start",
    )
    assert [(c.path, c.identifier, c.start) for c in manifest.clips] == [
        ("b.wav", "b.wav", 0.0),
        ("d/a.wav", "d/a.wav", 0.0),
        ("d/a.wav", "d/a.wav", 1.0),
    ]


def test_one_file_is_one_recording_by_whatever_path_it_is_named(tmp_path, monkeypatch):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    monkeypatch.chdir(tmp_path)
    text = (
        f"filename,label,start\na.wav,bus,0\n{corpus}/a.wav,bus,1\n"
        f"{corpus}/d/../a.wav,bus,2\n{tmp_path}/c.wav,tram,0\n../b.wav,tram,0\n"
    )
    make_table(corpus, text)
    for folder in (corpus, "corpus"):
        settings = {"csv_file": "meta.csv", "start_column": "start"}
        clips = load("csv", folder, **settings).clips
        found = [(clip.path, clip.start) for clip in clips]
        others = [("../b.wav", 0.0), (f"{tmp_path}/c.wav", 0.0)]
        assert found == [*others, *(("a.wav", float(n)) for n in range(3))]
        assert all(clip.identifier == clip.path for clip in clips)


def test_the_table_may_be_anywhere(tmp_path):
    make_table(tmp_path, "filename,label\na.wav,bus\nb.wav,tram\n")
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("../meta.csv", str(tmp_path / "meta.csv")):
        assert len(load("csv", clips, csv_file=name).clips) == 2


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, "dataset.csv_file is missing"),
        ({"csv_file": "no.csv"}, "dataset.csv_file = no.csv: no such file"),
        ({"csv_file": "~no-such-user/x"}, "~no-such-user/x: no such file"),
    ],
)
def test_a_table_that_is_not_there_is_refused(tmp_path, settings, wanted):
    assert wanted in refusal(UsageError, load, "csv", tmp_path, **settings)


@pytest.mark.parametrize("field", ["path", "identifier", "duration"])
def test_a_column_that_the_table_lacks_is_named_beside_those_it_has(tmp_path, field):
    message = refusal(
        UsageError,
        load_csv,
        tmp_path,
        "filename,label\na.wav,bus\n",
        **{f"{field}_column": "nonsense"},
    )
    assert message.startswith(f"dataset.{field}_column = nonsense: ")
    assert message.endswith("has no such column (it has filename, label)")


def test_an_empty_table_is_refused_with_what_it_lacks(tmp_path):
    for text in ("", "\n,,\n"):
        message = refusal(UserError, load_csv, tmp_path, text)
        assert message.endswith(
            "meta.csv: is empty; write a header and a row for each clip"
        )


@pytest.mark.parametrize(
    "head",
    [
        *("\nfilename,label\n", ",,\nfilename,label,\n", "filename , label\n"),
        *("sep=,\nfilename,label\n", "sep=,\r\n\r\nfilename,label\r\n"),
    ],
)
def test_empty_lines_blanks_and_a_named_separator_may_come_before_or_in_a_header(
    tmp_path, head
):
    text = head + 'a;b.wav, "bus, red"\n,\nb.wav,tram\n'
    clips = load_csv(tmp_path, text).clips
    assert [(clip.path, clip.label) for clip in clips] == [
        ("a;b.wav", "bus, red"),
        ("b.wav", "tram"),
    ]
    message = refusal(UserError, load_csv, tmp_path, head + "a.wav,\n")
    line = 1 + head.count("\n")
    assert message == f"{tmp_path / 'meta.csv'}: line {line}: no label"


@pytest.mark.parametrize(
    ("field", "word", "wanted"),
    [
        ("split", "eval", "split 'eval' is none of train, validation, test"),
        ("split", "", "split '' is none of train, validation, test"),
        ("fold", "two", "fold 'two' is not a whole number"),
        ("fold", "1.0", "fold '1.0' is not a whole number"),
        ("fold", "", "fold '' is not a whole number"),
        ("start", "soon", "start 'soon' is not a time in seconds"),
        ("start", "-1", "start '-1' is not a time in seconds"),
        ("start", "nan", "start 'nan' is not a time in seconds"),
        ("duration", "inf", "duration 'inf' is not a time in seconds"),
    ],
)
def test_a_bad_word_in_a_row_is_named_with_table_line_and_column(
    tmp_path, field, word, wanted
):
    good = "train" if field == "split" else "1"
    text = f'filename,label,note,it\na.wav,bus,"two\nlines",{good}\nb.wav,tram,,{word}'
    message = refusal(UserError, load_csv, tmp_path, text, **{f"{field}_column": "it"})
    assert message == f"{tmp_path / 'meta.csv'}: line 4: {wanted}"


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (",bus", "no path"),
        ("  ,bus", "no path"),
        ("a.wav,", "no label"),
        ("a", "no label"),
    ],
)
def test_a_row_without_path_or_label_is_named(tmp_path, row, wanted):
    text = f"filename,label\nb.wav,tram\n{row}\n"
    message = refusal(UserError, load_csv, tmp_path, text)
    assert message == f"{tmp_path / 'meta.csv'}: line 3: {wanted}"


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\0", b'filename,label\n"' + b"x" * 200000]
)
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path, content):
    (tmp_path / "meta.csv").write_bytes(content)
    message = refusal(UserError, load, "csv", tmp_path, csv_file="meta.csv")
    assert message.startswith(f"{tmp_path / 'meta.csv'}: ")


def table_of(count, value):
    """A table with `count` recordings of two labels; `value(n)` is its last column."""
    lines = [
        f"{label}{n}.wav,{label},{value(n)}"
        for label in ("bus", "tram")
        for n in range(count)
    ]
    return "\n".join(["filename,label,it", *lines, ""])


def test_a_split_column_is_followed_and_only_missing_parts_are_drawn(tmp_path):
    words = ("train", "train", "train", "test")
    text = table_of(20, lambda n: words[n % 4])
    manifest = load_csv(tmp_path, text, split_column="it")
    assert len(manifest.clips_in("test")) == 10
    # 15 % of 15 recordings of each label.
    assert len(manifest.clips_in("validation")) == 4
    manifest.check()


def test_a_split_column_with_all_parts_is_left_as_it_is(tmp_path):
    words = ("train", "validation", "test")
    text = table_of(9, lambda n: words[n % 3])
    manifest = load_csv(tmp_path, text, split_column="it")
    assert [len(manifest.clips_in(word)) for word in words] == [6, 6, 6]


def test_a_split_column_that_divides_a_recording_is_followed_and_named(tmp_path):
    text = (
        "filename,label,place,part\n"
        "0.wav,bus,p0,train\n"
        "1.wav,bus,p0,test\n"
        "2.wav,tram,p1,train\n"
        "3.wav,tram,p2,validation\n"
    )
    manifest = load_csv(tmp_path, text, identifier_column="place", split_column="part")
    manifest.check()
    shared = manifest.protocol["shared_recordings"]
    assert shared["names"] == {"p0": ["train", "test"]}
    assert format_shared(manifest.protocol).startswith(
        "the table's split; 2 clips of 1 recording are on both sides (p0 in train and "
        "test)"
    )


def test_a_fold_column_makes_that_fold_the_test_part(tmp_path):
    text = table_of(20, lambda n: n % 4)
    manifest = load_csv(tmp_path, text, fold_column="it", fold=2)
    assert {clip.fold for clip in manifest.clips_in("test")} == {2}
    assert len(manifest.clips_in("test")) == 10
    assert manifest.protocol == protocol(
        "csv",
        "folds of the table, validation split drawn by file, seed 0",
        fold=2,
        folds=[0, 1, 2, 3],
    )
    manifest.check()


def test_without_a_fold_the_last_of_the_table_is_the_test_part(tmp_path):
    text = table_of(20, lambda n: 10 * (n % 4))
    manifest = load_csv(tmp_path, text, fold_column="it")
    assert manifest.protocol["fold"] == 30
    assert {clip.fold for clip in manifest.clips_in("test")} == {30}


def test_a_fold_that_the_table_does_not_have_is_refused_with_those_it_has(tmp_path):
    text = table_of(20, lambda n: n % 4)
    message = refusal(UsageError, load_csv, tmp_path, text, fold_column="it", fold=5)
    assert message == "dataset.fold = 5: the table has the folds: 0, 1, 2, 3"


def test_without_split_and_fold_both_parts_are_drawn_by_recording(tmp_path):
    text = table_of(60, lambda n: n // 3)
    manifest = load_csv(tmp_path, text, identifier_column="it", test_share=0.5)
    check_leaks(manifest.clips)
    # The 20 recordings have clips of both labels.
    counts = {
        s: len({c.identifier for c in manifest.clips_in(s)}) for s in ("test", "train")
    }
    assert counts == {"test": 10, "train": 8}


# --- real recordings


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


def test_a_row_that_is_there_twice_is_refused_with_its_lines(tmp_path):
    text = "filename,label\na.wav,bus\nb.wav,tram\n./a.wav,tram\n"
    message = refusal(UserError, load_csv, tmp_path, text)
    assert f"line 4: a.wav is there already, {tmp_path}/meta.csv: line 2" in message


def test_a_recording_without_a_name_in_a_named_column_is_refused(tmp_path):
    text = "filename,label,place\na.wav,bus,x\nb.wav,tram,\n"
    message = refusal(UserError, load_csv, tmp_path, text, identifier_column="place")
    assert "line 3: no identifier" in message
