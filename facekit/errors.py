"""Errors that a user can mend, each told in one line: what was received, what was expected, how to mend it."""

import re


def show(text: str, longest: int = 600) -> str:
    r"""Return others' text, such as a file's name or a table's cell, for one printed line.

    What does not print, such as a line end, ESC or bytes of a name that are not UTF-8, is shown escaped. A text of more than
    `longest` characters loses its middle, since the reason is at its end.

    >>> show("a\x1b[2J\nb"), show("1234567890", longest=4)
    ('a\\x1b[2J\\nb', '12 ... 90')
    """
    shown, half = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text), longest // 2
    return shown if len(shown) <= longest else f"{shown[:half]} ... {shown[-half:]}"


class FacekitError(Exception):
    """A mistake in the input. The command line prints it and exits with 1; a notebook shows it as its last line.

    Args:
        received: what was found, naming the file, row and value.
        expected: what was expected in its place; may be empty.
        hint: what the user can do about it; may be empty.

    >>> str(FacekitError("train.csv row 3: label 'smil'", expected="one of NOT smile, positive smile", hint="correct the row"))
    "train.csv row 3: label 'smil'; expected one of NOT smile, positive smile; correct the row"
    """

    def __init__(self, received: str, *, expected: str = "", hint: str = ""):
        parts = [received, f"expected {expected}" if expected else "", hint]
        # Libraries indent what they say in several lines; any other line end is in a name.
        super().__init__("; ".join(show(re.sub(r"\s*\n\s+", " ", part.strip(" \n"))) for part in parts if part))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class DataError(FacekitError):
    """A dataset's folder, table or download is not what its manifest says."""


class ImageError(DataError):
    """A file that is no image, or a broken one."""


class WeightsError(FacekitError):
    """A weights file that is missing, does not fit the network, or must not be loaded."""


class ParameterError(FacekitError):
    """A parameter, profile or choice that does not exist or has the wrong type or value."""


class TrainingError(FacekitError):
    """Training that can't go on, such as a loss that is not a number."""
