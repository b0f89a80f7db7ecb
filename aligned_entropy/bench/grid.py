"""Grids: cells from a YAML file, each computed once, with its result in the file of its study."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..execution import Engine, task_pool
from .cells import Cell
from .grid_file import read_grid_file
from .measurements import run_cell
from .results import read_study, sort_results, store_result
from .runs import train_run
from .studies import build_of


@dataclass(frozen=True)
class Grid:
    """Cells to measure, with the folders of results and of trained classifiers.

    Attributes:
        cells: cells in the order in which they are computed.
        results: folder with one file of JSON Lines a study, one line a cell.
        runs: folder of trained classifiers.
    """

    cells: list[Cell]
    results: Path
    runs: Path

    @classmethod
    def read(cls, path: str | Path) -> Grid:
        """Read a grid from a YAML file; paths of folders in it are relative to the folder of the file.

        ``models`` and ``datasets`` contain the fields of :class:`.runs.ModelSpec` and :class:`.runs.DataSpec`; ``grid``
        is a list of entries with a ``study``, ``models``, ``datasets`` (number of seeds by name), and optionally
        ``scores``, ``sizes`` (label efficiency) or ``domains`` (transfer).

        Raises:
            DataError: the file does not exist, or something in it is missing or unknown; the message names it.
        """
        return cls(*read_grid_file(Path(path)))

    def stored_results(self) -> list[dict[str, Any]]:
        """Results of all cells that have one, including failed and skipped cells; none of cells with other settings.

        Raises:
            DataError: no cell has a result, or the stored ones cannot be read.
        """
        by_key = self._results_by_key()
        results = [by_key[cell.key] for cell in self.cells if cell.key in by_key]
        if not results:
            raise DataError(
                f"none of the {len(self.cells)} cells of this grid has a result in {self.results}: run alien bench "
                "first."
            )
        return results

    def missing(self) -> list[Cell]:
        """Cells that have no result or have failed; a result with other settings is none of the cell.

        Cells of a classifier follow one another, so that it is loaded once; those with dropout passes, which are slow,
        come last.

        Raises:
            DataError: the stored results cannot be read.
        """
        by_key = self._results_by_key()
        missing = [cell for cell in self.cells if "error" in by_key.get(cell.key, {"error": "never computed"})]
        places: dict[str, int] = {}
        for cell in missing:
            places.setdefault(_classifier_key(cell, cell.seed), len(places))
        return sorted(missing, key=lambda cell: (_has_passes(cell), places[_classifier_key(cell, cell.seed)]))

    def _results_by_key(self) -> dict[str, dict[str, Any]]:
        studies = dict.fromkeys(cell.study for cell in self.cells)
        return {result["key"]: result for study in studies for result in read_study(self.results, study)}

    def run(self, workers: int = 1, engine: Engine = "local") -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Compute the missing cells and store each result at once; a cell that fails does not stop the others.

        Args:
            workers: number of processes; one process computes all cells of a classifier.
            engine: execution backend, see :func:`aligned_entropy.execution.task_pool`.

        Yields:
            Every computed cell with its result.
        """
        missing = self.missing()
        for study in {cell.study for cell in self.cells}:
            sort_results(self.results, study)
        if workers == 1 and engine == "local":
            yield from ((cell, compute(cell, self.results, self.runs)) for cell in missing)
            return
        cells_of_classifier: dict[str, list[Cell]] = {}
        for cell in missing:
            cells_of_classifier.setdefault(_classifier_key(cell, cell.seed), []).append(cell)
        classifiers = {
            _classifier_key(cell, seed): (cell.model, cell.data, seed)
            for cell in missing
            for seed in (cell.seed, *cell.members)
        }
        with task_pool(engine, workers) as submit:
            for training in [submit(train_run, *classifier, self.runs) for classifier in classifiers.values()]:
                training.exception()  # waits; after a failed training every cell of the classifier stores the error
            parts = [submit(compute_all, cells, self.results, self.runs) for cells in cells_of_classifier.values()]
            for part in as_completed(parts):
                yield from part.result()


def compute(cell: Cell, results: Path, runs: Path) -> dict[str, Any]:
    """Run a cell and store its result, which replaces that of the same cell with other settings.

    Args:
        cell: cell to compute.
        results: folder of results.
        runs: folder of trained classifiers.
    """
    result = run_cell(cell, runs)
    store_result(results, cell, result)
    return result


def compute_all(cells: Sequence[Cell], results: Path, runs: Path) -> list[tuple[Cell, dict[str, Any]]]:
    """Run cells one after the other, as :func:`compute` does, and return each with its result."""
    return [(cell, compute(cell, results, runs)) for cell in cells]


def _has_passes(cell: Cell) -> bool:
    return "passes" in getattr(build_of(cell.study, cell.score), "needs", ())


def _classifier_key(cell: Cell, seed: int) -> str:
    return json.dumps([asdict(cell.model), asdict(cell.data), seed])
