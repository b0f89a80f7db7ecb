"""Grids: cells from a YAML file, each computed once, with its result in the file of its study."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..display.progress import no_report
from ..errors import DataError
from ..execution import Engine, task_pool
from .cells import Cell
from .grid_file import read_grid_file
from .measurements import run_cell
from .results import read_study, sort_results, store_result
from .runs import DataSpec, ModelSpec, train_run
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
        ``scores`` or ``without``, ``sizes`` (label efficiency) or ``domains`` (transfer).

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

        Cells of a classifier follow one another, so that it is loaded once. First come scores that read views, since
        their run of the model stores what the others read, too; last those with dropout passes, which are slow.

        Raises:
            DataError: the stored results cannot be read.
        """
        by_key = self._results_by_key()
        missing = [cell for cell in self.cells if "error" in by_key.get(cell.key, {"error": "never computed"})]
        places: dict[str, int] = {}
        for cell in missing:
            places.setdefault(_classifier_key(cell, cell.seed), len(places))

        def place(cell: Cell) -> tuple[bool, int, bool]:
            return _has_passes(cell), places[_classifier_key(cell, cell.seed)], not cell.make_score(None).reads_views

        return sorted(missing, key=place)

    def _results_by_key(self) -> dict[str, dict[str, Any]]:
        studies = dict.fromkeys(cell.study for cell in self.cells)
        return {result["key"]: result for study in studies for result in read_study(self.results, study)}

    def run(
        self, workers: int = 1, engine: Engine = "local", report: Callable[[str], object] = no_report
    ) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Compute the missing cells and store each result at once; a cell that fails does not stop the others.

        A classifier whose training fails is not trained again in this run: all its cells have the error as their
        result.

        Args:
            workers: number of processes; one process computes all cells of a classifier.
            engine: execution backend, see :func:`aligned_entropy.execution.task_pool`.
            report: function that is called with a line after every epoch of a training in this process.

        Yields:
            Every computed cell with its result.
        """
        missing = self.missing()
        for study in {cell.study for cell in self.cells}:
            sort_results(self.results, study)
        if workers == 1 and engine == "local":
            failures: dict[str, Exception | None] = {}
            for cell in missing:
                for key, classifier in _classifiers(cell).items():
                    if key not in failures:
                        failures[key] = _training_failure(*classifier, self.runs, report)
                yield cell, compute(cell, self.results, self.runs, _failure(cell, failures))
            return
        classifiers = {key: classifier for cell in missing for key, classifier in _classifiers(cell).items()}
        with task_pool(engine, workers) as submit:
            trainings = {
                key: submit(_training_failure, *classifier, self.runs) for key, classifier in classifiers.items()
            }
            failures = {key: training.result() for key, training in trainings.items()}
            cells_of_classifier: dict[str, list[Cell]] = {}
            for cell in missing:
                failure = _failure(cell, failures)
                if failure is None:
                    cells_of_classifier.setdefault(_classifier_key(cell, cell.seed), []).append(cell)
                else:
                    yield cell, compute(cell, self.results, self.runs, failure)
            parts = [submit(compute_all, cells, self.results, self.runs) for cells in cells_of_classifier.values()]
            for part in as_completed(parts):
                yield from part.result()


def compute(cell: Cell, results: Path, runs: Path, failure: Exception | None = None) -> dict[str, Any]:
    """Run a cell and store its result, which replaces that of the same cell with other settings.

    Args:
        cell: cell to compute.
        results: folder of results.
        runs: folder of trained classifiers.
        failure: error of the training of a classifier that the cell needs.
    """
    result = run_cell(cell, runs, failure)
    store_result(results, cell, result)
    return result


def compute_all(cells: Sequence[Cell], results: Path, runs: Path) -> list[tuple[Cell, dict[str, Any]]]:
    """Run cells one after the other, as :func:`compute` does, and return each with its result."""
    return [(cell, compute(cell, results, runs)) for cell in cells]


def _has_passes(cell: Cell) -> bool:
    return "passes" in getattr(build_of(cell.study, cell.score), "needs", ())


def _training_failure(
    model: ModelSpec, data: DataSpec, seed: int, runs: Path, report: Callable[[str], object] = no_report
) -> Exception | None:
    """Train the classifier of a run unless it is already there; return the error if that fails."""
    try:
        train_run(model, data, seed, runs, report)
    except Exception as error:  # it must not stop the cells of other classifiers, whatever a library raises
        return error
    return None


def _failure(cell: Cell, failures: Mapping[str, Exception | None]) -> Exception | None:
    """First error among the trainings of the classifiers that a cell needs; None if all were trained."""
    return next(filter(None, (failures[key] for key in _classifiers(cell))), None)


def _classifiers(cell: Cell) -> dict[str, tuple[ModelSpec, DataSpec, int]]:
    """Model, data set and seed of every classifier that a cell needs, by key."""
    return {_classifier_key(cell, seed): (cell.model, cell.data, seed) for seed in (cell.seed, *cell.members)}


def _classifier_key(cell: Cell, seed: int) -> str:
    return json.dumps([asdict(cell.model), asdict(cell.data), seed])
