"""Where the project, its cache and the paths in its parameters are, whatever the working folder.

papermill runs a notebook in the caller's folder, nbval in the notebook's; so relative paths start at the project's root.
"""

import errno
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facekit.errors import DataError

CACHE = ".facekit"


def project_root() -> Path:
    """Return the folder that holds notebooks/, data_manifests/ and reports/."""
    return Path(__file__).resolve().parent.parent


def expand(path: str | os.PathLike) -> Path:
    """Return a path with `~` as the user's home; that of a user who does not exist stays as it is, and is nowhere."""
    return Path(os.path.expanduser(path))


def read_file(path: str | os.PathLike) -> str:
    """Return a file's text; OSError where it is no regular file, since a pipe or a device would never end."""
    if os.path.lexists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return Path(path).read_text(encoding="utf-8-sig")  # Windows' editors write a byte order mark


def resolve(path: str | os.PathLike) -> Path:
    """Return an absolute path: a relative one starts at the project's root, `~` at home, `.facekit` at FACEKIT_CACHE if set."""
    path = expand(path)
    if path.parts[:1] == (CACHE,):
        path = expand(os.environ.get("FACEKIT_CACHE") or CACHE).joinpath(*path.parts[1:])
    return (project_root() / path).resolve()


def cache_folder(*parts: str) -> Path:
    """Return, and make, a folder of the cache for what can be made again: synthetic data, decoded images, features, fits."""
    folder = resolve(Path(CACHE, *parts))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_cached(path: Path, read: Callable[[Path], Any]) -> Any:
    """Return what `read` makes of a file of the cache; None, so that it is made again, where it is missing or damaged."""
    try:
        return read(path) if path.exists() else None
    except Exception as error:  # on damaged files numpy and json raise a dozen kinds
        print(f"{path}: damaged ({' '.join(str(error).split())}), made again", file=sys.stderr)
        return None


def build_key(**parts) -> str:
    """Return the name of a cached result, 16 hex digits made of `parts`: whatever changes the result, as JSON can hold it."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def hash_file(path: str | os.PathLike) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: str | os.PathLike, hint: str = "") -> Any:
    """Return what a JSON file holds; DataError where it is missing, damaged, or has a name twice, NaN or infinite numbers."""
    strict = {"object_pairs_hook": _read_object, "parse_float": _read_float, "parse_constant": _read_float}
    try:
        return json.loads(read_file(path), **strict)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', error)}", expected="a JSON file", hint=hint) from None


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{max(names, key=names.count)!r:.80} twice")
    return dict(pairs)


def _read_float(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"number {text:.20}")
    return number


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write a file in one step, so that no reader ever finds half of it, and return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
