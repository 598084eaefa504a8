"""Cells run in a real kernel, as JupyterLab runs them."""

from __future__ import annotations

import re
from typing import Any

import nbformat
from nbclient import NotebookClient


def outputs(*cells: str) -> list[str]:
    """Run the cells one after the other and return what each shows, as text.

    An error is what a person reads of it.
    """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, allow_errors=True, timeout=120).execute()
    return ["\n".join(_text(output) for output in cell.outputs) for cell in notebook.cells]


def _text(output: Any) -> str:
    if output.output_type == "error":
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
    return str(output.get("text") or output.data.get("text/plain"))
