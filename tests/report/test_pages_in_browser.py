"""The pages in a real browser: nothing fails, nothing is fetched, everything works."""

import functools
import re
from types import SimpleNamespace

import exports
import numpy as np
import pytest
from browsers import NEEDS_BROWSER, api, launch

from asc_tf.audio.encode import encode_excerpt
from asc_tf.config import Config
from asc_tf.evaluation import metrics
from asc_tf.report import figures, write_export_page
from asc_tf.report import page as report_page
from asc_tf.report.clip_figures import BandAxis, Image, draw
from asc_tf.report.compare_page import write_compare_page
from asc_tf.report.crossval_page import write_crossval_page
from asc_tf.report.explore_page import Card, Examples, Exploration
from asc_tf.report.explore_page import render as render_explore_page
from asc_tf.report.mistakes import Mistake, Timeline
from asc_tf.report.sweep_page import write_sweep_page

pytestmark = NEEDS_BROWSER

NASTY = (
    "<script>document.title = 'run by a label'</script>",
    "x" * 300,
    "שלום_עולם_מאוד_ארוך",
    "🎷" * 40,
)
PHONE = {"width": 390, "height": 844}
BINS = [
    {"low": 0.0, "high": 0.5, "n_clips": 0, "confidence": None, "accuracy": None},
    {"low": 0.5, "high": 1.0, "n_clips": 9, "confidence": 0.8, "accuracy": 0.7},
]
SCORES = {"n_clips": 9, "accuracy": 0.9, "macro_accuracy": 0.9, "log_loss": 0.5}


def make_media():
    """A picture of noise, which does not compress, and five seconds of it."""
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * 44100).astype(np.float32)
    image = Image(noise[: 240 * 128].reshape(240, 128), "noise", BandAxis("Hz", 0, 1))
    return draw((image,), 5.0, (-0.3, 0.3)), encode_excerpt(noise, 44100)


def make_report(labels, n_clips, name="audio/{}.wav"):
    """A report with everything that a report can have, and its predictions."""
    n, generator = len(labels), np.random.default_rng(1)
    truth = np.arange(n_clips) % (n - 1)
    probabilities = generator.dirichlet(np.full(n, 0.2), n_clips)
    probabilities[np.arange(n_clips), truth] += 0.5
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    names = {"devices": ["a", "s1", "b"] * n_clips, "cities": ["lyon"] * n_clips}
    names = {key: value[:n_clips] for key, value in names.items()}
    report = metrics.compute_metrics(labels, truth, probabilities, **names)
    rows = [
        {
            "file": name.format(index),
            "start": 0.0,
            "label": labels[true],
            "predicted": labels[values.argmax()],
            "probability": float(values.max()),
        }
        for index, (true, values) in enumerate(zip(truth, probabilities, strict=True))
    ]
    calibration = {"ece": 0.1, "n_bins": 2, "bins": BINS, "temperature": 1.5}
    calibration["calibrated"] = {"ece": 0.05, "log_loss": 0.4, "bins": BINS}
    report |= {
        "protocol": {"corpus": labels[0], "leaky": True},
        "partial": "1 of 9 clips",
        "notes": [labels[0]],
        "intervals": {"accuracy": [0.5, 0.9], "log_loss": [0.2, 0.9]},
        "top_k_accuracy": {"1": 0.7, "3": 0.9},
        "per_device_group": [{"device_group": "real", **SCORES}],
        "calibration": calibration,
        "unknown": {"false_accept_rate": 0.05, "threshold": 0.6, "accepted": 0.8},
        "settings": Config().replace({"dataset.dir": "/" + 200 * "x"}).flat(),
        "command": ["asc-tf", "evaluate", 120 * "x"],
        "created": "2026-11-22T04:50:12+00:00",
        "environment": {"packages": {"numpy": "1.26.4"}, "machine": {"cores": 2}},
        "excluded": [
            {"file": f"{labels[0]}{index}", "reason": f"reason {index % 7}"}
            for index in range(20)
        ],
    }
    return report, rows


