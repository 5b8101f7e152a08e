"""Where a figure's interval, its baseline and the published value stand on one line, in percent of its width.

The trap this prevents: two intervals drawn on two scales, which look as if they could be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from facekit.site.runs import Measured


@dataclass(frozen=True)
class Marks:
    """Positions in percent, None for what there is not; `ends` are the texts at the ends of the line."""

    value: float
    low: float | None
    high: float | None
    baseline: float | None
    published: float | None
    ends: tuple[str, str]


def place_marks(
    measured: Measured, published: float | None = None, *, others: Sequence[Measured] = (), from_zero: bool = False
) -> Marks | None:
    """Place a figure on its line, which is as long as what stands on it needs.

    Args:
        measured: the figure.
        published: what the report says.
        others: figures that stand on the same scale.
        from_zero: the line of a share goes from 0 to 1, so that one metric can be held against the next.

    Returns:
        The positions; None where the figure is not defined.

    >>> figure = Measured(name="a", value=0.5, interval=(0.4, 0.6), n=9, higher_is_better=True)
    >>> place_marks(figure, 0.7, from_zero=True)
    Marks(value=50.0, low=40.0, high=60.0, baseline=None, published=70.0, ends=('0', '1'))
    >>> place_marks(figure, 0.8).ends
    ('0.36', '0.84')
    """
    if measured.value is None:
        return None
    every = [value for figure in (measured, *others) for value in (figure.value, figure.baseline, *(figure.interval or ()))]
    known = [value for value in (*every, published) if value is not None]
    is_share = min(known) >= 0 and max(known) <= 1
    low, high = (0.0, 1.0) if is_share and from_zero else _widen(min(known), max(known))

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - low) / (high - low), 2)

    begin, end = measured.interval or (None, None)
    ends = (f"{low:.3g}", f"{high:.3g}")
    return Marks(place(measured.value), place(begin), place(end), place(measured.baseline), place(published), ends)


def _widen(low: float, high: float) -> tuple[float, float]:
    margin = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin
