"""First mistakes with a corpus are answered with what to do."""

import pytest
import refusals
import tiny

from asc_tf import datasets
from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.pipeline import corpus_checks


def refusal(error, folder, **settings):
    return refusals.refusal(error, datasets.load, Dataset(dir=str(folder), **settings))


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def labelled(folder):
    return touch(folder, "dog/1.wav", "dog/2.wav", "rain/1.wav", "rain/2.wav")


# --- --dataset.dir without a name


def test_a_folder_of_labelled_folders_asks_for_its_name(tmp_path):
    message = refusal(UsageError, labelled(tmp_path))
    assert "not part of a synthetic corpus" in message
    assert message.endswith(
        "; this looks like one folder per label: add --dataset.name=folder"
    )
    assert not (tmp_path / "meta.csv").exists()


def test_a_published_corpus_asks_for_its_name(tmp_path):
    for label in ("001 - Dog bark", "002 - Rain"):
        touch(tmp_path, f"{label}/1-100032-A.ogg")
    assert refusal(UsageError, tmp_path).endswith(
        "this looks like esc10 or esc50: add --dataset.name=esc10 or "
        "--dataset.name=esc50"
    )


def test_a_folder_around_labelled_folders_asks_for_name_and_folder(tmp_path):
    labelled(tmp_path / "clips")
    assert refusal(UsageError, tmp_path).endswith(
        f"add --dataset.name=folder --dataset.dir={tmp_path / 'clips'}"
    )


def test_a_folder_with_a_table_asks_for_both(tmp_path):
    touch(tmp_path, "list.csv", "1.wav")
    assert refusal(UsageError, tmp_path).endswith(
        "add --dataset.name=csv --dataset.csv_file=list.csv"
    )


def test_a_folder_of_other_things_is_refused_as_before(tmp_path):
    touch(tmp_path, "notes.txt")
    assert refusal(UserError, tmp_path).endswith("choose an empty or new directory")


# --- one folder too many, or none


def test_one_folder_level_too_many_is_answered_with_the_folder(tmp_path):
    labelled(tmp_path / "archive")
    touch(tmp_path, "README.md")
    message = refusal(UsageError, tmp_path, name="folder")
    assert message == (
        f"dataset.dir = {tmp_path}: does not hold one folder per label, but only "
        "archive; its subfolder archive contains this corpus: use "
        f"--dataset.dir={tmp_path / 'archive'}"
    )


def test_folders_within_a_label_are_no_level_too_many(tmp_path):
    labelled(tmp_path)
    touch(tmp_path, "dog/small/3.wav", "dog/large/4.wav")
    corpus = datasets.load(Dataset(dir=str(tmp_path), name="folder"))
    assert corpus.labels == ("dog", "rain")


def test_a_table_one_level_down_is_answered_with_its_folder(tmp_path):
    inner = tmp_path / "ESC-50-master"
    touch(inner, "audio/1-1-A-0.wav", "meta/other.csv")
    text = "filename,fold,target,category,esc10\n"
    for fold in (1, 2):
        for target, name in ((0, "dog"), (1, "rooster")):
            text += (
                f"{fold}-{fold}{target}-A-{target}.wav,{fold},{target},{name},True\n"
            )
    (inner / "meta" / "esc50.csv").write_text(text)
    message = refusal(UsageError, tmp_path, name="esc50")
    assert message.endswith(
        f"; its subfolder ESC-50-master contains this corpus: use --dataset.dir={inner}"
    )


def test_a_missing_table_one_level_down_is_answered_too(tmp_path):
    header = "slice_file_name,fsID,fold,classID,class\n"
    rows = "".join(
        f"{f}-{c}-0-0.wav,{f}{c},{f},{c},{n}\n"
        for f in (1, 2, 3)
        for c, n in ((0, "air_conditioner"), (1, "car_horn"))
    )
    inner = touch(tmp_path / "UrbanSound8K", "metadata/UrbanSound8K.csv")
    (inner / "metadata" / "UrbanSound8K.csv").write_text(header + rows)
    message = refusal(UsageError, tmp_path, name="urbansound8k")
    assert "has no metadata/UrbanSound8K.csv" in message
    assert message.endswith(f"contains this corpus: use --dataset.dir={inner}")


def test_a_flat_folder_is_answered_with_what_to_do(tmp_path):
    flat = touch(tmp_path / "flat", "1.wav", "2.wav", "notes.txt")
    message = refusal(UsageError, flat, name="folder")
    assert "; 2 clips are directly in it, " in message
    assert "move those of each label into a folder with its name" in message
    assert "--dataset.name=csv --dataset.csv_file=TABLE" in message
    assert "dataset.dir=/" not in message


def test_the_folder_of_one_label_is_answered_with_the_one_above(tmp_path):
    labelled(tmp_path)
    message = refusal(UsageError, tmp_path / "rain", name="folder")
    assert message.endswith(
        "if rain is itself the folder of a label, as dog beside it may be, use "
        f"--dataset.dir={tmp_path}"
    )


# --- tables


