"""What several test files share."""

from pathlib import Path

import pytest

from facekit.folders import project_root


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs beside the project; tests that need it are skipped where it is missing."""
    folder = project_root().parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the real photographs of ../shared, which are not here")
    return folder
