import collections
import dataclasses
import random

import pytest

from asc_tf.core.errors import UserError
from asc_tf.manifest import (
    Clip,
    Manifest,
    check_leaks,
    check_names,
    format_counts,
    pick_evenly,
    read_clips,
    split_off,
)

SOUND = (
    Clip("a1.wav", "bus", "a1", split="train"),
    Clip("a2.wav", "tram", "a2", split="train"),
    Clip("a3.wav", "bus", "a3", split="validation"),
    Clip("a4.wav", "tram", "a4", split="test"),
)
LABELS = ("bus", "tram")


def refusal(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


def recordings(label, count, takes=2, split="train"):
    """`takes` clips of each of `count` recordings with one label."""
    return [
        Clip(f"{label}/{n}-{take}.wav", label, f"{label}-{n}", split=split)
        for n in range(count)
        for take in range(takes)
    ]


def identifiers(clips, split):
    return {clip.identifier for clip in clips if clip.split == split}


def per_label(clips, split):
    found = {(clip.label, clip.identifier) for clip in clips if clip.split == split}
    return dict(collections.Counter(label for label, _ in found))


def test_a_sound_table_passes():
    Manifest(SOUND, LABELS).check()


def test_identifiers_in_two_splits_are_named_with_those_splits():
    clips = [
        Clip("1.wav", "bus", "paris-1", split="train"),
        Clip("2.wav", "bus", "paris-1", split="test"),
        Clip("3.wav", "bus", "lyon-2", split="validation"),
        Clip("4.wav", "tram", "lyon-2", split="train"),
        Clip("5.wav", "tram", "rome-3", split="train"),
        Clip("6.wav", "tram", "rome-3", split="train"),
    ]
    message = refusal(check_leaks, clips)
    assert "lyon-2 (train and validation), paris-1 (test and train)" in message
    assert "rome-3" not in message
    assert message == refusal(Manifest((*SOUND, *clips), LABELS).check)


def test_a_clip_that_is_left_out_counts_as_a_leak_all_the_same():
    left_out = Clip("x.wav", "bus", "a4", split="train", reason="cut off")
    assert "a4 (test and train)" in refusal(Manifest((*SOUND, left_out), LABELS).check)


def test_of_many_leaking_identifiers_five_are_named_and_the_rest_counted():
    clips = [
        Clip(f"{n}-{split}.wav", "bus", f"place-{n}", split=split)
        for n in range(7)
        for split in ("train", "test")
    ]
    message = refusal(check_leaks, clips)
    assert message.count("place-") == 5
    assert "and 2 more" in message


@pytest.mark.parametrize(("labels", "shown"), [(("bus",), "bus"), ((), "none")])
def test_fewer_than_two_labels_are_refused(labels, shown):
    clips = [dataclasses.replace(clip, label="bus") for clip in SOUND]
    message = refusal(Manifest(tuple(clips), labels).check)
    assert f"fewer than two labels (found: {shown})" in message


@pytest.mark.parametrize("split", ["", "training", "Test"])
def test_a_row_without_a_known_split_is_named(split):
    stray = Clip("stray.wav", "bus", "stray", split=split)
    message = refusal(Manifest((*SOUND, stray), LABELS).check)
    assert message.startswith(f"stray.wav: split {split!r}")
    assert "train, validation, test" in message


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_without_a_usable_clip_is_named_with_its_counts(split):
    clips = tuple(
        dataclasses.replace(clip, reason="silent") if clip.split == split else clip
        for clip in SOUND
    )
    count = sum(clip.split == split for clip in SOUND)
    message = refusal(Manifest(clips, LABELS).check)
    assert f"the {split} split has no usable clips" in message
    assert f"all {count} were left out" in message


def test_a_label_that_no_training_clip_has_is_named():
    clips = (*SOUND, Clip("p.wav", "park", "p", split="test"))
    message = refusal(Manifest(clips, (*LABELS, "park")).check)
    assert message == "no training clip has the label park; add such clips"


def test_parts_hold_usable_clips_and_the_others_are_listed_with_their_reason():
    bad = Clip("bad.wav", "bus", "bad", split="train", reason="not a WAV file")
    manifest = Manifest((*SOUND, bad), LABELS)
    assert manifest.clips_in("train") == SOUND[:2]
    assert manifest.clips_in("test") == (SOUND[3],)
    assert manifest.excluded == (bad,)
    assert format_counts(manifest) == (
        "2 labels; train 2 clips of 2 recordings, validation 1 clips of 1 recordings, "
        "test 1 clips of 1 recordings; 1 left out"
    )


@pytest.mark.parametrize(
    ("start", "duration", "seconds"),
    [(0, 0, 5), (2, 0, 3), (2, 1.5, 1.5), (2, 9, 3), (7, 0, 0), (7, 1, 0)],
)
def test_a_clip_lasts_as_long_as_its_file_lets_it(start, duration, seconds):
    clip = Clip("a.wav", "bus", "a", start=float(start), duration=float(duration))
    clip = dataclasses.replace(clip, sample_rate=8000, samples=40000)
    assert clip.seconds == seconds


@pytest.mark.parametrize(
    ("share", "count", "moved"),
    [
        (0.15, 40, 6),
        (0.15, 10, 2),
        (0.2, 5, 1),
        (0.15, 2, 1),
        (0.01, 30, 1),
        (0.9, 2, 1),
        (0.9, 10, 9),
        (0.15, 1, 0),
        (0.9, 1, 0),
    ],
)
def test_a_share_of_each_labels_recordings_moves_but_never_the_last(
    share, count, moved
):
    clips = [*recordings("bus", count), *recordings("tram", 20)]
    split = split_off(clips, "train", "validation", share, seed=0)
    assert per_label(split, "validation").get("bus", 0) == moved
    assert per_label(split, "train")["bus"] == count - moved
    assert per_label(split, "validation")["tram"] == max(round(share * 20), 1)


def test_recordings_move_whole_and_rows_stay_in_their_order():
    clips = recordings("bus", 20, takes=3)
    split = split_off(clips, "train", "test", 0.25, seed=3)
    assert [clip.path for clip in split] == [clip.path for clip in clips]
    assert not identifiers(split, "train") & identifiers(split, "test")
    assert len(identifiers(split, "test")) == 5
    check_leaks(split)


def test_only_the_source_split_gives_and_all_else_stays():
    fixed = recordings("bus", 10, split="test")
    clips = [*fixed, *recordings("tram", 10)]
    split = split_off(clips, "train", "validation", 0.3, seed=1)
    assert list(split[: len(fixed)]) == fixed
    assert per_label(split, "validation") == {"tram": 3}


def test_the_same_seed_moves_the_same_recordings_and_another_seed_others():
    clips = recordings("bus", 40)
    moved = [
        identifiers(split_off(clips, "train", "validation", 0.2, seed), "validation")
        for seed in (5, 5, 6)
    ]
    assert moved[0] == moved[1] != moved[2]


def test_what_moves_does_not_depend_on_the_order_of_the_rows():
    clips = [*recordings("tram", 30), *recordings("bus", 25)]
    # Recordings with as many clips of one label as of the other.
    clips += [
        dataclasses.replace(clip, label="park")
        for clip in clips
        if int(clip.identifier.split("-")[1]) < 10
    ]
    wanted = identifiers(split_off(clips, "train", "validation", 0.3, 7), "validation")
    for order in range(5):
        shuffled = random.Random(order).sample(clips, len(clips))
        split = split_off(shuffled, "train", "validation", 0.3, 7)
        assert identifiers(split, "validation") == wanted


def test_a_recording_with_several_labels_counts_for_its_most_frequent_one():
    mixed = [Clip("m1.wav", "bus", "m"), Clip("m2.wav", "tram", "m")]
    mixed += [Clip("m3.wav", "tram", "m")]
    clips = [dataclasses.replace(clip, split="train") for clip in mixed]
    clips += recordings("bus", 1) + recordings("tram", 1)
    split = split_off(clips, "train", "validation", 0.5, seed=0)
    # `bus` has one recording of its own, which stays; `tram` has two, m among them.
    assert len(identifiers(split, "validation")) == 1
    assert "bus-0" in identifiers(split, "train")


ODD_CLIPS = (
    Clip("plain.wav", "bus", "1"),
    Clip(
        path='odd, "quoted"\nname; ünï 公園 \u2028.wav',
        label="line\nbreak",
        identifier=" spaces ",
        city="'",
        device=",",
        fold=0,
        split="test",
        start=0.1 + 0.2,
        duration=1e-17,
        size=2**40,
        mtime_ns=1_700_000_000_123_456_789,
        route="wav",
        sample_rate=44100,
        samples=2**33,
        peak=1 / 3,
        reason="not, good",
    ),
    Clip("later.wav", "tram", "2", fold=5, start=3.0),
)


def test_a_written_table_reads_back_equal(tmp_path):
    path = tmp_path / "manifest.csv"
    Manifest(ODD_CLIPS, LABELS).write(path)
    back = read_clips(path)
    assert back == ODD_CLIPS
    for before, after in zip(ODD_CLIPS, back, strict=True):
        kinds = [type(value) for value in dataclasses.astuple(after)]
        assert kinds == [type(value) for value in dataclasses.astuple(before)]
    assert [clip.fold for clip in back] == [None, 0, 5]


def test_a_table_without_clips_reads_back_empty(tmp_path):
    Manifest((), ()).write(tmp_path / "manifest.csv")
    assert read_clips(tmp_path / "manifest.csv") == ()


GOOD_HEADER = ",".join(item.name for item in dataclasses.fields(Clip))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"path,label\na.wav,bus\n",
        b"filename,label,identifier\na.wav,bus,1\n",
        GOOD_HEADER.encode() + b"\na.wav,bus,1\n",
        GOOD_HEADER.encode() + b"\na.wav,bus,1,,,,,0,0,0,0,,0,0,0,,surplus\n",
        GOOD_HEADER.encode() + b"\na.wav,bus,1,,,five,,0,0,0,0,,0,0,0,\n",
        GOOD_HEADER.encode() + b"\na.wav,bus,1,,,,,soon,0,0,0,,0,0,0,\n",
        GOOD_HEADER.encode() + b"\na.wav,bus,1,,,,,,0,0,0,,0,0,0,\n",
        GOOD_HEADER.encode() + b'\n"' + b"x" * 200_000,
        b"\xff\xfe\x00binary",
    ],
    ids=[
        "empty",
        "short",
        "other",
        "cut_row",
        "long_row",
        "fold",
        "time",
        "no_time",
        "quote",
        "binary",
    ],
)
def test_a_file_that_is_no_manifest_is_refused_by_name(tmp_path, content):
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    assert refusal(read_clips, path).startswith(f"{path}: not a manifest: ")


