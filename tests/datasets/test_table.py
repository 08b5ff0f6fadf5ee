import pytest
from corpora import load, load_csv, make_table, protocol
from esc_corpora import LINE_ENDS
from refusals import refusal

from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.shared_recordings import format_shared
from asc_tf.manifest import check_leaks


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


def test_a_row_that_is_there_twice_is_refused_with_its_lines(tmp_path):
    text = "filename,label\na.wav,bus\nb.wav,tram\n./a.wav,tram\n"
    message = refusal(UserError, load_csv, tmp_path, text)
    assert f"line 4: a.wav is there already, {tmp_path}/meta.csv: line 2" in message


def test_two_clips_that_begin_at_the_same_time_of_a_file_are_refused(tmp_path):
    text = "filename,label,start,duration\na.wav,bus,1,2\na.wav,tram,1,3\n"
    columns = {"start_column": "start", "duration_column": "duration"}
    message = refusal(UserError, load_csv, tmp_path, text, **columns)
    assert "line 3: another clip of a.wav begins at 1 s too, " in message
    assert message.endswith("line 2; keep one of the two")


def test_a_recording_without_a_name_in_a_named_column_is_refused(tmp_path):
    text = "filename,label,place\na.wav,bus,x\nb.wav,tram,\n"
    message = refusal(UserError, load_csv, tmp_path, text, identifier_column="place")
    assert "line 3: no identifier" in message
