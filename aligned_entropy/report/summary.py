"""Result files of `alien bench` as tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..evaluation.evaluation import HEAD, lower_is_better
from ..stats import holm, mean_ranks, wilcoxon_p
from .tables import Column, Entry, Table, placed, ranked

Result = dict[str, Any]
COMPARED = "softmax response"  # marks say what differs from it
NAMED = ("entropy", COMPARED)  # comparisons across data sets that were named beforehand, next to the best on validation
ALL = "all models"
COMPARED_BY = ("roc_auc", "ece_platt", "ece_isotonic")
MEASURES = {
    "roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "fpr_at_95_tpr": "FPR at 95% TPR", "aurc": "AURC", "e_aurc": "E-AURC",
    "augrc": "AUGRC", "prr": "PRR", "prr_50": "PRR at 50%", "ece": "ECE", "adaptive_ece": "adaptive ECE",
    "brier": "Brier score", "nll": "NLL", "ece_platt": "ECE after Platt's map",
    "ece_isotonic": "ECE after an isotonic map",
}  # fmt: skip


def read_results(folder: str | Path) -> list[Result]:
    """Every result file under a folder, failed and skipped cells included.

    Raises:
        DataError: there is none, or one of them cannot be read.
    """
    results = []
    for path in sorted(Path(folder).rglob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is no whole JSON file: remove it and run alien bench again.") from error
        if isinstance(result, dict) and "cell" in result:
            results.append(result)
    if not results:
        raise DataError(f"there are no result files of alien bench in {folder}.")
    return results


def measured(results: Iterable[Result], study: str, model: str | None = None) -> list[Result]:
    """The results of a study that hold measures, of one model where it is named.

    Where one of the scores could not be fitted with a seed, all are compared on the other seeds.
    """
    found = [
        result
        for result in results
        if "measures" in result
        and result["cell"]["study"] == study
        and (model is None or result["cell"]["model"]["name"] == model)
    ]
    seeds: dict[str, dict[str, set[int]]] = {}
    for result in found:
        seeds.setdefault(_setting(result), {}).setdefault(score_of(result), set()).add(result["cell"]["seed"])
    shared = {setting: set.intersection(*scores.values()) for setting, scores in seeds.items()}
    return [
        result for result in found if result["cell"]["seed"] in shared[_setting(result)] or not shared[_setting(result)]
    ]


def _setting(result: Result) -> str:
    """Everything about a cell but the score and the seed."""
    cell = result["cell"]
    return json.dumps([cell[name] for name in ("model", "data", "size", "calibration", "test")])


def models_of(results: Iterable[Result]) -> list[str]:
    """Models, those with the most data sets first."""
    sets: dict[str, set[str]] = {}
    for result in results:
        sets.setdefault(result["cell"]["model"]["name"], set()).add(data_of(result))
    return sorted(sets, key=lambda name: (-len(sets[name]), name))


def data_of(result: Result) -> str:
    """Name of the data set that the classifier was trained on."""
    return str(result["cell"]["data"]["name"])


def place_of(result: Result) -> str:
    """Data set and model."""
    return f"{data_of(result)}, {result['cell']['model']['name']}"


def score_of(result: Result) -> str:
    """Name of the score."""
    return str(result["cell"]["score"])


def pivot(
    results: Sequence[Result],
    measure: str,
    title: str,
    row: Callable[[Result], str] = score_of,
    column: Callable[[Result], str] = data_of,
) -> Table:
    """One measure as a table: the mean over the seeds, its standard deviation, the best, and what is significant.

    A mark compares the ROC-AUC with that of softmax response on the same rows: the mean difference is more than 1.96
    mean standard errors of DeLong's. (Seeds share their test texts, so that their errors are not averaged away.)
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result["measures"].get(measure, {}).get("value") is not None:
            groups.setdefault((row(result), column(result)), []).append(result)
    headings = dict.fromkeys(key[1] for key in groups)
    rows: dict[str, list[Entry | None]] = {
        name: [_entry(groups.get((name, heading), []), measure) for heading in headings]
        for name in dict.fromkeys(key[0] for key in groups)
    }
    columns = tuple(Column(heading, lower=lower_is_better(measure)) for heading in headings)
    return placed(Table(title, _note(measure, groups), columns, rows))


def _entry(results: Sequence[Result], measure: str) -> Entry | None:
    if not results:
        return None
    values = [result["measures"][measure]["value"] for result in results]
    against = [result["against"][COMPARED] for result in results]
    sign = 0
    if measure == "roc_auc" and all(found["deviation"] for found in against):
        gain = np.mean([found["roc_auc"] for found in against])
        sign = int(np.sign(gain)) if abs(gain) > 1.96 * np.mean([found["deviation"] for found in against]) else 0
    return Entry(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, sign=sign)


