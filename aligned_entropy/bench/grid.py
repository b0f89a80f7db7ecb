"""A grid: from a YAML file to cells, and from cells to result files, each computed once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..errors import DataError
from .cells import Cell, run_cell
from .runs import DataSpec, ModelSpec, train_run
from .studies import SIZES, STUDIES


@dataclass(frozen=True)
class Grid:
    """What is to be measured, and where results and trained classifiers are kept.

    Attributes:
        cells: in the order in which they are computed.
        results: folder with one JSON file a cell.
        runs: folder of trained classifiers.
    """

    cells: list[Cell]
    results: Path
    runs: Path

    @classmethod
    def read(cls, path: str | Path) -> Grid:
        """From a YAML file; folders in it are relative to its own.

        ``models`` and ``datasets`` name the fields of :class:`ModelSpec` and :class:`DataSpec`; ``grid`` is a list of
        entries with a ``study``, ``models``, ``datasets`` (name: number of seeds), and where wanted ``scores``,
        ``sizes`` or ``domains``.

        Raises:
            DataError: something in it is missing or unknown; the message names it.
        """
        import yaml

        folder = Path(path).parent
        try:
            facts = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            models = {name: ModelSpec(name, **options) for name, options in facts["models"].items()}
            datasets = {
                name: DataSpec(**{"name": name, **(options or {})}) for name, options in facts["datasets"].items()
            }
            cells = [cell for entry in facts["grid"] for cell in _cells(entry, models, datasets)]
            places = [folder / facts.get(name, name) for name in ("results", "runs")]
        except FileNotFoundError as error:
            raise DataError(f"there is no file {path}.") from error
        except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(f"{path} is no grid: {type(error).__name__}: {error}") from error
        return cls(list({cell.key: cell for cell in cells}.values()), *places)

    def missing(self) -> list[Cell]:
        """Cells without a result, and those that failed; the slow ones, with dropout passes, last."""
        found = {cell: read_result(self.results / cell.path) for cell in self.cells}
        missing = [cell for cell, result in found.items() if result is None or "error" in result]
        return sorted(missing, key=lambda cell: "passes" in getattr(STUDIES[cell.study][cell.score], "needs", ()))

    def run(self, workers: int = 1) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Compute what is missing, write every result as it comes, and go on after a failure.

        Args:
            workers: processes; the cells of one classifier are computed by one of them.

        Yields:
            Every cell and its result.
        """
        missing = self.missing()
        if workers == 1:
            yield from ((cell, compute(cell, self.results, self.runs)) for cell in missing)
            return
        groups: dict[str, list[Cell]] = {}
        for cell in missing:
            groups.setdefault(_classifier(cell, cell.seed), []).append(cell)
        classifiers = {_classifier(c, seed): (c.model, c.data, seed) for c in missing for seed in (c.seed, *c.members)}
        threads = max(1, (os.cpu_count() or 1) // workers)
        with ProcessPoolExecutor(workers, get_context("spawn"), _set_threads, (threads,)) as pool:
            for trained in [pool.submit(train_run, *classifier, self.runs) for classifier in classifiers.values()]:
                trained.exception()  # waits; the cells of a classifier that could not be trained will say why
            parts = [pool.submit(compute_all, group, self.results, self.runs) for group in groups.values()]
            for part in as_completed(parts):
                yield from part.result()


def compute(cell: Cell, results: Path, runs: Path) -> dict[str, Any]:
    """Run a cell and write its result, whole or not at all, in place of one with other settings."""
    result = run_cell(cell, runs)
    path = results / cell.path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(result, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)
    for old in path.parent.glob(f"{path.stem[:-8]}{'?' * 8}.json"):
        if old != path:
            old.unlink()
    return result


def compute_all(cells: Sequence[Cell], results: Path, runs: Path) -> list[tuple[Cell, dict[str, Any]]]:
    """:func:`compute` for the cells of one classifier."""
    return [(cell, compute(cell, results, runs)) for cell in cells]


def read_result(path: Path) -> dict[str, Any] | None:
    """A result file, or None where there is no whole one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _classifier(cell: Cell, seed: int) -> str:
    return json.dumps([asdict(cell.model), asdict(cell.data), seed])


def _set_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _cells(entry: dict[str, Any], models: dict[str, ModelSpec], datasets: dict[str, DataSpec]) -> Iterator[Cell]:
    study = entry["study"]
    known = STUDIES.get(study)
    if known is None:
        raise ValueError(f"no study {study!r}; there are {', '.join(STUDIES)}.")
    unknown = set(entry) - {"study", "models", "datasets", "scores", "sizes", "domains"}
    if unknown:
        raise ValueError(f"study {study!r} has no setting {', '.join(sorted(unknown))}.")
    scores = known if entry.get("scores", "all") == "all" else entry["scores"]
    for score in scores:
        if score not in known:
            raise ValueError(f"study {study!r} has no score {score!r}; there are {', '.join(known)}.")
    sizes = entry.get("sizes", SIZES) if study == "label-efficiency" else [None]
    domains = [datasets[name] for name in entry.get("domains", [])]
    for model in (models[name] for name in entry["models"]):
        for name, seeds in entry["datasets"].items():
            for seed in range(seeds):
                for score in scores:
                    cell = Cell(
                        study, score, model, datasets[name], seed, _members(known[score], datasets[name], seed, seeds)
                    )
                    yield from _spread(cell, sizes, domains)


def _members(build: Any, data: DataSpec, seed: int, seeds: int) -> tuple[int, ...]:
    """The other classifiers of an ensemble: those of the other seeds, unless they were trained on other texts."""
    needed = "members" in getattr(build, "needs", ()) and not data.resplit
    return tuple(other for other in range(seeds) if other != seed) if needed else ()


def _spread(cell: Cell, sizes: Sequence[int | None], domains: Sequence[DataSpec]) -> Iterator[Cell]:
    """A cell for every size and for every pair of domains."""
    for size in sizes:
        yield from (
            [replace(cell, size=size, calibration=one, test=other) for one in domains for other in domains]
            if domains
            else [replace(cell, size=size)]
        )