def make_mistakes(rows, n_labels, count, media):
    """Mistakes with picture, player and strip; of the last one the file is gone."""
    picture, sound = media
    wrong = [i for i, row in enumerate(rows) if row["label"] != row["predicted"]]
    values = np.random.default_rng(2).dirichlet(np.ones(n_labels), 200)
    timeline = Timeline(tuple(np.arange(200.0)), 1.0, values)
    made = [
        Mistake(i, picture, "5 s", sound.data, sound.mime, timeline)
        for i in wrong[:count]
    ]
    return [*made, Mistake(wrong[-1], problem="The audio file is no longer there.")]


@functools.cache
def draw_pictures():
    curves = {"epoch": [1.0, 2.0], "loss": [1.0, 0.5], "val_loss": [1.1, 0.6]}
    return report_page.Pictures(
        history=figures.draw_history_panels(curves, 2),
        reliability=figures.draw_reliability(BINS, BINS),
    )


def write(folder, report, rows, mistakes):
    """Write report.html alone: the PNG files of its folder take seconds."""
    made = report_page.render(report, rows, draw_pictures(), mistakes)
    (folder / "report.html").write_text(made, "utf-8")
    return folder / "report.html"


def write_report_page(folder, media):
    report, rows = make_report(["park", "bus", "tram", "never"], 60)
    return write(folder, report, rows, make_mistakes(rows, 4, 2, media))


def write_large_report_page(folder, media):
    labels = [f"a label of many words {index}" for index in range(50)]
    report, rows = make_report(labels, 6000, "audio/" + 60 * "x" + "-{}.wav")
    return write(folder, report, rows, make_mistakes(rows, 50, 40, media))


def write_nasty_report_page(folder, media):
    report, rows = make_report(list(NASTY), 40, NASTY[0] + NASTY[1] + "{}.wav")
    return write(folder, report, rows, make_mistakes(rows, 4, 2, media))


def write_explore_page(folder, media):
    picture, sound = media
    card = Card(NASTY[1], NASTY[0], picture, "noise", sound.data, {NASTY[2]: 0.5})
    counts = SimpleNamespace(
        title="Clips",
        note="",
        groups=("train", "test"),
        totals=(3, 4),
        rows=((NASTY[1], (3, 4)), (NASTY[0], (0, 0))),
    )
    examples = tuple(Examples(name, "2 clips", (card, card)) for name in NASTY)
    content = Exploration("Corpus", {"corpus": "x"}, (counts,), "", examples, ())
    (folder / "explore.html").write_text(render_explore_page(content), "utf-8")
    return folder / "explore.html"


def write_exports_page(folder, media):
    """Every format, and awkward names where a user gives them."""
    content = exports.make_export() | {"model": NASTY[1]}
    content["rejected"]["float64"] = {"file": NASTY[1], "reason": NASTY[0]}
    for row in content["formats"].values():
        row["test"]["worst"]["file"] = NASTY[1]
        row["test"]["worst"]["keras"] = {NASTY[0]: 0.5, NASTY[2]: 0.3, NASTY[1]: 0.2}
        row["test"]["per_class"][0]["label"] = NASTY[1]
    metadata = exports.METADATA | {"labels": list(NASTY)}
    summaries = dict.fromkeys(content["formats"], "A sentence on this format.")
    write_export_page(folder / "export.html", content, metadata, summaries)
    return folder / "export.html"


