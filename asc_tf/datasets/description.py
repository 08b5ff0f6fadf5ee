"""What `asc-tf datasets` prints: tables and descriptions."""

import shlex
import textwrap
from collections.abc import Sequence

from asc_tf import datasets
from asc_tf.core.text_table import align_columns
from asc_tf.datasets.catalog import CATALOG, Entry
from asc_tf.datasets.shared import shared_note
from asc_tf.manifest import SPLITS, Manifest


def listing() -> str:
    """One line per corpus."""
    rows = [("name", "title", "clips", "size", "licence", "protocols")]
    for entry in CATALOG.values():
        rows.append(
            (
                entry.name,
                entry.title.partition(" (")[0],
                f"{entry.clips}" if entry.clips else "-",
                size_text(entry.download_bytes),
                entry.licence.partition(" (")[0],
                ", ".join(("official", *datasets.PROTOCOLS.get(entry.name, ()))),
            )
        )
    table = align_columns(rows, right=(2, 3))
    return (
        f"{table}\n\nEvery corpus also has the protocol random, which "
        "is leaky.\nasc-tf datasets info NAME says more about one."
    )


def size_text(size: float) -> str:
    """Bytes for people: `647 MB`; `-` for none."""
    if not size:
        return "-"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def info(entry: Entry, folder: str, given: str = "") -> str:
    """All that is known of a corpus; the command to train has `folder` and `given`."""
    facts = {
        "source": entry.page,
        "licence": entry.licence,
        "size": size_line(entry),
        "clips": f"{entry.clips} of {entry.classes} labels" if entry.clips else "",
        "cite": entry.citation,
        "protocol": entry.protocol,
        "note": entry.note,
    }
    lines = [f"{entry.name}: {entry.title}", ""]
    for name, text in facts.items():
        if text:
            lines += textwrap.wrap(
                text,
                88,
                initial_indent=f"{name:10}",
                subsequent_indent=" " * 10,
                break_long_words=False,
                break_on_hyphens=False,
            )
    lines += ["", "folder", textwrap.indent(entry.layout, "  "), ""]
    lines += [train_line(entry, folder, given)]
    return "\n".join(lines)


def size_line(entry: Entry) -> str:
    """How much there is to download and to keep."""
    if not entry.download_bytes:
        return ""
    whole, unpacked = size_text(entry.download_bytes), size_text(entry.unpacked_bytes)
    return f"about {whole} to download, {unpacked} unpacked"


def train_line(entry: Entry, folder: str, given: str = "") -> str:
    """The command that trains on it, with the flags given."""
    name = f"--dataset.name={entry.name} --dataset.dir={shlex.quote(folder)}"
    words = [name, given or entry.flags, "--workdir=W"]
    return f"asc-tf train {' '.join(word for word in words if word)}"


def splits(manifest: Manifest) -> str:
    """Locations and clips of each label in each split, with totals and shares."""
    rows = [["locations / clips", *SPLITS, "all", "held out"]]
    for row in datasets.split_table(manifest):
        cells = [(row[f"{s}_locations"], row[f"{s}_clips"]) for s in SPLITS]
        whole = {c.identifier for c in manifest.clips if c.label == row["label"]}
        cells.append((len(whole), sum(clips for _, clips in cells)))
        shown = [f"{a} / {b}" for a, b in cells]
        rows.append([row["label"], *shown, _held_out(cells)])
    parts = [manifest.clips_in(split) for split in SPLITS]
    parts.append(tuple(clip for part in parts for clip in part))
    cells = [(len({clip.identifier for clip in part}), len(part)) for part in parts]
    rows.append(["total", *(f"{a} / {b}" for a, b in cells), _held_out(cells)])
    of = [max(number, 1) for number in cells[-1]]
    shares = [f"{100 * a / of[0]:.1f} / {100 * b / of[1]:.1f} %" for a, b in cells]
    rows.append(["share", *shares, ""])
    notes = ", ".join(
        f"{key} {value}"
        for key, value in manifest.protocol.items()
        if value is not None and key != "shared_recordings"
    )
    if shared := shared_note(manifest.protocol):
        notes += f"\n{shared}"
    legend = "held out: validation clips among those that are not for the test"
    return f"{align_columns(rows, right=range(1, 6))}\n{legend}\n\n{notes}"


def _held_out(cells: Sequence[tuple[int, int]]) -> str:
    """Share of the validation clips among training and validation, in per cent."""
    (_, train), (_, validation), *_ = cells
    return f"{100 * validation / max(train + validation, 1):.1f} %"
