"""Progress of what takes long: a bar in JupyterLab and on a terminal, one line through the runner, nothing in reports."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

from tqdm import auto, tqdm

CHANNEL = "FACEKIT_PROGRESS"  # names the file in which a kernel keeps its newest line alone, for facekit's runner


def track(iterable: Iterable | None, name: str, total: int | None = None, unit: str = "it") -> tqdm:
    """Return tqdm's bar: it yields what `iterable` yields, or, where that is None, is moved on by `with` and `update(n)`.

    `name` is what is going on, such as `reading images`; `total` is the number of steps, where `len(iterable)` does not tell.
    """
    options = {"iterable": iterable, "desc": name, "total": total, "unit": unit, "leave": False}
    if channel := os.environ.get(CHANNEL):
        line = "{desc}, {n_fmt} of {total_fmt}{postfix}, {remaining} left"
        newest = SimpleNamespace(write=lambda text: Path(channel).write_text(text.strip(), encoding="utf-8"))
        return tqdm(**options, bar_format=line, file=newest, mininterval=0.3, position=0)
    in_lab = "ipykernel" in sys.modules and "JPY_SESSION_NAME" in os.environ  # its kernels know their notebook's name
    on_terminal = sys.stderr is not None and sys.stderr.isatty()  # None: closed, as by `2>&-`
    return auto.tqdm(**options, dynamic_ncols=True, disable=not (in_lab or on_terminal))


def format_duration(seconds: float) -> str:
    """Return a duration in words, such as 39 s, 34 min or 1 h 15 min."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