def test_a_missing_manifest_is_refused_by_name(tmp_path):
    path = tmp_path / "manifest.csv"
    assert f"{path}: not a manifest" in refusal(read_clips, path)


@pytest.mark.parametrize("field", ["path", "label", "identifier", "city", "device"])
@pytest.mark.parametrize("text", ["a\nb", "a\n", "a\rb", "a\u2028b", "caf\udce9", "\0"])
def test_a_name_that_a_line_of_text_cannot_hold_is_refused(field, text):
    clip = dataclasses.replace(Clip("a.wav", "bus", "1"), **{field: text})
    message = refusal(check_names, [clip])
    assert f"its {field} {text!r} has a line break" in message
    message.encode()


def test_any_other_name_is_accepted():
    check_names([Clip("a, 'b' 公園\t/c.wav", 'say "hi"', " ", city="São Paulo")])


@pytest.mark.parametrize("label", ["a\tb", "a\u00a0b", "\u202eevil", ""])
def test_a_label_that_cannot_be_printed_is_refused(label):
    message = refusal(check_names, [Clip("a.wav", label, "1")])
    assert "its label" in message


@pytest.mark.parametrize("share", [1.0, 1.1, 1.4, 1.9, 2.5, 10.0])
def test_what_is_drawn_evenly_from_a_sorted_table_has_every_class(share):
    table = [label for label in range(10) for _ in range(20)]
    drawn = pick_evenly(table, round(len(table) / share))
    assert len(drawn) == round(len(table) / share)
    counts = [drawn.count(label) for label in range(10)]
    assert min(counts) >= max(counts) - 1 >= 1
    assert pick_evenly(table, 1000) == table


def test_a_file_in_two_splits_is_refused_whatever_its_identifiers():
    clips = [
        Clip("a.wav", "bus", "1", split="train"),
        Clip("a.wav", "bus", "2", split="test", start=5.0),
    ]
    assert "a.wav (test and train)" in refusal(check_leaks, clips)
