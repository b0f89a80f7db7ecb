"""Reading a grid from a YAML file: every setting is checked, and messages name the wrong one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from ..display.hints import missing_file
from ..display.wording import cut
from ..errors import DataError
from ..finetune import Mode, Precision
from .cells import Cell
from .runs import DataSpec, ModelSpec, folder_name
from .studies import SIZES, STUDIES, build_of

T = TypeVar("T")
STUDY_SETTINGS = {"label-efficiency": ("sizes",), "transfer": ("domains",)}  # settings that only one study has


def read_grid_file(path: Path) -> tuple[list[Cell], Path, Path]:
    """Read the cells of a grid, the folder of results and the folder of trained classifiers.

    Args:
        path: YAML file; paths of folders in it are relative to its folder. See :meth:`.grid.Grid.read`.

    Raises:
        DataError: the file does not exist, or something in it is missing or unknown; the message names it.
    """
    import yaml

    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
        facts = _settings(facts, "the file", ("models", "datasets", "grid"), ("results", "runs"))
        models = {
            str(name): _model(str(name), options) for name, options in _settings(facts["models"], "models").items()
        }
        datasets = {
            str(name): _data(str(name), options) for name, options in _settings(facts["datasets"], "datasets").items()
        }
        cells = [cell for entry in _list(facts, "grid") for cell in _cells(entry, models, datasets)]
        _check_names(cells)
        results, runs = (path.parent / str(facts.get(name, name)) for name in ("results", "runs"))
        return list({cell.key: cell for cell in cells}.values()), results, runs
    except FileNotFoundError as error:
        raise DataError(missing_file(path)) from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a grid: {' '.join(str(error).split())}") from error


def _settings(
    facts: Any, title: str, required: Sequence[str] = (), optional: Sequence[str] | None = None
) -> dict[str, Any]:
    """Check a mapping of settings and return it.

    Args:
        facts: parsed part of the file.
        title: name of the part, for messages.
        required: keys that must be there.
        optional: further keys that may be there; None for any.

    Raises:
        DataError: it is no mapping, or a key is missing or unknown.
    """
    if not isinstance(facts, dict):
        raise DataError(f"{title}: a mapping is needed, not {cut(facts, 40)}.")
    missing = [name for name in required if name not in facts]
    if missing:
        raise DataError(f"{title}: {', '.join(missing)} is missing.")
    if optional is not None:
        allowed = (*required, *optional)
        unknown = [str(name) for name in facts if name not in allowed]
        if unknown:
            raise DataError(f"{title}: no setting {', '.join(unknown)}; there are {', '.join(allowed)}.")
    return facts


def _list(facts: Mapping[str, Any], name: str) -> list[Any]:
    """Return the list under a key; an empty one if the key is missing."""
    values = facts.get(name, [])
    if not isinstance(values, list):
        raise DataError(f"{name}: a list is needed, not {cut(values, 40)}.")
    return values


def _by_name(options: Mapping[str, T], name: Any, message: str) -> T:
    """Return the option of a name.

    Raises:
        DataError: there is no such option; ``message`` begins the message of the error.
    """
    if str(name) not in options:
        raise DataError(f"{message} {str(name)!r}; there are {', '.join(options)}.")
    return options[str(name)]


def _model(name: str, options: Any) -> ModelSpec:
    optional = [field.name for field in fields(ModelSpec) if field.name not in ("name", "base")]
    spec = ModelSpec(name, **_settings(options, f"model {name!r}", ("base",), optional))
    modes = {mode: None for mode in (*get_args(Mode), "prompt")}
    _by_name(modes, spec.mode, f"model {name!r}: no mode")
    _by_name(dict.fromkeys(get_args(Precision)), spec.dtype, f"model {name!r}: no dtype")
    return spec


def _data(name: str, options: Any) -> DataSpec:
    allowed = [field.name for field in fields(DataSpec)]
    return DataSpec(**{"name": name, **_settings(options or {}, f"data set {name!r}", (), allowed)})


def _cells(entry: Any, models: Mapping[str, ModelSpec], datasets: Mapping[str, DataSpec]) -> Iterator[Cell]:
    """Cells of an entry of the grid: every score for every model, data set, seed, size and pair of domains."""
    study = str(_settings(entry, "an entry of the grid", ("study",))["study"])
    study_scores = _by_name(STUDIES, study, "no study")
    optional = ("scores", "without", *STUDY_SETTINGS.get(study, ()))
    _settings(entry, f"study {study!r}", ("study", "models", "datasets"), optional)
    scores = list(study_scores) if entry.get("scores", "all") == "all" else _list(entry, "scores")
    without = [str(score) for score in _list(entry, "without")]
    builds = {
        str(score): build_of(study, str(score)) or _by_name(study_scores, score, f"study {study!r}: no score")
        for score in (*scores, *without)
    }
    for score in without:
        builds.pop(score, None)
    sizes = (_list(entry, "sizes") or SIZES) if study == "label-efficiency" else [None]
    if not all(size is None or isinstance(size, int) for size in sizes):
        raise DataError(f"study {study!r}: sizes are whole numbers, or null for all, not {sizes}.")
    domains = [_by_name(datasets, name, "no data set") for name in _list(entry, "domains")]
    for model in [_by_name(models, name, "no model") for name in _list(entry, "models")]:
        for name, seeds in _settings(entry["datasets"], f"datasets of study {study!r}").items():
            data = _by_name(datasets, name, "no data set")
            if not isinstance(seeds, int) or seeds < 1:
                raise DataError(f"data set {name!r} of study {study!r}: a number of seeds is needed, not {seeds!r}.")
            for seed in range(seeds):
                for score, build in builds.items():
                    cell = Cell(study, score, model, data, seed, _members(build, data, seed, seeds))
                    yield from _with_sizes_and_domains(cell, sizes, domains)


def _check_names(cells: Iterable[Cell]) -> None:
    """Check that different cells have different names, and different classifiers different folders.

    Raises:
        DataError: two of them share a name.
    """
    owners: dict[str, Any] = {}
    for cell in cells:
        trained = folder_name(cell.model.name, cell.data.name)
        for name, owner in ((trained, (cell.model, cell.data)), (cell.name, cell)):
            if owners.setdefault(name, owner) != owner:
                raise DataError(
                    f"two settings share the name {name}: give models and data sets names of their own, and "
                    "a study of a model and a data set one entry."
                )


def _members(build: Any, data: DataSpec, seed: int, seeds: int) -> tuple[int, ...]:
    """Seeds of the other classifiers of an ensemble; none if each seed has other training texts."""
    needs_members = "members" in getattr(build, "needs", ()) and not data.resplit
    return tuple(member for member in range(seeds) if member != seed) if needs_members else ()


def _with_sizes_and_domains(cell: Cell, sizes: Sequence[int | None], domains: Sequence[DataSpec]) -> Iterator[Cell]:
    """Copies of a cell for every size and every pair of domains."""
    for size in sizes:
        if domains:
            pairs = [(calibration, test) for calibration in domains for test in domains]
            yield from (replace(cell, size=size, calibration=calibration, test=test) for calibration, test in pairs)
        else:
            yield replace(cell, size=size)
