"""What several test files share."""

import shutil
from pathlib import Path

import pytest

from facekit.paths import project_root

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium of the system, its camera a drawn one; without it, or without playwright, tests are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: requirements-dev.txt")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=found, args=camera)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs beside the project; tests that need it are skipped where it is missing."""
    folder = project_root().parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the real photographs of ../shared, which are not here")
    return folder
