"""ESC-10 and ESC-50 in miniature."""

import csv
import os

from corpora import touch

from asc_tf.datasets.esc import ESC10_TARGETS

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
