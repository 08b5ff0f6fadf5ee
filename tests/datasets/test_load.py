import dataclasses

import pytest
from corpora import load, load_csv, make_folders, protocol
from esc_corpora import make_esc10_folders
from refusals import refusal

from asc_tf import datasets
from asc_tf.config import FIELDS, Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.manifest import check_leaks


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
