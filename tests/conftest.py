"""What several test files share."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from facekit.paths import project_root
from facekit.synthetic.layouts import write_sample

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def pytest_collection_modifyitems(items):
    """Begin with the runs of notebooks: each takes so long that at the end one process would wait for the other."""
    items.sort(key=lambda item: item.path.stem != "test_notebooks")


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


@pytest.fixture
def untraced(monkeypatch):
    """Let Keras compute each step at once: to trace a network takes seconds, longer than a few small batches."""
    import keras

    monkeypatch.setattr(keras.Model, "run_eagerly", property(lambda model: True, lambda model, value: None))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs beside the project; tests that need it are skipped where it is missing."""
    folder = project_root().parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the real photographs of ../shared, which are not here")
    return folder


@pytest.fixture(scope="session")
def fill_once(tmp_path_factory):
    """Return a function that fills a folder once for all of pytest-xdist's processes; tests leave it as it is."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # each process has its own, below one of this run

    def get(name, fill):
        folder = base / f"once-{name}"
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                fill(part := base / f"part-{name}")
                part.rename(folder)
        return folder

    return get


@pytest.fixture(scope="session")
def samples(fill_once) -> Path:
    """A folder with a small synthetic sample of each dataset, which tests leave as it is."""

    def draw(folder):
        for name, count in {"facehack": 96, "selfie": 60, "celeba": 60, "indian_actors": 120}.items():
            write_sample(name, folder / name, count=count, seed=3)

    return fill_once("samples", draw)
