"""Published corpora in miniature: tables and names as published, files empty."""

from refusals import refusal

from asc_tf import datasets
from asc_tf.config import Dataset
from asc_tf.datasets.dcase import GROUPS, SCENES
from asc_tf.datasets.urbansound8k import CLASSES

DEVICES = ("a", "b", "s1")
CITIES = ("lyon", "oslo")
DCASE = ("tut2018", "tau2019", "tau2020_mobile", "tau2020_3class", "tau2022_mobile")
URBAN_TABLE = "metadata/UrbanSound8K.csv"
SOUNDS = ("Bark", "Cello", "Knock")


def load(name, folder, **settings):
    return datasets.load(Dataset(name=name, dir=str(folder), **settings))


def protocol(corpus, name="official", fold=None, leaky=False, **more):
    """The protocol of a manifest."""
    return {"corpus": corpus, "protocol": name, "fold": fold, "leaky": leaky} | more


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def write_csv(path, header, rows):
    return write(path, "\n".join(",".join(map(str, r)) for r in (header, *rows)) + "\n")


def edit(path, change):
    """Change the text of a table."""
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def make_mini(folder, form="{scene}_{number}.wav"):
    for scene in SCENES:
        for number in range(1, 9):
            write(folder / form.format(scene=scene, number=number), "")
    return folder


URBAN_COLUMNS = (
    *("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID"),
    "class",
)


def make_urban(folder, folds=range(1, 11), table="metadata/UrbanSound8K.csv"):
    """Two slices of one recording for each class and fold."""
    rows = [
        (f"{ident}-{number}-0-{take}.wav", ident, 0, 4, 1, fold, number, name)
        for fold in folds
        for number, name in enumerate(CLASSES)
        for ident in [100 * fold + number]
        for take in (0, 1)
    ]
    write_csv(folder / table, URBAN_COLUMNS, reversed(rows))
    return folder


def dcase_rows(name):
    """(path, label, identifier, device, split): six locations of each scene."""
    segments = ("-0", "-1") if name == "tau2022_mobile" else ("",)
    devices = DEVICES if "mobile" in name else ("a",)
    groups = {scene: group for group, scenes in GROUPS.items() for scene in scenes}
    for number, scene in enumerate(SCENES):
        for place in range(6):
            identifier = f"{CITIES[place % 2]}-{6 * number + place}"
            label = groups[scene] if name == "tau2020_3class" else scene
            split = "test" if place > 3 else "train"
            for take in range(4):
                for device in devices:
                    for segment in segments:
                        path = f"{scene}-{identifier}-{take}{segment}-{device}.wav"
                        yield f"audio/{path}", label, identifier, device, split


def make_dcase(folder, name):
    """The files of the development set's meta archive."""
    rows = list(dcase_rows(name))
    header = "filename\tscene_label\tidentifier\tsource_label"
    lines = [header, *("\t".join(row[:4]) for row in rows)]
    write(folder / "meta.csv", "\n".join([*lines, ""]))
    ending, head = (".txt", []) if name == "tut2018" else (".csv", [lines[0][:20]])
    for words, split in ((2, "train"), (2, "evaluate"), (1, "test")):
        part = split.replace("evaluate", "test")
        chosen = ["\t".join(row[:words]) for row in rows if row[4] == part]
        top = [line.split("\t")[0] if words == 1 else line for line in head]
        path = folder / "evaluation_setup" / f"fold1_{split}{ending}"
        write(path, "\n".join([*top, *chosen, ""]))
    return folder


def fsd_rows(count=20):
    """(file name, label, verified, Freesound recording) of the training part."""
    for number, label in enumerate(SOUNDS):
        for place in range(count):
            ident = 1000 * (number + 1) + place
            yield f"{ident:08x}.wav", label, place % 2, ident


def fsd_tests(padding):
    for number, label in enumerate(SOUNDS):
        yield f"{number}a.wav", label, "Public", 9000 + number
        yield f"{number}b.wav", label, "Private", 9100 + number
        if padding:
            yield f"{number}c.wav", "None", "Ignored", 9200 + number


FSD_TRAIN = ("fname", "label", "manually_verified", "freesound_id")
FSD_TEST = ("fname", "label", "usage", "freesound_id")
FSD_LAYOUTS = {
    "zenodo": (
        "FSDKaggle2018.meta/train_post_competition.csv",
        "FSDKaggle2018.meta/test_post_competition_scoring_clips.csv",
        "FSDKaggle2018.",
    ),
    "kaggle": ("train.csv", "test_post_competition.csv", ""),
    "flat": ("train_post_competition.csv", "test_post_competition.csv", ""),
}


def make_fsd(folder, layout="zenodo"):
    train, test, home = FSD_LAYOUTS[layout]
    width = 3 if layout == "kaggle" else 4
    rows = [row[:width] for row in fsd_rows()]
    write_csv(folder / train, FSD_TRAIN[:width], rows)
    write_csv(folder / test, FSD_TEST, fsd_tests(padding=layout != "zenodo"))
    for part in ("audio_train", "audio_test"):
        (folder / f"{home}{part}").mkdir(exist_ok=True)
    return folder


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


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


def corpus_refusal(error, name, folder, **settings):
    """The message with which a corpus is refused."""
    return refusal(error, load, name, folder, **settings)


def without(word):
    def change(text):
        return "\n".join(line for line in text.split("\n") if word not in line)

    return change
