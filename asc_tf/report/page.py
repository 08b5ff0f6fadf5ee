"""report.html: one page that needs no other file, no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from asc_tf.manifest import SPLITS
from asc_tf.report.headline import headline
from asc_tf.report.html import (
    NO_VALUE,
    bar_cell,
    breakable,
    decimals,
    document,
    facts,
    figure,
    name_cell,
    number_cell,
    percent,
    section,
    table,
    text_cell,
)

MAX_MISTAKES = 10
MAX_EXCLUDED = 100
# Matrices of so many classes stand side by side on a wide page.
SMALL_MATRIX = 12

WITHOUT_LABELS = (
    "<strong>No scores.</strong> The clips of this part have no labels; what the model "
    "says of each is in predictions.csv."
)
LEAKY = (
    "<strong>LEAKY protocol.</strong> Recordings or places of this split are also in "
    "the training data: expect lower scores on new ones."
)


def render(
    report: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    light: Mapping[str, bytes],
    dark: Mapping[str, bytes],
) -> str:
    """Renders a report as HTML.

    Args:
      report: as in `asc_tf.report.write_report`.
      predictions: as in `asc_tf.report.write_report`.
      light: PNG figures by file name, for the light page and for print.
      dark: the same figures for the dark page.

    Returns:
      The page. Every string of `report` and `predictions` in it is escaped.
    """
    title = _title(report)
    sections = [_header(report, title), _headline(report)]
    if report["has_labels"]:
        sections += [
            _per_class(report),
            _groups(report),
            _matrices(report, light, dark),
            _mistakes(predictions),
        ]
    else:
        sections.append(_predicted(report["n_predicted"]))
    sections += [
        _split_table(report),
        _training(report.get("energy") or {}, light, dark),
        _excluded(report.get("excluded") or []),
    ]
    return document(
        title,
        "\n".join(section for section in sections if section),
        "The numbers of this page are in report.json, every clip in predictions.csv.",
    )


def _title(report: Mapping[str, Any]) -> str:
    names = [report.get("model"), report.get("workdir")]
    return " · ".join(str(name) for name in names if name) or "Scene classification"


def _header(report: Mapping[str, Any], title: str) -> str:
    protocol = dict(report.get("protocol") or {})
    leaky = protocol.pop("leaky", False)
    # A note says it.
    protocol.pop("shared_recordings", None)
    line = facts({"split": report.get("split"), **protocol})
    notes = "".join(
        f"<li>{escape(str(note))}</li>" for note in report.get("notes") or []
    )
    banners = [LEAKY] if leaky else []
    if partial := report.get("partial"):
        text = escape(str(partial))
        banners.insert(0, f"<strong>PARTIAL report.</strong> {text}.")
    if not report["has_labels"]:
        banners.append(WITHOUT_LABELS)
    return (
        f'<header>\n<h1>{breakable(title)}</h1>\n<p class="muted">{line}</p>\n'
        + "".join(f'<p class="banner" role="alert">{text}</p>\n' for text in banners)
        + (f'<ul class="muted">{notes}</ul>\n' if notes else "")
        + "</header>"
    )


def _headline(report: Mapping[str, Any]) -> str:
    figures = headline(report) if report["has_labels"] else []
    numbers = {name: text.replace("%", " %") for name, text in figures}
    numbers["clips"] = str(report["n_clips"])
    cards = "".join(
        f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in numbers.items()
    )
    segments = facts(report.get("segments") or {})
    line = f'<p class="muted segments">By segment: {segments}</p>' if segments else ""
    return f'<dl class="headline">{cards}</dl>\n{line}'


def _per_class(report: Mapping[str, Any]) -> str:
    rows = [
        [
            name_cell(row["label"]),
            number_cell(row["n_clips"]),
            bar_cell(row["accuracy"]),
            number_cell(percent(row["precision"])),
            bar_cell(row["f1"]),
            number_cell(decimals(row["log_loss"])),
        ]
        for row in report["per_class"]
    ]
    heads = ["label", "clips", "accuracy %", "precision %", "F1 %", "log loss"]
    note = "The accuracy of a class is its recall."
    return section("Per class", table(heads, rows, "classes"), note)


def _groups(report: Mapping[str, Any]) -> str:
    sections = []
    for key in ("split", "device", "city"):
        rows = [
            [
                name_cell(row[key] or "unknown"),
                number_cell(row["n_clips"]),
                bar_cell(row["accuracy"]),
                number_cell(percent(row["macro_accuracy"])),
                number_cell(decimals(row["log_loss"])),
            ]
            for row in report.get(f"per_{key}") or []
        ]
        if rows:
            heads = [key, "clips", "accuracy %", "macro %", "log loss"]
            sections.append(section(f"Per {key}", table(heads, rows)))
    content = "\n".join(sections)
    return f'<div class="pair">{content}</div>' if len(sections) == 2 else content


def _matrices(
    report: Mapping[str, Any], light: Mapping[str, bytes], dark: Mapping[str, bytes]
) -> str:
    images = [
        figure(f"confusion_matrix_{kind}.png", f"Confusion matrix: {text}", light, dark)
        for kind, text in (
            ("row_normalized", "per cent of the clips of each true label"),
            ("counts", "number of clips"),
        )
    ]
    small = " small" if len(report["labels"]) <= SMALL_MATRIX else ""
    return section(
        "Confusion matrix",
        f'<div class="matrices{small}">{"".join(images)}</div>',
        "Rows are the true label, columns the predicted one; empty cells round to 0.",
    )


def _mistakes(predictions: Sequence[Mapping[str, Any]]) -> str:
    wrong = [row for row in predictions if row["label"] != row["predicted"]]
    wrong.sort(key=lambda row: -float(row["probability"]))
    if not wrong:
        return ""
    rows = [
        [
            name_cell(row["file"]),
            text_cell(row["label"]),
            text_cell(row["predicted"]),
            number_cell(percent(float(row["probability"]))),
        ]
        for row in wrong[:MAX_MISTAKES]
    ]
    shown = f"{len(rows)} of {len(wrong)} wrong clips, the most confident first."
    heads = ["file", "true label", "predicted label", "probability %"]
    return section("Most confident mistakes", table(heads, rows, "stacked"), shown)


def _predicted(counts: Mapping[str, int]) -> str:
    total = max(sum(counts.values()), 1)
    rows = [
        [name_cell(label), number_cell(count), bar_cell(count / total)]
        for label, count in counts.items()
    ]
    note = "How many clips have each label as their most probable one."
    return section("Predicted labels", table(["label", "clips", "%"], rows), note)


def _split_table(report: Mapping[str, Any]) -> str:
    """Clips and recordings of each label in each split, and the shares held out."""
    table_rows = report.get("split_table") or []
    if not table_rows:
        return ""
    unit = "locations" if report["per_city"] else "recordings"
    rows = [
        [
            name_cell(row["label"]),
            *(
                number_cell(f"{row[f'{split}_locations']} / {row[f'{split}_clips']}")
                for split in SPLITS
            ),
            number_cell(percent(row["test_clip_share"])),
            number_cell(percent(row["validation_location_share"])),
        ]
        for row in table_rows
    ]
    heads = ["label", *SPLITS, "test clips %", f"validation {unit} %"]
    note = (
        f"In each part {unit} / clips. Then the share of a label's clips that are for "
        f"the test, and of its other {unit} that are for validation."
    )
    title = f"{unit.capitalize()} and clips of each label"
    return section(title, table(heads, rows), note)


def _training(
    energy: Mapping[str, Any], light: Mapping[str, bytes], dark: Mapping[str, bytes]
) -> str:
    content = ""
    if "history.png" in light:
        content = figure("history.png", "Loss and accuracy by epoch", light, dark)
    if not content and not energy:
        return ""
    return section("Training", content, describe_energy(energy) if energy else "")


def describe_energy(energy: Mapping[str, Any]) -> str:
    """One line of HTML on what energy.json says; an older one has no CO2."""
    parts = ", ".join(
        f"{name} {1000 * energy[key]:.4g}"
        for name, key in (("CPU", "cpu_kwh"), ("GPU", "gpu_kwh"), ("RAM", "ram_kwh"))
        if key in energy
    )
    emitted = NO_VALUE
    if "co2_kg" in energy:
        emitted = (
            f"<b>{1000 * energy['co2_kg']:.4g} g</b> at "
            f"{1000 * energy['co2_kg_per_kwh']:.0f} g per kWh "
            f"({escape(str(energy['country']))})"
        )
    return (
        f"Energy <b>{1000 * energy['kwh']:.4g} Wh</b> ({parts}) in "
        f"{energy['epochs']:.0f} epochs · CO2 {emitted} · by codecarbon"
    )


def _excluded(excluded: Sequence[Mapping[str, Any]]) -> str:
    if not excluded:
        return ""
    rows = [
        [name_cell(row["file"]), text_cell(row["reason"])]
        for row in excluded[:MAX_EXCLUDED]
    ]
    note = f"Not in the numbers above: {len(excluded)}."
    if len(excluded) > len(rows):
        note += f" The first {len(rows)} are shown, report.json has them all."
    return section("Excluded files", table(["file", "reason"], rows, "stacked"), note)
