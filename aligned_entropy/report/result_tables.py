"""Tables of benchmark results: measures by data set, one data set in detail, comparisons across data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..evaluation.evaluation import lower_is_better
from ..scores import HEAD
from ..stats import holm, mean_ranks, wilcoxon_p
from .result_files import Result, data_and_model, data_name, measured, score_name
from .tables import P_VALUES, Column, Entry, Table, add_mean_ranks, mark_best

REFERENCE_HEAD = f"{HEAD} + reference"
MARK_BASELINE = "softmax response"  # ▲ and ▼ mark a significant difference from it
# Chosen before any result was seen; the best baseline on the validation splits is compared as well.
COMPARISON_BASELINES = ("entropy", MARK_BASELINE)
COMPARISON_MEASURES = ("roc_auc", "ece_platt", "ece_isotonic")
ALL_MODELS = "all models"
MEASURES = {
    "roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "fpr_at_95_tpr": "FPR at 95% TPR", "aurc": "AURC", "e_aurc": "E-AURC",
    "augrc": "AUGRC", "prr": "PRR", "prr_50": "PRR at 50%", "errors_found_10": "errors found in 10%",
    "errors_found_20": "errors found in 20%", "ece": "ECE", "adaptive_ece": "adaptive ECE",
    "smooth_ece": "SmoothECE", "brier": "Brier score", "nll": "NLL", "ece_platt": "ECE after Platt's map",
    "ece_isotonic": "ECE after an isotonic map", "smooth_ece_platt": "SmoothECE after Platt's map",
    "smooth_ece_isotonic": "SmoothECE after an isotonic map",
}  # fmt: skip


def pivot(
    results: Sequence[Result],
    measure: str,
    title: str,
    row: Callable[[Result], str] = score_name,
    column: Callable[[Result], str] = data_name,
) -> Table:
    """Tabulate one measure: mean and standard deviation over the seeds, best values and significant differences.

    A mark compares the ROC-AUC with that of softmax response on the same rows: the mean difference is more than 1.96
    mean standard errors (DeLong). The standard errors are not divided by the root of the number of seeds, because the
    seeds share their test texts.

    Args:
        results: results that hold measures.
        measure: key of the measure.
        title: title of the table.
        row: function that gives the row name of a result.
        column: function that gives the column heading of a result.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result["measures"].get(measure, {}).get("value") is not None:
            groups.setdefault((row(result), column(result)), []).append(result)
    headings = dict.fromkeys(heading for _, heading in groups)
    rows: dict[str, list[Entry | None]] = {
        name: [_entry(groups.get((name, heading), []), measure) for heading in headings]
        for name in dict.fromkeys(name for name, _ in groups)
    }
    columns = tuple(Column(heading, lower_is_better=lower_is_better(measure)) for heading in headings)
    return mark_best(Table(title, _note(measure, groups), columns, rows))


def _entry(results: Sequence[Result], measure: str) -> Entry | None:
    """Table entry for the seeds of one score on one data set; None without results."""
    if not results:
        return None
    values = [result["measures"][measure]["value"] for result in results]
    differences = [result["against"][MARK_BASELINE] for result in results]
    standard_errors = [difference["deviation"] for difference in differences]
    sign = 0
    if measure == "roc_auc" and all(standard_errors):
        gain = np.mean([difference["roc_auc"] for difference in differences])
        sign = int(np.sign(gain)) if abs(gain) > 1.96 * np.mean(standard_errors) else 0
    return Entry(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, sign=sign)


def _note(measure: str, groups: dict[tuple[str, str], list[Result]]) -> str:
    note = f"In hundredths, {'lower' if lower_is_better(measure) else 'higher'} is better"
    if any(len(group) > 1 for group in groups.values()):
        note += "; mean ± standard deviation over seeds"
    marks = f" ▲ ▼: significantly better or worse than {MARK_BASELINE} (DeLong)." if measure == "roc_auc" else ""
    return f"{note}.{marks}"


def score_table(results: Sequence[Result], study: str, model: str | None, measure: str) -> Table:
    """Tabulate a measure of a study with mean ranks.

    Args:
        results: results of any studies.
        study: name of the study.
        model: name of the model; with None, every pair of a data set and a model has a column.
        measure: key of the measure.
    """
    selected = measured(results, study, model)
    title = f"{study.capitalize()}, {model or ALL_MODELS}: {MEASURES[measure]}"
    return add_mean_ranks(pivot(selected, measure, title, column=_column(model)))