def _note(measure: str, groups: dict[tuple[str, str], list[Result]]) -> str:
    note = f"In hundredths, {'lower' if lower_is_better(measure) else 'higher'} is better"
    if any(len(group) > 1 for group in groups.values()):
        note += "; mean ± standard deviation over seeds"
    marks = " ▲ ▼: significantly better or worse than softmax response (DeLong)." if measure == "roc_auc" else ""
    return f"{note}.{marks}"


def score_table(results: Sequence[Result], study: str, model: str | None, measure: str) -> Table:
    """A study's rows by data set, with mean ranks; by data set and model where no model is named."""
    found = measured(results, study, model)
    title = f"{study.capitalize()}, {model or ALL}: {MEASURES[measure]}"
    return ranked(pivot(found, measure, title, column=_column(model)))


def detail_table(
    results: Sequence[Result], model: str, data: str, measures: Sequence[str], study: str = "scores"
) -> Table:
    """Several measures of every score on one data set, with intervals; sorted by the first of them."""
    rows: dict[str, list[Entry | None]] = {}
    found = [result for result in measured(results, study, model) if data_of(result) == data]
    for name in dict.fromkeys(map(score_of, found)):
        seeds = [result["measures"] for result in found if score_of(result) == name]
        rows[name] = [_mean_interval([seed[measure] for seed in seeds if measure in seed]) for measure in measures]
    columns = tuple(Column(MEASURES[measure], lower=lower_is_better(measure)) for measure in measures)
    count = len({result["cell"]["seed"] for result in found})
    note = f"In hundredths, with 95 % bootstrap intervals over the test texts; means of {count} seeds."
    sign = 1 if columns[0].lower else -1
    order = sorted(rows, key=lambda name: sign * entry.value if (entry := rows[name][0]) else np.inf)
    return placed(Table(f"{study.capitalize()}, {model}, {data}", note, columns, {name: rows[name] for name in order}))


def _mean_interval(seeds: Sequence[dict[str, float | None]]) -> Entry | None:
    whole = [[seed[part] for part in ("value", "low", "high")] for seed in seeds if None not in seed.values()]
    if not whole:
        return None
    value, low, high = np.mean(np.array(whole, dtype=np.float64), axis=0).tolist()
    return Entry(value, interval=(low, high))


def _column(model: str | None) -> Callable[[Result], str]:
    return place_of if model is None else data_of


def best_on_validation(results: Sequence[Result]) -> str | None:
    """The score with the best mean rank by its ROC-AUC on the calibration sets, the aligned entropies left out."""
    values: dict[str, dict[str, list[float]]] = {}
    for result in results:
        value = result["validation"]["roc_auc"]
        if value is not None and not score_of(result).startswith(HEAD):
            values.setdefault(score_of(result), {}).setdefault(place_of(result), []).append(value)
    sets = sorted({name for row in values.values() for name in row})
    whole = {name: row for name, row in values.items() if len(row) == len(sets)}
    if not whole:
        return None
    ranks = mean_ranks([[float(np.mean(row[name])) for row in whole.values()] for name in sets])
    return list(whole)[int(np.argmin(ranks))]


def comparisons(results: Sequence[Result], model: str | None, ours: str = HEAD) -> Table | None:
    """A score against those named beforehand, over the data sets: mean gain, wins, and Wilcoxon's p after Holm.

    Without a model every pair of a data set and a model counts as one.
    """
    found = measured(results, "scores", model)
    rivals = [*NAMED, best_on_validation(found)]
    rows: dict[str, list[Entry | None]] = {}
    for measure in COMPARED_BY:
        p_values = []
        table = pivot(found, measure, "", column=_column(model)).rows
        for rival in dict.fromkeys(rivals):
            if rival is None or rival not in table or ours not in table:
                continue
            pairs = [(a.value, b.value) for a, b in zip(table[ours], table[rival], strict=True) if a and b]
            if not pairs:
                continue
            gains = np.array([b - a if lower_is_better(measure) else a - b for a, b in pairs])
            p_values.append(wilcoxon_p(gains))
            counts = (len(gains), int((gains > 0).sum()), int((gains < 0).sum()))
            name = f"{MEASURES[measure]}, against {rival}" + (" (best on validation)" if rival not in NAMED else "")
            rows[name] = [Entry(float(gains.mean())), *(Entry(float(count)) for count in counts), Entry(p_values[-1])]
        for name, p in zip(list(rows)[len(rows) - len(p_values) :], holm(p_values), strict=True):
            rows[name].append(Entry(float(p)))
    if not rows:
        return None
    counts_of = [Column(name, 1, 0) for name in ("data sets", "better", "worse")]
    columns = (Column("mean gain × 100"), *counts_of, Column("p, Wilcoxon", 1, 3), Column("p, Holm", 1, 3))
    note = f"Gains are positive where {ours} is better. Holm's adjustment is over the rows of one measure."
    return Table(f"{ours}, {model or ALL}, across data sets", note, columns, rows)
