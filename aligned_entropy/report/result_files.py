"""Results of ``alien bench``: selection and access by name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

Result = dict[str, Any]


def with_short_names(results: Sequence[Result]) -> list[Result]:
    """Results in which a data set that is named by a path has the last part of the path as its name.

    A path stays as it is if another data set has the same last part.
    """
    domains = ("data", "calibration", "test")
    names = {
        cell[part]["name"] for cell in (result["cell"] for result in results) for part in domains if cell.get(part)
    }
    counts = Counter(PurePath(name).name for name in names)
    short = {name: last for name in names if name[:1] in "/.~" and counts[last := PurePath(name).name] == 1}

    def renamed(cell: dict[str, Any]) -> dict[str, Any]:
        parts = {part: cell[part] for part in domains if cell.get(part)}
        return cell | {part: spec | {"name": short.get(spec["name"], spec["name"])} for part, spec in parts.items()}

    return [result | {"cell": renamed(result["cell"])} for result in results]


def measured(results: Iterable[Result], study: str, model: str | None = None) -> list[Result]:
    """Select the results of a study that hold measures, of all models or of one.

    If a score could not be fitted with some seed, all scores are compared on the seeds that they share.
    """
    selected = [
        result
        for result in results
        if "measures" in result
        and result["cell"]["study"] == study
        and (model is None or result["cell"]["model"]["name"] == model)
    ]
    shared = _shared_seeds(selected)
    return [result for result in selected if result["cell"]["seed"] in shared[_setting(result)]]


def partly_measured(results: Iterable[Result]) -> list[str]:
    """Data sets and models with seeds that are not compared, because they lack some of the scores."""
    results = [result for result in results if "measures" in result]
    names: dict[str, None] = {}
    for study in {result["cell"]["study"] for result in results}:
        selected = [result for result in results if result["cell"]["study"] == study]
        shared = _shared_seeds(selected)
        left_out = [result for result in selected if result["cell"]["seed"] not in shared[_setting(result)]]
        names |= dict.fromkeys(map(data_and_model, left_out))
    return sorted(names)


def _shared_seeds(results: Iterable[Result]) -> dict[str, set[int]]:
    """Seeds with which all scores of a setting were measured; all seeds if there are none."""
    seeds: dict[str, dict[str, set[int]]] = {}
    for result in results:
        seeds.setdefault(_setting(result), {}).setdefault(score_name(result), set()).add(result["cell"]["seed"])
    return {
        setting: set.intersection(*scores.values()) or set.union(*scores.values()) for setting, scores in seeds.items()
    }


def _setting(result: Result) -> str:
    """JSON of all settings of a cell but the score and the seed."""
    cell = result["cell"]
    return json.dumps([cell[name] for name in ("model", "data", "size", "calibration", "test")])


def model_names(results: Iterable[Result]) -> list[str]:
    """Names of the models; those with the most data sets come first."""
    sets: dict[str, set[str]] = {}
    for result in results:
        sets.setdefault(result["cell"]["model"]["name"], set()).add(data_name(result))
    return sorted(sets, key=lambda name: (-len(sets[name]), name))


def data_name(result: Result) -> str:
    """Name of the data set that the classifier was trained on."""
    return str(result["cell"]["data"]["name"])


def data_and_model(result: Result) -> str:
    """Names of the data set and the model."""
    return f"{data_name(result)}, {result['cell']['model']['name']}"


def score_name(result: Result) -> str:
    """Name of the score."""
    return str(result["cell"]["score"])
