"""Where the project, its cache and the paths in its parameters stand.

The trap this prevents: a notebook that works in one working folder only. papermill runs in the caller's folder, nbval in the
notebook's; so relative paths in parameters always start at the project's root.
"""

import hashlib
import json
import os
from pathlib import Path


def project_root() -> Path:
    """Return the folder that holds notebooks/, data_manifests/ and reports/."""
    return Path(__file__).resolve().parent.parent


def resolve(path: str | os.PathLike) -> Path:
    """Return `path` as an absolute path; a relative one starts at the project's root, `~` at the user's home."""
    return (project_root() / Path(path).expanduser()).resolve()


def cache_folder(*parts: str) -> Path:
    """Return, and make, a folder for what can be made again: drawn data, decoded pictures, features, unfinished runs.

    It is `.facekit/` in the project, or the folder that the environment variable FACEKIT_CACHE names.
    """
    folder = resolve(os.environ.get("FACEKIT_CACHE") or ".facekit").joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build_key(**parts) -> str:
    """Return 16 hex digits that stand for `parts`: the name under which a result is kept and found again.

    Args:
        parts: values that JSON can hold; whatever changes the result belongs in here.

    >>> build_key(seed=0, size=[96, 96]) == build_key(size=[96, 96], seed=0)
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
