"""How every page is rendered, of runs, predictions and the demo: one look, and the few words in which numbers are told.

The trap this prevents: a page that shows nothing where a value is missing; an unknown name in a template is an error.
What every page starts from stands in templates/; a room keeps the templates of its own pages.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from facekit.published import format_measured, format_value

TEMPLATES = Path(__file__).parent / "templates"
SYMBOLS = {"above": "▲", "within": "●", "below": "▼", "not comparable": "○"}


@cache
def load_environment(folder: Path = TEMPLATES) -> Environment:
    """Return Jinja's environment with the filters that the templates use.

    Args:
        folder: templates that may extend and include those of all pages.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": format_value,
        "measured": lambda figure: format_measured(figure and figure.model_dump()),
        "duration": format_duration,
        "setting": format_setting,
        "memory": format_memory,
    }
    environment.globals["symbols"] = SYMBOLS
    return environment


def render_page(template: Path, **values: Any) -> str:
    """Return a page.

    Args:
        template: its file.
        values: what the template names.
    """
    return load_environment(template.parent).get_template(template.name).render(values)


def format_duration(seconds: float) -> str:
    """Return a duration in words.

    >>> format_duration(39.4), format_duration(2066), format_duration(4500)
    ('39 s', '34 min', '1 h 15 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def format_memory(megabytes: float) -> str:
    """Return an amount of memory in words.

    >>> format_memory(928), format_memory(24106)
    ('928 MB', '23.5 GB')
    """
    return f"{megabytes:.0f} MB" if megabytes < 1024 else f"{megabytes / 1024:.1f} GB"


def format_setting(value: Any) -> str:
    """Return a parameter's value as a reader wants it.

    >>> format_setting(""), format_setting(True), format_setting(1e-05), format_setting([96, 96]), format_setting(None)
    ('(empty)', 'True', '1e-05', '96, 96', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(format_setting(item) for item in value) or "(empty)"
    text = str(value)
    is_digest = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return f"{text[:12]}…" if is_digest else text or "(empty)"
