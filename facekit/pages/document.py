"""An executed notebook as a document: one page with contents, captions, light and dark, that asks for nothing outside.

The traps this prevents: a page that loads scripts from elsewhere when it is opened, as nbconvert's own templates do
(require.js, MathJax, mermaid), and one in which a reader scrolls through a log to find the result.
"""

import re
from pathlib import Path
from typing import Any

from nbconvert import HTMLExporter

from facekit.errors import FacekitError
from facekit.pages import TEMPLATES, render_page

HEADING = re.compile(r"<(?P<end>/?)h(?P<level>[1-4])\b")
ANCHOR = re.compile(r'<a class="anchor-link" href="[^"]*">[^<]*</a>')
TITLE = re.compile(r"^# +(?P<text>.+)$", re.MULTILINE)
SECTION = re.compile(r'<h2 id="(?P<id>[^"]*)"[^>]*>(?P<text>.*?)</h2>', re.DOTALL)


def find_title(notebook: Any) -> str:
    """Return a notebook's first heading of the first level; "" where it has none."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return next((match["text"].strip() for text in texts for match in TITLE.finditer(text)), "")


def build_document(notebook: Any, *, task: str, profile: str, home: str = "") -> str:
    """Return a notebook as one page without scripts.

    Args:
        notebook: an executed notebook; it is not changed.
        task: whose run it is; the title where the notebook has none.
        profile: of the run.
        home: the link to the page of all runs, if there is one.

    Returns:
        HTML.
    """
    exporter = HTMLExporter(
        raw_template=(TEMPLATES / "cells.html.j2").read_text(encoding="utf-8"),
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        embed_images=True,
    )
    exporter.register_filter("demote_headings", demote_headings)
    body, _ = exporter.from_notebook_node(notebook)
    body = ANCHOR.sub("", body)  # nbconvert gives a heading its id only together with such a link
    contents = [(match["id"], match["text"]) for match in SECTION.finditer(body)]
    title = f"{find_title(notebook) or task} ({profile})"
    page = TEMPLATES / "notebook.html.j2"
    return render_page(page, title=title, profile=profile, home=home, contents=contents, body=body)


def demote_headings(html: str) -> str:
    """Return what a cell has written with its headings two levels lower: sections are the notebook's own.

    >>> demote_headings('<h1 id="a">A card</h1><p># no heading</p>')
    '<h3 id="a">A card</h3><p># no heading</p>'
    """
    return HEADING.sub(lambda match: f"<{match['end']}h{int(match['level']) + 2}", html)


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: beside its place first, then into it.

    Raises:
        FacekitError: the folder cannot be written to; what stood there stays.
    """
    unfinished = path.with_name(f".{path.name}.part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise FacekitError(
            f"{path} cannot be written: {error.strerror or error}", mend="free the place and try again"
        ) from None
