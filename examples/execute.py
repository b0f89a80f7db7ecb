"""Execute the notebooks of this folder and store their outputs.

python examples/execute.py [NAME...]
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in a folder, which gets its files.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(folder)}})
    # No bars are drawn here, so that nobody needs the advice to install ipywidgets for them.
    client.execute(env=os.environ | {"PYTHONWARNINGS": "ignore:IProgress not found"})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    return notebook


def main() -> None:
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        if len(sys.argv) == 1 or path.stem in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                notebook = executed(path, Path(folder))
            nbformat.write(notebook, path)
            print(f"executed: {path}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