def test_a_table_relative_to_the_working_folder_is_found(tmp_path, monkeypatch):
    clips = labelled(tmp_path / "clips")
    touch(tmp_path, "list.csv")
    monkeypatch.chdir(tmp_path)
    message = refusal(UsageError, clips, name="csv", csv_file="list.csv")
    assert message == (
        "dataset.csv_file = list.csv: no such file; looked for "
        f"{clips / 'list.csv'}, as it is relative to dataset.dir; there is one here: "
        f"--dataset.csv_file={tmp_path / 'list.csv'}"
    )


def test_a_table_whose_path_repeats_the_folder_is_found(tmp_path, monkeypatch):
    clips = touch(tmp_path / "clips", "list.csv")
    monkeypatch.chdir(tmp_path)
    message = refusal(UsageError, clips, name="csv", csv_file="clips/list.csv")
    assert message.endswith(f"--dataset.csv_file={clips / 'list.csv'}")


def test_tables_that_are_there_are_listed(tmp_path):
    touch(tmp_path, "a.csv", "b.tsv", "c.txt")
    for settings in ({}, {"csv_file": "x.csv"}):
        message = refusal(UsageError, tmp_path, name="csv", **settings)
        assert message.endswith(f"; {tmp_path} holds a.csv, b.tsv")


def missing_files(folder, *paths, **changes):
    """What is said of a table with these paths."""
    lines = [f"{path},{'ab'[n % 2]}" for n, path in enumerate(paths)]
    (folder / "list.csv").write_text("\n".join(["filename,label", *lines, ""]))
    config = tiny.config(folder, dataset__name="csv", dataset__csv_file="list.csv")
    config = config.replace({"dataset.identifier_pattern": "", **changes})
    with pytest.raises(UserError) as caught:
        corpus_checks.check_missing_files(datasets.load(config.dataset), config)
    return str(caught.value)


def test_paths_relative_to_a_folder_within_are_answered_with_it(tmp_path):
    touch(tmp_path, *(f"audio/dog/{n}.wav" for n in range(8)))
    message = missing_files(tmp_path, *(f"dog/{n}.wav" for n in range(8)))
    assert message.endswith(
        "No file of the corpus is where it should be: looked for "
        f"{tmp_path}/dog/0.wav; the file is {tmp_path}/audio/dog/0.wav: use "
        f"--dataset.dir={tmp_path}/audio --dataset.csv_file={tmp_path}/list.csv"
    )


def test_paths_relative_to_a_folder_above_are_answered_with_it(tmp_path):
    clips = touch(tmp_path / "clips", *(f"{n}.wav" for n in range(8)))
    message = missing_files(clips, *(f"clips/{n}.wav" for n in range(8)))
    assert message.endswith(
        f"the file is {clips}/0.wav: use --dataset.dir={tmp_path} "
        f"--dataset.csv_file={clips}/list.csv"
    )


def test_paths_of_another_computer_are_answered_with_the_file(tmp_path):
    touch(tmp_path, *(f"audio/{n}.wav" for n in range(8)))
    message = missing_files(tmp_path, *(f"/media/disk/{n}.wav" for n in range(8)))
    assert message.endswith(
        f"looked for /media/disk/0.wav; the file is {tmp_path}/audio/0.wav: correct "
        "the paths in the table"
    )


@pytest.mark.parametrize(
    ("listed", "there"), [("a.wav", "A.WAV"), ("caf\u00e9.wav", "cafe\u0301.wav")]
)
def test_a_name_in_other_letters_or_accents_is_answered_with_the_file(
    tmp_path, listed, there
):
    touch(tmp_path, f"x/{there}")
    message = missing_files(tmp_path, f"x/{listed}", "x/z.wav")
    assert f"; the file is {tmp_path}/x/{there}: correct the paths" in message


def test_files_that_are_nowhere_are_named_where_they_were_looked_for(tmp_path):
    message = missing_files(tmp_path, *(f"{n}.wav" for n in range(8)))
    assert message.endswith(f"looked for {tmp_path}/0.wav")


@pytest.mark.parametrize(
    ("encoding", "name"), [("latin-1", "LATIN1"), ("utf-16", "UTF-16")]
)
def test_a_table_that_is_not_utf8_says_how_to_convert_it(tmp_path, encoding, name):
    text = "filename,label\n1.wav,pluie\n2.wav,for\u00eat\n"
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    message = refusal(UserError, tmp_path, name="csv", csv_file="list.csv")
    line, byte = {"LATIN1": (3, "ea"), "UTF-16": (1, "ff")}[name]
    assert message == (
        f"{tmp_path / 'list.csv'}: cannot be read: line {line} has the byte 0x{byte}, "
        "which is not UTF-8; save it as CSV in UTF-8, or convert it: iconv -f "
        f"{name} -t UTF-8 list.csv > utf8.csv"
    )


def test_the_table_of_a_published_corpus_without_rows_is_named(tmp_path):
    table = touch(tmp_path, "metadata/UrbanSound8K.csv") / "metadata/UrbanSound8K.csv"
    table.write_text("slice_file_name,fsID,fold,classID,class\n")
    message = refusal(UserError, tmp_path, name="urbansound8k")
    assert message == f"{table}: has a header but no row; add one for each clip"