def write_pooled_page(folder, media):
    labels = ["park", NASTY[0], NASTY[1], "never"]
    truth = np.arange(12) % 3
    probabilities = np.random.default_rng(3).dirichlet(np.ones(4), 12)
    names = {"devices": ["a", "s1"] * 6, "cities": [NASTY[2]] * 12}
    report = metrics.compute_metrics(labels, truth, probabilities, **names)
    means = {key: {"mean": 0.8, "std": 0.1, "n": 6} for key in SCORES if key[0] != "n"}
    runs = [
        SCORES | {"run": f"fold{fold}-seed{seed}", "epoch": epoch, "accuracy": score}
        for fold, seed, epoch, score in (
            (1, 0, 3, 0.9),
            (1, 1, None, 0.7),
            (2, 0, 9, 1),
        )
    ]
    report |= {
        "name": NASTY[1],
        "model": "cp_mobile",
        "folds": [1, 2],
        "seeds": [0, 1],
        "missing": ["fold2-seed1"],
        "n_predictions": 12,
        "n_recordings": 12,
        "intervals": {"accuracy": [0.5, 0.9], "log_loss": [0.2, 0.9]},
        "over_runs": means,
        "over_folds": means,
        "over_seeds": means,
        "per_fold": [SCORES | {"fold": fold, "n_runs": 3 - fold} for fold in (1, 2)],
        "per_run": runs,
        "protocol": {"corpus": NASTY[0], "leaky": True},
        "excluded": [{"run": "fold1-seed0", "file": NASTY[1], "reason": NASTY[0]}],
        "notes": [NASTY[1]],
        "command": ["asc-tf", "crossval", NASTY[1]],
        "created": "2026-11-22",
        "environment": {"packages": {"numpy": "1.26.4"}},
    }
    return write_crossval_page(folder, report)


def write_leaderboard_page(folder, media):
    keys = ["train.learning_rate", "model.name", "frontend.n_mels"]
    values = [(1e-4, NASTY[1], 40), (1e-2, NASTY[0], 64), (1e-3, "$5_$6", 128)]
    points = [
        {"rank": rank, "point": f"{NASTY[1]}{rank}", "epoch": epoch, "epochs": 9}
        | {"leaky": rank == 1}
        | {"values": dict(zip(keys, own, strict=True))}
        | SCORES
        | {"accuracy": 1 - rank / 10}
        for rank, (own, epoch) in enumerate(zip(values, (1, None, 3), strict=True), 1)
    ]
    content = {"split": "validation", "rank_by": "accuracy", "keys": keys}
    content |= {"corpus": NASTY[2], "model": NASTY[1], "points": points}
    content |= {"missing": [NASTY[1]], "leaky": True}
    return write_sweep_page(folder, NASTY[1], content)


def write_comparison_page(folder, media):
    names = ["first_of_all", NASTY[1], NASTY[0]]
    rows = [
        SCORES
        | {"name": name, "folder": name, "n_runs": runs, "run_accuracies": accuracies}
        | {"intervals": {"accuracy": [0.8, 0.95]}, "std": std, "leaky": True}
        | {"missing": [], "partial": "1 of 9 clips", "accuracy": score}
        | {"settings": {"train.seed": NASTY[1], "frontend.n_mels": "40"}}
        for name, runs, accuracies, std, score in (
            (names[0], 2, [0.8, 0.9], 0.05, 0.85),
            (names[1], 1, [], None, 0.95),
            (names[2], 1, [], None, 0.75),
        )
    ]
    # Of two pairs only some numbers are known.
    known = {"same_clips": True, "difference": 0.1, "interval": [0.05, 0.2]}
    known |= {"only_first": 2, "only_second": 9, "p_value": 0.07, "p_adjusted": 0.07}
    unknown = dict.fromkeys(known) | {"same_clips": True}
    unknown |= {"difference": -0.1, "interval": [-0.3, 0.1]}
    pairs = [
        {"first": names[0], "second": names[1], "n_clips": 9, "note": ""} | known,
        {"first": names[0], "second": names[2], "n_clips": 9, "note": NASTY[1]}
        | unknown,
        {"first": names[1], "second": names[2], "n_clips": 3, "note": NASTY[0]}
        | dict.fromkeys(known)
        | {"same_clips": False},
    ]
    curves = {
        name: {"epoch": [1.0, 2.0], "loss": [1.0, 0.5], "accuracy": [0.5, 0.8]}
        for name in names
    }
    return write_compare_page(folder, {"runs": rows, "pairs": pairs}, curves)


# A new page of the package is added here.
PAGES = {
    "report": write_report_page,
    "report of 50 labels": write_large_report_page,
    "report of awkward names": write_nasty_report_page,
    "explore": write_explore_page,
    "export": write_exports_page,
    "crossval": write_pooled_page,
    "sweep": write_leaderboard_page,
    "compare": write_comparison_page,
}


