"""report.html: the scores of a split as one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asc_tf.config import Config
from asc_tf.config.options import format_value
from asc_tf.report import confusions, html
from asc_tf.report.headline import (
    MAIN_SCORES,
    SCORE_NAMES,
    show_interval,
    show_score,
)
from asc_tf.report.mistakes import Mistake, make_strip

GROUPS = {
    "split": "split",
    "device_group": "device group",
    "device": "device",
    "city": "city",
}
"""Tables of scores by group: the end of their keys, and the names of the groups."""

MAX_EXCLUDED = 100
"""Number of excluded files that the page names."""

MAX_LISTED = 20
"""Number of mistakes in the table that stands in for cards."""


@dataclass(frozen=True)
class Pictures:
    """Figures of the page.

    Attributes:
        history: `svg` elements of the curves of the training, by title.
        reliability: `svg` element of the reliability diagram.
        light: PNG figures by file name, for the light page and for print.
        dark: The same figures for the dark page.
    """

    history: Mapping[str, str] = field(default_factory=dict)
    reliability: str = ""
    light: Mapping[str, bytes] = field(default_factory=dict)
    dark: Mapping[str, bytes] = field(default_factory=dict)


def render(
    report: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    pictures: Pictures,
    mistakes: Sequence[Mistake] = (),
) -> str:
    """Render a report as HTML; see `asc_tf.report.write_report` for the arguments."""
    names = [report.get("model"), report.get("workdir")]
    protocol = {"split": report.get("split"), **(report.get("protocol") or {})}
    is_leaky = protocol.pop("leaky", False)
    # A note names them.
    protocol.pop("shared_recordings", None)
    groups = {name: report.get(f"per_{key}") for key, name in GROUPS.items()}
    wrong = [row for row in predictions if row["label"] != row["predicted"]]
    is_scored = report["has_labels"]
    return html.render(
        "report.html",
        page="report",
        title=" · ".join(str(name) for name in names if name) or "Scene classification",
        report=report,
        protocol=protocol,
        is_leaky=is_leaky,
        headline=list_headline(report) if is_scored else [],
        scores=list_scores(report) if is_scored else {},
        segments=list_segment_scores(report.get("segments") or {}),
        groups={name: rows for name, rows in groups.items() if rows},
        group_keys={name: key for key, name in GROUPS.items()},
        confusions=confusions.list_confusions(report, predictions)
        if is_scored
        else None,
        usual=confusions.find_usual_mistakes(report) if is_scored else {},
        wrong=sorted(wrong, key=lambda row: -float(row["probability"])),
        max_listed=MAX_LISTED,
        max_excluded=MAX_EXCLUDED,
        cards=_make_cards(report, predictions, mistakes),
        settings=compare_settings(report.get("settings") or {}),
        pictures=pictures,
    )


def list_headline(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List the main scores: name, value and 95 % interval, which may be empty."""
    return [
        (SCORE_NAMES[key], show_score(key, report[key]), show_interval(report, key))
        for key in MAIN_SCORES
    ]


def list_scores(report: Mapping[str, Any]) -> dict[str, str]:
    """List the other scores that the report has, as texts by name."""
    scores: dict[str, str] = {}
    for k, value in (report.get("top_k_accuracy") or {}).items():
        if str(k) != "1":
            scores[f"top-{k} accuracy"] = f"{100 * value:.1f} %"
    precisions = report.get("map_at_k") or {"3": report.get("map_at_3")}
    named = {f"mAP@{k}": value for k, value in precisions.items()}
    named |= {SCORE_NAMES[key]: report.get(key) for key in ("roc_auc", "kappa")}
    # There is no ROC AUC where all clips have one label.
    scores |= {name: f"{v:.3f}" for name, v in named.items() if v is not None}
    if "mAP@3" in scores and (ends := (report.get("intervals") or {}).get("map_at_3")):
        scores["mAP@3"] += f" ({ends[0]:.3f} to {ends[1]:.3f})"
    error = (report.get("calibration") or {}).get("ece")
    if error is not None:
        scores["calibration error (ECE)"] = f"{100 * error:.1f} %"
    return scores


def list_segment_scores(segments: Mapping[str, Any]) -> dict[str, Any]:
    """List what the report says of segments, but for its tables, by name."""
    names = {
        **{key: SCORE_NAMES[key] for key in ("map_at_3", "roc_auc")},
        "micro_f1": "micro F1",
        "which": "segments of a clip",
    }
    return {
        names.get(key, key): value
        for key, value in segments.items()
        if not isinstance(value, dict | list)
    }


def compare_settings(
    settings: Mapping[str, Any],
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """Divide flat settings into those that differ from the defaults, and the others.

    Returns:
        Rows of key, value and default; of a key that is not known, no default.
    """
    defaults = Config().flat()
    changed: list[tuple[str, str, str]] = []
    same: list[tuple[str, str, str]] = []
    for key, value in settings.items():
        text, default = _format_setting(value), html.NO_VALUE
        if key in defaults:
            default = _format_setting(defaults[key])
        (same if text == default else changed).append((key, text, default))
    return changed, same


def _format_setting(value: Any) -> str:
    return format_value(value, ", ") or ("empty" if value == "" else "none")


def _make_cards(
    report: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    mistakes: Sequence[Mistake],
) -> list[dict[str, Any]]:
    """Join the mistakes with their predictions."""
    labels = [str(label) for label in report["labels"]]
    cards = []
    for mistake in mistakes:
        row = predictions[mistake.index]
        true, predicted = str(row["label"]), str(row["predicted"])
        strip = None
        if mistake.timeline:
            strip = make_strip(mistake.timeline, labels, true, predicted)
        cards.append({"row": row, "mistake": mistake, "strip": strip})
    return cards
