"""What is done to a notebook after it ran: cleaned of what differs between machines, written as one page.

The trap this prevents: a committed report that shows somebody's home folder, and a page that loads scripts from
elsewhere when it is opened.
"""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter

# Lines on stderr that say nothing about the experiment; whatever else stands there is kept and told.
NOISE = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] "  # TensorFlow's C++ log: processor, CUDA
    r"|[IWEF]\d{4} \d\d:\d\d:\d\d"  # the same before its log is set up
    r"|WARNING: All log messages before absl::InitializeLog"
    r"|To enable the following instructions:"
    r"|.*\d+%\|.*\|"  # a tqdm progress bar
    r"|\s*$)"
)

# The lab template with the alternative texts that it drops, without its scripts, and with a policy that forbids whatever
# would still be asked for from outside.
TEMPLATE = r"""
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'">
{%- endblock -%}
{%- block data_png scoped -%}
<div class="jp-RenderedImage jp-OutputArea-output" tabindex="0">
<img src="data:image/png;base64,{{ output.data['image/png'] | replace("\n", "") }}"
 alt="{{ (output | get_metadata('alt', 'image/png') or cell | get_metadata('alt') or 'figure') | escape_html }}">
</div>
{%- endblock data_png -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


def clean_notebook(notebook: Any, replacements: dict[str, str]) -> Any:
    """Return the notebook without times, paths and log lines, so that two equal runs give equal files.

    Args:
        notebook: an executed notebook; changed in place.
        replacements: text in outputs to what shall stand there, the longest first: folders of this machine.
    """
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            cell.id = "injected-parameters"  # papermill draws a new one each time
        if not tags:
            cell.metadata.pop("tags", None)
        if cell.cell_type == "code":
            cell.outputs = _clean_outputs(cell.outputs, replacements)
    return notebook


def _clean_outputs(outputs: list, replacements: dict[str, str]) -> list:
    kept = []
    for output in outputs:
        text = json.dumps(output, ensure_ascii=False)
        for old, new in replacements.items():
            text = text.replace(old, new)
        output = nbformat.from_dict(json.loads(text))
        if output.output_type == "stream" and output.name == "stderr":
            output.text = "".join(line for line in output.text.splitlines(keepends=True) if not NOISE.match(line))
            if not output.text:
                continue
        if kept and output.output_type == "stream" == kept[-1].output_type and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def list_warnings(notebook: Any) -> list[str]:
    """Return one line for each cell that wrote to stderr: its number among the code cells and its first line there."""
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        f"cell {number} wrote: {output.text.strip().splitlines()[0]}"
        for number, cell in enumerate(code_cells, start=1)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]


def write_html(notebook: Any, path: Path) -> None:
    """Write a notebook as one page that asks for nothing outside itself: pictures inside, no scripts.

    Args:
        notebook: an executed notebook.
        path: the page to write; its stem is the title.
    """
    exporter = HTMLExporter(raw_template=TEMPLATE, embed_images=True)
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": path.stem}})
    path.write_text(page, encoding="utf-8")
