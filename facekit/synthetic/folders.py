"""Folders that are there whole or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from facekit.errors import DataError, ParameterError

MARKER = "facekit.json"  # says in each folder what it is
LARGEST_SEED = 2**32 - 1  # of numpy.random.seed, and so of Keras


def check_range(what: str, value: float, lowest: float, highest: float) -> None:
    """Raise ParameterError unless a number is in a range, both ends included; NaN is in none."""
    if not lowest <= value <= highest:
        raise ParameterError(f"{what} {value}", expected=f"{lowest:,} to {highest:,}")


def write_folder(target: Path, write: Callable[[Path], None], is_whole: Callable[[Path], bool]) -> bool:
    """Write a folder in one step, unless it is there; a second process waits, and finds it there.

    Args:
        target: the folder; one that is not whole is replaced.
        write: fills the hidden folder that becomes the target.
        is_whole: whether the target is there as it should be; raises a DataError where it must not be replaced.

    Returns:
        Whether it was written now.

    Raises:
        DataError: it could not be written; nothing of it is left.
    """
    hidden = target.parent / f".{target.name}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            if is_whole(target):
                return False
            shutil.rmtree(hidden, ignore_errors=True)  # what a killed process left
            hidden.mkdir()
            try:
                write(hidden)
                if target.exists():
                    shutil.rmtree(target)
                hidden.rename(target)
            finally:
                shutil.rmtree(hidden, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{target} could not be written: {error}", hint="nothing of it was left") from error
    return True
