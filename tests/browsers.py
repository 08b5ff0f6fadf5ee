"""The browser in which the pages are tested; without one the tests are skipped."""

import os
import shutil

import pytest

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
NEEDS_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not BROWSER,
        reason="no Chromium is installed (Debian: apt-get install chromium)",
    ),
]
FLAGS = ("--autoplay-policy=no-user-gesture-required", "--mute-audio")


def launch(playwright, *flags: str):
    """Start the browser; root may not have its sandbox."""
    own = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(
        executable_path=BROWSER, args=[*FLAGS, *flags, *own]
    )
