"""Errors that a user can mend, each told in one line: what was received, what was expected, how to mend it."""


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
        text = "; ".join(" ".join(part.split()) for part in parts if part)
        # A file's name need not be UTF-8: what can't be printed is shown escaped.
        super().__init__(text.encode("utf-8", "backslashreplace").decode())

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
