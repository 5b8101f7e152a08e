"""What is done to a notebook after it ran: cleaned of what differs between machines, searched for what it complained of.

The trap this prevents: a committed report that shows somebody's home folder, and a warning that nobody reads.
"""

import json
import re
from typing import Any

import nbformat

# Lines on stderr that say nothing about the experiment; whatever else stands there is kept and told.
NOISE = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] "  # TensorFlow's C++ log: processor, CUDA
    r"|[IWEF]\d{4} \d\d:\d\d:\d\d"  # the same before its log is set up
    r"|WARNING: All log messages before absl::InitializeLog"
    r"|To enable the following instructions:"
    r"|.*\d+%\|.*\|"  # a tqdm progress bar
    r"|\s*$)"
)


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
