"""Progress of what takes long: a bar in JupyterLab and on a terminal, one line through the runner, nothing in reports."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

CHANNEL = "FACEKIT_PROGRESS"  # names the file in which a notebook's kernel tells facekit's runner how far it is
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
        self._started, self._told, self._channel = time.monotonic(), 0.0, os.environ.get(CHANNEL)
        self._bar = None
        # JupyterLab's kernels know their notebook's name.
        in_lab = "ipykernel" in sys.modules and "JPY_SESSION_NAME" in os.environ
        if not self._channel and (in_lab or sys.stderr.isatty()):
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, desc=name, unit=unit, leave=False, dynamic_ncols=True)

    def update(self, n: int = 1, **values: float) -> None:
        """Go on by `n` steps; `values` are shown beside, such as loss=0.31."""
        self.done += n
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)
            self._bar.update(n)
        elif self._channel and (now - self._told > INTERVAL or self.done == self.total):
            self._told = now
            Path(self._channel).write_text(self._describe(now - self._started, values), encoding="utf-8")

    def _describe(self, seconds: float, values: dict[str, float]) -> str:
        if self.done == self.total:
            return ""
        line = f"{self.name}, {self.done}" + (f" of {self.total}" if self.total else "")
        line += "".join(f", {name} {float(value):.3g}" for name, value in values.items())
        left = seconds / self.done * (self.total - self.done) if self.total and self.done else 0
        return line + (f", {format_duration(left)} left" if left else "")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()


def track(iterable: Iterable, name: str, total: int | None = None) -> Iterator:
    """Yield what `iterable` yields, and show how far it is; `total` is its length where `len` does not tell."""
    with Progress(name, len(iterable) if total is None and hasattr(iterable, "__len__") else total) as progress:
        for item in iterable:
            yield item
            progress.update()


def format_duration(seconds: float) -> str:
    """Return a duration in words.

    >>> format_duration(39.4), format_duration(2066), format_duration(4500)
    ('39 s', '34 min', '1 h 15 min')
    """
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
