"""Progress of what takes long: a bar in JupyterLab and on a terminal, one line through the runner, nothing in reports."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator

CHANNEL = "FACEKIT_PROGRESS"  # names the file into which a notebook's kernel tells facekit's runner how far it is
INTERVAL = 0.3  # seconds between two messages


class Progress:
    """How far something is; a context manager.

    Args:
        name: what is going on, such as `reading images`.
        total: steps in all, or None where nobody knows.
        unit: what a step is.
    """

    def __init__(self, name: str, total: int | None = None, unit: str = "it"):
        self.name, self.total, self.done = name, total, 0
        self._started = time.monotonic()
        self._told = 0.0
        self._channel = os.environ.get(CHANNEL)
        self._bar = None if self._channel else _open_bar(name, total, unit)

    def update(self, n: int = 1, **values: float | str) -> None:
        """Go on by `n` steps; `values` are shown beside, such as loss=0.31."""
        self.done += n
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)
            self._bar.update(n)
        elif self._channel and (time.monotonic() - self._told > INTERVAL or self.done == self.total):
            self._told = time.monotonic()
            left = (self._told - self._started) / self.done * (self.total - self.done) if self.total and self.done else None
            message = {"name": self.name, "done": self.done, "total": self.total, "seconds_left": left, "values": values}
            with open(self._channel, "a", encoding="utf-8") as channel:
                channel.write(json.dumps(message, default=float) + "\n")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def track(iterable: Iterable, name: str, total: int | None = None) -> Iterator:
    """Yield what `iterable` yields, and show how far it is.

    Args:
        iterable: anything to loop over.
        name: what is going on.
        total: its length where `len` does not tell.
    """
    with Progress(name, len(iterable) if total is None and hasattr(iterable, "__len__") else total) as progress:
        for item in iterable:
            yield item
            progress.update()


def _open_bar(name: str, total: int | None, unit: str):
    """Return tqdm's bar where somebody watches: in JupyterLab, or on a terminal."""
    kernel = "ipykernel" in sys.modules and "JPY_SESSION_NAME" in os.environ  # JupyterLab's kernels know their notebook's name
    if not kernel and not sys.stderr.isatty():
        return None
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=name, unit=unit, leave=False, dynamic_ncols=True)
