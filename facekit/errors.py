"""The errors that a user can mend, each in one line.

The trap this prevents: a traceback for a user's mistake. Whatever a user can cause raises a FacekitError, which says what
came, what was expected and how to mend it; the command line prints it and exits with 1, a notebook shows it as the last line.
"""


class FacekitError(Exception):
    """A mistake in the input, told in one line.

    Args:
        came: what was found, naming the file, row and value.
        expected: what was expected in its place; may be empty.
        mend: what the user can do about it; may be empty.

    >>> str(FacekitError("train.csv row 3: label 'smil'", expected="one of NOT smile, positive smile", mend="correct the row"))
    "train.csv row 3: label 'smil'; expected one of NOT smile, positive smile; correct the row"
    """

    def __init__(self, came: str, *, expected: str = "", mend: str = ""):
        parts = [came, f"expected {expected}" if expected else "", mend]
        super().__init__("; ".join(" ".join(part.split()) for part in parts if part))


class DataError(FacekitError):
    """A dataset's folder, table or download is not what its manifest says."""


class PictureError(DataError):
    """A file that is no picture, or is broken."""


class WeightsError(FacekitError):
    """A weights file that is missing, does not fit the network, or must not be loaded."""


class ParameterError(FacekitError):
    """A parameter, profile or choice that does not exist or has the wrong type or value."""


class TrainingError(FacekitError):
    """Training that cannot go on, such as a loss that is not a number."""
