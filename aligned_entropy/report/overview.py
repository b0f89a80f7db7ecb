"""Overview of all pairs of a data set and a model: what a review finds, mean ranks, and the planned comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..evaluation.evaluation import lower_is_better
from ..metrics.ranking import reviewed_count
from ..scores import HEAD
from ..stats import holm, wilcoxon_p
from .result_files import Result, data_and_model, measured, score_name
from .result_tables import COMPARISON_BASELINES, MEASURES, REFERENCE_HEAD, gains_of, pivot
from .tables import P_VALUES, Column, Entry, Table, add_mean_ranks, mark_best

SHARES = {"errors_found_10": 0.1, "errors_found_20": 0.2}  # reviewed shares of the predictions
OVERVIEW_MEASURES = (*SHARES, "roc_auc", "brier", "smooth_ece")
SHOWN_SCORES = (
    "AdUE", "softmax response", "temperature-scaled softmax response", "entropy", "MC dropout SMP", "deep ensemble SMP",
)  # fmt: skip
BEST_OTHERS = 3  # further scores that are shown, the best by mean ROC-AUC
# The comparison that was named before models of base size were run.
PLANNED_SCORES = (REFERENCE_HEAD, HEAD)
PLANNED_BASELINES = (*COMPARISON_BASELINES, "AdUE")
TOLERATED_LOSS = 0.003  # of ROC-AUC


def overview(results: Sequence[Result]) -> list[Table]:
    """Tabulate the shown scores, the mean ranks of all scores, and the planned comparison, over all pairs.

    The means and ranks are over the pairs on which the heads were measured, with and without reference, and of the
    scores that were measured on each of them. The comparison is over all pairs on which its two scores were measured.

    Args:
        results: results of any studies.

    Returns:
        Three tables; none if a head was measured on fewer than two pairs.
    """
    shared = on_shared_pairs(results)
    if not shared:
        return []
    pairs = len({data_and_model(result) for result in shared})
    tables = {measure: complete_table(shared, measure, pairs) for measure in (*OVERVIEW_MEASURES, "ece")}
    heads = {score for score in PLANNED_SCORES if any(score_name(result) == score for result in shared)}
    del tables["ece" if heads <= set(tables["smooth_ece"].rows) else "smooth_ece"]
    tables = {measure: table for measure, table in tables.items() if table.rows}
    if "roc_auc" not in tables:
        return []
    return [_means(tables, shared), _ranks(tables), planned_comparison(measured(results, "scores"))]


def on_shared_pairs(results: Sequence[Result]) -> list[Result]:
    """Results of the study ``scores`` on the pairs on which all heads were measured, with the shares of found errors.

    There are none if a head was measured on fewer than two pairs.
    """
    selected = measured(results, "scores")
    with_head = [{data_and_model(r) for r in selected if score_name(r) == score} for score in PLANNED_SCORES]
    pairs = set.intersection(*(part for part in with_head if part)) if any(with_head) else set()
    if len(pairs) < 2:
        return []
    return [with_found_errors(result) for result in selected if data_and_model(result) in pairs]


def complete_table(results: Sequence[Result], measure: str, pairs: int) -> Table:
    """Table of a measure with the scores that have a value of it on each of the pairs."""
    table = pivot(results, measure, "", column=data_and_model)
    rows = {name: row for name, row in table.rows.items() if len(row) == pairs and None not in row}
    return replace(table, rows=rows)


def with_found_errors(result: Result) -> Result:
    """Add the shares of found errors to a result without them, from its risk–coverage curve.

    The curve has about a hundred points. Between two of them errors are taken to be spread evenly; ``from_curve`` is
    the largest difference that another order makes. A result that has the shares is returned unchanged.
    """
    missing = {name: share for name, share in SHARES.items() if name not in result["measures"]}
    if not missing:
        return result
    size = result["examples"]["test"]
    coverage, risk = np.array(result["risk_coverage"], dtype=np.float64)
    accepted = np.r_[0.0, (coverage * size).round()]
    errors = np.r_[0.0, risk] * accepted
    added = {}
    for name, share in missing.items() if errors[-1] else ():
        left = size - reviewed_count(share, size)
        right = int(np.searchsorted(accepted, left))
        value = 1 - float(np.interp(left, accepted, errors)) / errors[-1]
        bounds = [errors[right], errors[right if accepted[right] == left else right - 1]]
        low, high = (float(1 - bound / errors[-1]) for bound in bounds)
        added[name] = {"value": value, "from_curve": max(value - low, high - value)}
    return result | {"measures": result["measures"] | added}


def _means(tables: Mapping[str, Table], results: Sequence[Result]) -> Table:
    """Tabulate the means over the pairs of the heads, of well-known scores and of the best others."""
    means = {
        measure: {name: float(np.mean([entry.value for entry in row if entry])) for name, row in table.rows.items()}
        for measure, table in tables.items()
    }
    order = sorted(means["roc_auc"], key=lambda name: -means["roc_auc"][name])
    shown = [name for name in order if name.startswith(HEAD) or name in SHOWN_SCORES]
    shown += [name for name in order if name not in shown][:BEST_OTHERS]
    rows: dict[str, list[Entry | None]] = {
        name: [Entry(values[name]) if name in values else None for values in means.values()]
        for name in sorted(shown, key=order.index)
    }
    doubt = _doubt(results, shown)
    columns = tuple(
        Column(MEASURES[measure], 100, 0 if measure in SHARES and doubt else 2, lower_is_better(measure))
        for measure in tables
    )
    pairs = len(tables["roc_auc"].columns)
    note = (
        f"Means over {pairs} pairs, in hundredths; of the Brier score and the ECE lower is better. "
        "Errors found: share of all wrong predictions among the 10 or 20% with the highest score; "
        f"a perfect score would find {' and '.join(f'{_best(results, share):.0%}' for share in SHARES.values())}."
    )
    if doubt:
        note += (
            " Where a result does not hold them, they were read from its risk–coverage curve of a hundred points, "
            f"which leaves at most {100 * doubt:.1f} points of a mean open."
        )
    others = sum(name not in shown for name in order)
    note += f" {others} further scores that were measured on all pairs are in the next table." if others else ""
    return mark_best(Table(f"What a review finds, {pairs} pairs", note, columns, rows))


def _mean_over_pairs(results: Sequence[Result], values: Sequence[float]) -> float:
    """Mean over the pairs of the means over the results of a pair."""
    by_pair: dict[str, list[float]] = {}
    for result, value in zip(results, values, strict=True):
        by_pair.setdefault(data_and_model(result), []).append(value)
    return float(np.mean([np.mean(group) for group in by_pair.values()]))


def _doubt(results: Sequence[Result], scores: Sequence[str]) -> float:
    """Largest amount by which the curves leave a mean share of found errors open; 0 if none was read from a curve."""
    open_shares = [
        _mean_over_pairs(rows, [row["measures"].get(name, {}).get("from_curve", 0.0) for row in rows])
        for score in scores
        if (rows := [result for result in results if score_name(result) == score])
        for name in SHARES
    ]
    return max(open_shares)


def _best(results: Sequence[Result], share: float) -> float:
    """Share of errors that a review of the given share finds with a perfect score, mean over the pairs."""
    rows = [result for result in results if score_name(result) == HEAD and result["error_rate"]["test"]]
    reviewed = [reviewed_count(share, row["examples"]["test"]) / row["examples"]["test"] for row in rows]
    best = [min(1.0, part / row["error_rate"]["test"]) for part, row in zip(reviewed, rows, strict=True)]
    return _mean_over_pairs(rows, best)


def _ranks(tables: Mapping[str, Table]) -> Table:
    """Tabulate the mean rank over the pairs by every measure, of all scores."""
    ranks = {
        measure: {name: row[-1] for name, row in add_mean_ranks(table).rows.items()}
        for measure, table in tables.items()
        if len(table.rows) > 1
    }
    columns = tuple(
        Column(f"{MEASURES[measure]}, {len(row)} scores", 1.0, lower_is_better=True) for measure, row in ranks.items()
    )
    order = ranks.get("roc_auc", {})  # sorted
    rows = {name: [row.get(name) for row in ranks.values()] for name in order}
    pairs = len(tables["roc_auc"].columns)
    note = f"Mean ranks over {pairs} pairs; 1 is the best. Only scores with a value on every pair are ranked."
    return mark_best(Table(f"Mean ranks, {pairs} pairs", note, columns, rows))


def planned_comparison(results: Sequence[Result]) -> Table:
    """Compare the heads with three baselines by ROC-AUC over all pairs: the comparison that was named beforehand.

    Args:
        results: results of one study.

    Returns:
        A row for each head and baseline: mean gain, number of pairs, of pairs with a loss and with a loss of more than
        :data:`TOLERATED_LOSS`, the smallest gain and its pair, Wilcoxon's p, and Holm's adjusted p over all rows.
    """
    table = pivot(results, "roc_auc", "", column=data_and_model)
    pairs = [column.heading for column in table.columns]
    rows: dict[str, list[Entry | None]] = {}
    p_values = []
    for score in PLANNED_SCORES:
        for baseline in PLANNED_BASELINES:
            if score not in table.rows or baseline not in table.rows:
                continue
            gains = gains_of(table.rows, score, baseline)
            if np.isnan(gains).all():
                continue
            worst, in_both = int(np.nanargmin(gains)), gains[~np.isnan(gains)]
            p_values.append(wilcoxon_p(in_both))
            counts = (len(in_both), (in_both < 0).sum(), (in_both < -TOLERATED_LOSS).sum())
            rows[f"{score}, against {baseline}"] = [
                Entry(float(in_both.mean())),
                *(Entry(float(count)) for count in counts),
                Entry(float(gains[worst]), remark=f"({pairs[worst]})"),
                Entry(p_values[-1]),
            ]
    for row, p in zip(rows.values(), holm(p_values), strict=True):
        row.append(Entry(float(p)))
    counted = [Column(name, 1, 0) for name in ("pairs", "behind", f"behind by more than {100 * TOLERATED_LOSS:.1f}")]
    columns = (Column("mean gain × 100"), *counted, Column("smallest gain × 100"), *P_VALUES)
    note = (
        "Differences of the ROC-AUC over all pairs on which both scores were measured, named beforehand. Wilcoxon's "
        f"signed-rank test; Holm's adjustment is over the {len(rows)} rows."
    )
    return Table("Heads against entropy, softmax response and AdUE, all pairs", note, columns, rows)
