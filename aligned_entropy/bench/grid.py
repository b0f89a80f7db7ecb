"""A grid: from a YAML file to cells, and from cells to result files, each computed once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from ..errors import DataError
from ..execution import Engine, task_pool
from ..features.files import write_atomic
from ..finetune import Mode
from .cells import Cell, run_cell
from .runs import DataSpec, ModelSpec, folder_name, train_run
from .studies import SIZES, STUDIES

T = TypeVar("T")
OWN = {"label-efficiency": ("sizes",), "transfer": ("domains",)}  # settings of one study alone


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
        ``sizes`` (label efficiency) or ``domains`` (transfer).

        Raises:
            DataError: something in it is missing or unknown; the message names it.
        """
        import yaml

        folder = Path(path).parent
        try:
            facts = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            facts = _settings(facts, "the file", ("models", "datasets", "grid"), ("results", "runs"))
            models = {
                str(name): _model(str(name), options) for name, options in _settings(facts["models"], "models").items()
            }
            datasets = {
                str(name): _data(str(name), options)
                for name, options in _settings(facts["datasets"], "datasets").items()
            }
            cells = [cell for entry in _list(facts, "grid") for cell in _cells(entry, models, datasets)]
            _check_places(cells)
            places = [folder / str(facts.get(name, name)) for name in ("results", "runs")]
        except FileNotFoundError as error:
            raise DataError(f"there is no file {path}.") from error
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise DataError(f"{path} is no grid: {' '.join(str(error).split())}") from error
        return cls(list({cell.key: cell for cell in cells}.values()), *places)

    def results_found(self) -> list[dict[str, Any]]:
        """The results of the cells, failed and skipped ones included, as far as they are there.

        Raises:
            DataError: there is none.
        """
        found = [result for cell in self.cells if (result := read_result(self.results / cell.path)) is not None]
        if not found:
            raise DataError(f"none of the {len(self.cells)} cells of this grid has a result in {self.results}.")
        return found

    def missing(self) -> list[Cell]:
        """Cells without a result, and those that failed; the slow ones, with dropout passes, last."""
        found = {cell: read_result(self.results / cell.path) for cell in self.cells}
        missing = [cell for cell, result in found.items() if result is None or "error" in result]
        return sorted(missing, key=lambda cell: "passes" in getattr(STUDIES[cell.study][cell.score], "needs", ()))

    def run(self, workers: int = 1, engine: Engine = "local") -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Compute what is missing, write every result as it comes, and go on after a failure.

        Args:
            workers: processes; the cells of one classifier are computed by one of them.
            engine: where they are.

        Yields:
            Every cell and its result.
        """
        missing = self.missing()
        if workers == 1 and engine == "local":
            yield from ((cell, compute(cell, self.results, self.runs)) for cell in missing)
            return
        groups: dict[str, list[Cell]] = {}
        for cell in missing:
            groups.setdefault(_classifier(cell, cell.seed), []).append(cell)
        classifiers = {_classifier(c, seed): (c.model, c.data, seed) for c in missing for seed in (c.seed, *c.members)}
        with task_pool(engine, workers) as submit:
            for trained in [submit(train_run, *classifier, self.runs) for classifier in classifiers.values()]:
                trained.exception()  # waits; the cells of a classifier that could not be trained will say why
            parts = [submit(compute_all, group, self.results, self.runs) for group in groups.values()]
            for part in as_completed(parts):
                yield from part.result()


def compute(cell: Cell, results: Path, runs: Path) -> dict[str, Any]:
    """Run a cell and write its result, whole or not at all, in place of one with other settings."""
    result = run_cell(cell, runs)
    path = results / cell.path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(result, allow_nan=False) + "\n").encode())
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


def _settings(
    facts: Any, what: str, required: Sequence[str] = (), optional: Sequence[str] | None = None
) -> dict[str, Any]:
    """A mapping with the keys that are required, and no others than the optional ones; any others at None."""
    if not isinstance(facts, dict):
        raise ValueError(f"{what}: a mapping is needed, not {facts!r:.40}.")
    missing = [name for name in required if name not in facts]
    if missing:
        raise ValueError(f"{what}: {', '.join(missing)} is missing.")
    if optional is not None:
        known = (*required, *optional)
        unknown = [str(name) for name in facts if name not in known]
        if unknown:
            raise ValueError(f"{what}: no setting {', '.join(unknown)}; there are {', '.join(known)}.")
    return facts


def _list(facts: Mapping[str, Any], name: str) -> list[Any]:
    values = facts.get(name, [])
    if not isinstance(values, list):
        raise ValueError(f"{name}: a list is needed, not {values!r:.40}.")
    return values


def _one(known: Mapping[str, T], name: Any, absent: str) -> T:
    if str(name) not in known:
        raise ValueError(f"{absent} {str(name)!r}; there are {', '.join(known)}.")
    return known[str(name)]


def _model(name: str, options: Any) -> ModelSpec:
    optional = [field.name for field in fields(ModelSpec) if field.name not in ("name", "base")]
    found = ModelSpec(name, **_settings(options, f"model {name!r}", ("base",), optional))
    _one({mode: None for mode in (*get_args(Mode), "prompt")}, found.mode, f"model {name!r}: no mode")
    return found


def _data(name: str, options: Any) -> DataSpec:
    known = [field.name for field in fields(DataSpec)]
    return DataSpec(**{"name": name, **_settings(options or {}, f"data set {name!r}", (), known)})


def _cells(entry: Any, models: Mapping[str, ModelSpec], datasets: Mapping[str, DataSpec]) -> Iterator[Cell]:
    study = str(_settings(entry, "an entry of the grid", ("study",))["study"])
    known = _one(STUDIES, study, "no study")
    _settings(entry, f"study {study!r}", ("study", "models", "datasets"), ("scores", *OWN.get(study, ())))
    scores = list(known) if entry.get("scores", "all") == "all" else _list(entry, "scores")
    builds = {str(score): _one(known, score, f"study {study!r}: no score") for score in scores}
    sizes = (_list(entry, "sizes") or SIZES) if study == "label-efficiency" else [None]
    if not all(size is None or isinstance(size, int) for size in sizes):
        raise ValueError(f"study {study!r}: sizes are whole numbers, or null for all, not {sizes}.")
    domains = [_one(datasets, name, "no data set") for name in _list(entry, "domains")]
    for model in [_one(models, name, "no model") for name in _list(entry, "models")]:
        for name, seeds in _settings(entry["datasets"], f"datasets of study {study!r}").items():
            data = _one(datasets, name, "no data set")
            if not isinstance(seeds, int) or seeds < 1:
                raise ValueError(f"data set {name!r} of study {study!r}: a number of seeds is needed, not {seeds!r}.")
            for seed in range(seeds):
                for score, build in builds.items():
                    cell = Cell(study, score, model, data, seed, _members(build, data, seed, seeds))
                    yield from _spread(cell, sizes, domains)


def _check_places(cells: Iterable[Cell]) -> None:
    """No two cells share the place of their result, no two classifiers their folder."""
    found: dict[str, Any] = {}
    for cell in cells:
        trained = folder_name(cell.model.name, cell.data.name)
        for place, what in ((trained, (cell.model, cell.data)), (str(cell.path)[: -len("-01234567.json")], cell)):
            if found.setdefault(place, what) != what:
                raise ValueError(
                    f"{place} would be of two with different settings: give models and data sets names of their own, "
                    "and a study of a model and a data set one entry."
                )


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
