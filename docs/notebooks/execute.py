"""
Run the notebooks of this directory from top to bottom, and store what they show in them.

    python docs/notebooks/execute.py [NAME.ipynb …]
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode


NOTEBOOKS = Path(__file__).resolve().parent
REPOSITORY = NOTEBOOKS.parents[1]

# Nothing that would differ between two machines.
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class _ThisInterpreter(AsyncKernelManager):
    """Starts the interpreter that runs this; an installed kernel, whatever its name, may belong to another one."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


def execute(path: Path, directory: Path) -> NotebookNode:
    """
    A notebook with the outputs of a run, in `directory`, by the interpreter that runs this.

    What goes to standard error is left out: progress bars, log lines and warnings of the front end.

    Raises:
        nbclient.exceptions.CellExecutionError: for a cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_manager_class=_ThisInterpreter,
        timeout=None,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(directory)}},
    )
    with tempfile.TemporaryDirectory() as settings:  # in place of the user's own
        client.execute(env={**os.environ, "PYTHONPATH": str(REPOSITORY), "IPYTHONDIR": settings})
    notebook.metadata = nbformat.from_dict(_METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Run the notebooks that the command line names, or all."""
    for path in [NOTEBOOKS / name for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        print(path.name, flush=True)
        with tempfile.TemporaryDirectory() as directory:
            nbformat.write(execute(path, Path(directory)), path)


if __name__ == "__main__":
    main()