def detail_table(
    results: Sequence[Result], model: str, data: str, measures: Sequence[str], study: str = "scores"
) -> Table:
    """Tabulate several measures of every score on one data set, with intervals, sorted by the first measure.

    Measures that no result holds have no column, unless it is the first.
    """
    rows: dict[str, list[Entry | None]] = {}
    selected = [result for result in measured(results, study, model) if data_name(result) == data]
    held = {measure for result in selected for measure in result["measures"]}
    measures = [*measures[:1], *(measure for measure in measures[1:] if measure in held)]
    for name in dict.fromkeys(map(score_name, selected)):
        seeds = [result["measures"] for result in selected if score_name(result) == name]
        rows[name] = [_mean_interval([seed[measure] for seed in seeds if measure in seed]) for measure in measures]
    columns = tuple(Column(MEASURES[measure], lower_is_better=lower_is_better(measure)) for measure in measures)
    count = len({result["cell"]["seed"] for result in selected})
    note = f"In hundredths, with 95% bootstrap intervals over the test texts; means of {count} seeds."
    sign = 1 if columns[0].lower_is_better else -1
    order = sorted(rows, key=lambda name: sign * entry.value if (entry := rows[name][0]) else np.inf)
    return mark_best(
        Table(f"{study.capitalize()}, {model}, {data}", note, columns, {name: rows[name] for name in order})
    )


def _mean_interval(seeds: Sequence[dict[str, float | None]]) -> Entry | None:
    """Table entry with value and interval bounds averaged over the seeds that have all three."""
    complete = [[seed[part] for part in ("value", "low", "high")] for seed in seeds if None not in seed.values()]
    if not complete:
        return None
    value, low, high = np.mean(np.array(complete, dtype=np.float64), axis=0).tolist()
    return Entry(value, interval=(low, high))


def _column(model: str | None) -> Callable[[Result], str]:
    return data_and_model if model is None else data_name


def best_on_validation(results: Sequence[Result]) -> str | None:
    """Name of the baseline with the best mean rank by ROC-AUC on the calibration sets.

    Variants of the head are no baselines. Only scores that were measured on every data set are ranked; None without
    such a score.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for result in results:
        value = result["validation"]["roc_auc"]
        if value is not None and not score_name(result).startswith(HEAD):
            values.setdefault(score_name(result), {}).setdefault(data_and_model(result), []).append(value)
    sets = sorted({name for row in values.values() for name in row})
    complete = {name: row for name, row in values.items() if len(row) == len(sets)}
    if not complete:
        return None
    ranks = mean_ranks([[float(np.mean(row[name])) for row in complete.values()] for name in sets])
    return list(complete)[int(np.argmin(ranks))]


def gains_of(
    rows: Mapping[str, Sequence[Entry | None]], score: str, baseline: str, lower_is_better: bool = False
) -> NDArray[np.float64]:
    """Gain of a score over a baseline in every column of a table, NaN where either has no value."""
    first, second = (
        np.array([np.nan if entry is None else entry.value for entry in rows[name]]) for name in (score, baseline)
    )
    gains: NDArray[np.float64] = second - first if lower_is_better else first - second
    return gains


def comparisons(results: Sequence[Result], model: str | None, score: str = HEAD) -> Table | None:
    """Compare a score with the baselines across data sets: mean gain, wins, Wilcoxon's p and Holm's adjusted p.

    Args:
        results: results of any studies.
        model: name of the model; with None, every pair of a data set and a model counts as one data set.
        score: name of the score.

    Returns:
        A row for every measure and baseline; None if there are no two data sets to compare on.
    """
    selected = measured(results, "scores", model)
    baselines = dict.fromkeys([*COMPARISON_BASELINES, best_on_validation(selected)])
    rows: dict[str, list[Entry | None]] = {}
    for measure in COMPARISON_MEASURES:
        p_values = []
        table = pivot(selected, measure, "", column=_column(model)).rows
        for baseline in baselines:
            if baseline is None or baseline not in table or score not in table:
                continue
            gains = gains_of(table, score, baseline, lower_is_better(measure))
            gains = gains[~np.isnan(gains)]
            if len(gains) < 2:
                continue
            p_values.append(wilcoxon_p(gains))
            counts = (len(gains), int((gains > 0).sum()), int((gains < 0).sum()))
            remark = "" if baseline in COMPARISON_BASELINES else " (best on validation)"
            name = f"{MEASURES[measure]}, against {baseline}{remark}"
            rows[name] = [Entry(float(gains.mean())), *(Entry(float(count)) for count in counts), Entry(p_values[-1])]
        for name, p in zip(list(rows)[len(rows) - len(p_values) :], holm(p_values), strict=True):
            rows[name].append(Entry(float(p)))
    if not rows:
        return None
    count_columns = [Column(name, 1, 0) for name in ("data sets", "better", "worse")]
    columns = (Column("mean gain × 100"), *count_columns, *P_VALUES)
    note = f"Gains are positive where {score} is better. Holm's adjustment is over the rows of one measure."
    return Table(f"{score}, {model or ALL_MODELS}, across data sets", note, columns, rows)
