"""Text output of `asc-tf datasets`: tables and descriptions."""

import shlex
import textwrap
from collections.abc import Sequence

from asc_tf import datasets
from asc_tf.core.text_table import align_columns
from asc_tf.datasets.catalog import CATALOG, Entry
from asc_tf.datasets.shared_recordings import format_shared
from asc_tf.manifest import SPLITS, Manifest


def format_listing() -> str:
    """Format the table of all corpora, one line each."""
    rows = [("name", "title", "clips", "size", "licence", "protocols")]
    for entry in CATALOG.values():
        rows.append(
            (
                entry.name,
                entry.title.partition(" (")[0],
                f"{entry.clips}" if entry.clips else "-",
                format_size(entry.download_bytes),
                entry.licence.partition(" (")[0],
                ", ".join(("official", *datasets.PROTOCOLS.get(entry.name, ()))),
            )
        )
    table = align_columns(rows, right=(2, 3))
    return (
        f"{table}\n\nEvery corpus also has the protocol random, which "
        "is leaky.\nasc-tf datasets info NAME says more about one."
    )


def format_size(size: float) -> str:
    """Format a size in bytes like `647 MB`; `-` for 0."""
    if not size:
        return "-"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def format_info(entry: Entry, folder: str, given: str = "") -> str:
    """Format the description of a corpus, with the command to train on it.

    Args:
        entry: Description of the corpus.
        folder: Folder of the corpus in the command.
        given: Flags of the command, in place of those of the entry.
    """
    facts = {
        "source": entry.page,
        "licence": entry.licence,
        "size": format_download_size(entry),
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
    lines += [format_train_command(entry, folder, given)]
    return "\n".join(lines)


def format_download_size(entry: Entry) -> str:
    """Format the size of a corpus: to download, and unpacked."""
    if not entry.download_bytes:
        return ""
    download = format_size(entry.download_bytes)
    return f"about {download} to download, {format_size(entry.unpacked_bytes)} unpacked"


def format_train_command(entry: Entry, folder: str, given: str = "") -> str:
    """Format the command that trains on a corpus; see `format_info`."""
    name = f"--dataset.name={entry.name} --dataset.dir={shlex.quote(folder)}"
    words = [name, given or entry.flags, "--workdir=W"]
    return f"asc-tf train {' '.join(word for word in words if word)}"


def format_splits(manifest: Manifest) -> str:
    """Format the locations and clips of each label in each split, with totals."""
    rows = [["locations / clips", *SPLITS, "all", "held out"]]
    for row in datasets.tabulate_splits(manifest):
        cells = [(row[f"{s}_locations"], row[f"{s}_clips"]) for s in SPLITS]
        whole = {c.identifier for c in manifest.clips if c.label == row["label"]}
        cells.append((len(whole), sum(clips for _, clips in cells)))
        shown = [f"{a} / {b}" for a, b in cells]
        rows.append([row["label"], *shown, _format_held_out(cells)])
    columns = [manifest.clips_in(split) for split in SPLITS]
    columns.append(tuple(clip for clips in columns for clip in clips))
    cells = [(len({c.identifier for c in clips}), len(clips)) for clips in columns]
    rows.append(["total", *(f"{a} / {b}" for a, b in cells), _format_held_out(cells)])
    of = [max(number, 1) for number in cells[-1]]
    shares = [f"{100 * a / of[0]:.1f} / {100 * b / of[1]:.1f} %" for a, b in cells]
    rows.append(["share", *shares, ""])
    notes = ", ".join(
        f"{key} {value}"
        for key, value in manifest.protocol.items()
        if value is not None and key != "shared_recordings"
    )
    if shared := format_shared(manifest.protocol):
        notes += f"\n{shared}"
    legend = "held out: validation clips among those that are not for the test"
    return f"{align_columns(rows, right=range(1, 6))}\n{legend}\n\n{notes}"


def _format_held_out(cells: Sequence[tuple[int, int]]) -> str:
    """Format the percentage of validation clips among training and validation."""
    (_, train), (_, validation), *_ = cells
    return f"{100 * validation / max(train + validation, 1):.1f} %"