@pytest.fixture(scope="module")
def browser():
    """The browser of all tests."""
    with api.sync_playwright() as playwright:
        launched = launch(playwright)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Paths of all pages, by name."""
    media = make_media()
    return {
        name: write_page(tmp_path_factory.mktemp("page"), media)
        for name, write_page in PAGES.items()
    }


@pytest.fixture
def visit(browser, pages):
    """A function that opens a page; what went wrong there fails the test."""
    contexts, wrong = [], []

    def refuse(route):
        wrong.append(f"request of {route.request.url[:100]}")
        route.abort()

    def is_elsewhere(url):
        return url != address and not url.startswith("data:")

    def open_page(name, width=1280, **options):
        nonlocal address
        address = pages[name].as_uri()
        context = browser.new_context(
            viewport={"width": width, "height": 844}, **options
        )
        # A machine with other work may stand still for a while.
        context.set_default_timeout(180_000)
        contexts.append(context)
        opened = context.new_page()
        opened.route(is_elsewhere, refuse)
        opened.on("console", lambda message: wrong.append(message.text))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.goto(address)
        return opened

    address = ""
    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_every_screen_without_an_error_or_a_request(visit, name):
    wide = visit(name)
    title = wide.title()
    assert title and "run by" not in title
    for scheme in ("dark", "light"):
        phone = visit(name, PHONE["width"], color_scheme=scheme)
        widths = phone.evaluate(
            "[document.documentElement.scrollWidth, document.body.scrollWidth]"
        )
        assert max(widths) <= PHONE["width"]
    # Colours are those of the scheme.
    assert wide.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(245, 247, 249)"
    )
    # Everything that can be clicked has a name.
    assert wide.evaluate(
        "[...document.querySelectorAll('a, button, audio, summary, input')].every("
        "e => e.textContent.trim() || e.ariaLabel || e.labels?.length)"
    )


def test_a_report_of_50_labels_and_40_long_mistakes_is_below_5_mb(pages):
    assert pages["report of 50 labels"].stat().st_size < 5_000_000


@pytest.mark.parametrize("name", ["report", "explore"])
def test_players_play(visit, name):
    page = visit(name)
    duration, current = page.evaluate(
        """async () => {
          const audio = document.querySelector("audio");
          audio.muted = true;
          await audio.play();
          while (!audio.currentTime) await new Promise((go) => setTimeout(go, 20));
          return [audio.duration, audio.currentTime];
        }"""
    )
    assert duration == pytest.approx(5.0, abs=0.1)
    assert 0 < current < 5


def test_a_click_on_a_heading_sorts_a_table_by_numbers_or_names(visit):
    page = visit("report")
    table = page.locator("table.classes")

    def read(column):
        return table.locator(f"tbody tr > :nth-child({column})").all_inner_texts()

    def click(name, order):
        head = table.get_by_role("columnheader", name=name)
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == order

    before = read(1)
    assert before == ["park", "bus", "tram", "never"]
    click("label", "ascending")
    assert read(1) == sorted(before)
    click("label", "descending")
    assert read(1) == sorted(before, reverse=True)
    # A class without clips is the last one in either order.
    for order, sign in (("descending", -1), ("ascending", 1)):
        click("log loss", order)
        *values, last = read(6)
        assert last == "\N{EN DASH}" and read(1)[-1] == "never"
        numbers = [sign * float(value) for value in values]
        assert numbers == sorted(numbers)
    assert table.locator("[aria-sort]").count() == 1
    # By the keyboard too.
    table.get_by_role("button", name="label").focus()
    page.keyboard.press("Enter")
    assert read(1) == sorted(before)


@pytest.mark.parametrize("name", ["crossval", "sweep", "compare", "export"])
def test_every_heading_of_a_study_or_an_export_sorts_its_table(visit, name):
    page = visit(name)
    # Of each heading: whether it is of numbers, and order and cells after each click.
    heads = page.evaluate(
        """() => [...document.querySelectorAll("thead button")].map((button) => {
          const head = button.closest("th"), body = head.closest("table").tBodies[0];
          const click = () => {
            button.click();
            const cells = [...body.rows].map((row) => row.cells[head.cellIndex]);
            const texts = cells.map((cell) => cell?.textContent.trim() ?? "");
            return [head.getAttribute("aria-sort"), texts];
          };
          return [head.classList.contains("n"), [click(), click()]];
        })"""
    )
    assert len(heads) >= 8
    for is_numeric, clicks in heads:
        orders = ["ascending", "descending"]
        assert [order for order, _ in clicks] == orders[:: -1 if is_numeric else 1]
        for order, texts in clicks if is_numeric else ():
            starts = [re.match(r"[+-]?[\d.]+(e[+-]\d+)?", text) for text in texts]
            numbers = [float(start[0]) for start in starts if start]
            # What is no number comes last.
            assert all(starts[: len(numbers)])
            assert numbers == sorted(numbers, reverse=order == "descending")


def test_every_table_of_several_rows_can_be_sorted_but_no_matrix_and_no_sums(visit):
    page = visit("export")
    section = page.get_by_role("region", name="Test split: reported, not a gate").last
    section.get_by_role("button", name="agreement %").click()
    # The Keras model agrees with itself, and so has no number.
    assert section.locator("tbody th").last.inner_text() == "Keras"
    assert visit("report").locator(".matrix thead button").count() == 0
    assert visit("explore").locator("thead button").count() == 0


def test_fields_filter_rows_and_mistakes(visit):
    page = visit("report")
    rows = page.locator("section", has_text="Excluded files").locator("tbody tr")
    page.get_by_label("Filter files:").fill("PARK1 reason")
    assert rows.filter(visible=True).count() == 11
    assert page.locator("output", has_text="11 of 20").is_visible()
    page.get_by_label("Filter files:").fill("")
    assert rows.filter(visible=True).count() == 20
    page.get_by_label("Filter by label or file:").fill("no longer there")
    assert page.locator(".mistake").filter(visible=True).count() == 1
    assert page.locator("output", has_text="1 of 3").is_visible()
    # A mistake is shown with all rows of its strip, also those of other labels.
    first = page.locator(".mistake").first
    rows = first.locator(".strip tr")
    file = first.locator("figcaption .muted bdi").inner_text()
    page.get_by_label("Filter by label or file:").fill(file)
    assert first.is_visible() and rows.count() == 4
    assert rows.filter(visible=True).count() == 4
    assert page.locator("output", has_text="1 of 3").is_visible()
    page.locator("summary", has_text="Settings").click()
    page.get_by_label("Filter settings:").fill("n_mels")
    assert page.locator(".settings-list tbody tr").filter(visible=True).count() == 1


def test_without_a_script_a_cell_of_the_matrix_lists_its_clips(visit):
    page = visit("report", java_script_enabled=False)
    assert page.locator("thead button, [type=search]").count() == 0
    lists = page.locator(".clips")
    assert lists.filter(visible=True).count() == 0
    cell = page.locator(".matrix tbody tr").nth(1).locator("td.wrong a").first
    count, target = cell.inner_text(), cell.get_attribute("href")
    cell.click()
    assert page.url.endswith(target)
    shown = lists.filter(visible=True)
    assert shown.count() == 1 and f"#{shown.get_attribute('id')}" == target
    assert shown.locator("li").count() == int(count)
    assert shown.locator("h3").inner_text().startswith("bus, taken for ")
    page.get_by_label("per cent of the true label").check()
    assert cell.inner_text() == str(round(100 * int(count) / 20))
    page.get_by_role("link", name="Close the list").filter(visible=True).click()
    assert lists.filter(visible=True).count() == 0


def test_what_is_folded_is_printed(visit):
    page = visit("report")
    closed = page.locator("details:not([open])")
    assert closed.count() == 2
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert closed.count() == 0
    page.emulate_media(media="print", color_scheme="dark")
    assert page.get_by_role("heading", name="As by default").is_visible()
    assert page.locator("audio").filter(visible=True).count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert closed.count() == 2
