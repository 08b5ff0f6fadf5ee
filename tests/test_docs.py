"""The pages name files that exist, and stay readable in an editor."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_no_long_lines_outside_tables(page):
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        assert len(line) <= 100 or line.startswith("|"), f"{page.name}:{number}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page):
    pattern = r"\b(?:asc_tf|benchmarks|configs|docs|export|tests)/[\w/]+\.(?:md|py)"
    missing = {
        name
        for name in re.findall(pattern, page.read_text("utf-8"))
        if not (ROOT / name).exists()
    }
    assert not missing


@pytest.mark.parametrize("name", ["one_clip.md", "architecture.md"])
def test_the_modules_that_a_page_names_exist(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    paths = set(re.findall(r"`(?:asc_tf/)?([a-z_]+/[a-z_/]*(?:\.py)?)`", text))
    packages = {path.name for path in (ROOT / "asc_tf").iterdir()}
    named = {path for path in paths if path.split("/")[0] in packages}
    assert len(named) > 5
    missing = {path for path in named if not (ROOT / "asc_tf" / path).exists()}
    assert not missing


def test_the_layout_names_every_folder_of_the_package():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^      ([a-z_]+)/  ", text, re.MULTILINE))
    folders = {path.parent.name for path in ROOT.glob("asc_tf/*/__init__.py")}
    assert listed == folders
