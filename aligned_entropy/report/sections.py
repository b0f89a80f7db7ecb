"""Sections of the page of benchmark results: texts, tables and figures of every study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scores import HEAD
from .charts import Chart, HeatMap, reliability_chart, risk_chart, score_styles, size_chart
from .overview import overview
from .result_files import Result, data_name, measured, model_names, score_name
from .result_tables import ALL_MODELS, MEASURES, REFERENCE_HEAD, comparisons, detail_table, pivot, score_table
from .tables import Column, Entry, Table

MAIN_MEASURES = ("roc_auc", "errors_found_10", "aurc", "ece", "smooth_ece", "ece_platt", "ece_isotonic")  # shown first
OPEN_MEASURES = 3  # measures whose tables are shown open; those of the others are folded
DRAWN_SCORES = (
    "softmax response", "entropy", "temperature-scaled softmax response", f"{HEAD} (paper)", REFERENCE_HEAD, HEAD,
)  # fmt: skip
GROUP_STUDIES = {
    "entities": "Scores of predicted entities, aggregated over the words of an entity. An entity is an error if its "
    "words or its type are wrong.",
    "sentences": "Scores of sentences, aggregated over the words of a sentence. A sentence is an error if any of its "
    "tags is wrong.",
    "texts": "Scores of multi-label texts, aggregated over the labels. A text is an error if any of its single "
    "predictions is wrong.",
}
STUDIES = {
    **GROUP_STUDIES,
    "ablation": "Effect of each part of the head.",
    "outlook": "Other base scores, without and with alignment.",
}
COVERAGES = np.linspace(0.01, 1, 100)
RELIABILITY_BINS = 15

Points = tuple[NDArray[Any], ...]  # x, y and, in a reliability diagram, the number of predictions


@dataclass(frozen=True)
class Section:
    """Section of the page.

    Attributes:
        title: heading of the section.
        text: explanation below the heading.
        tables: tables below the chart.
        chart: chart or heat map, or None.
        open_tables: number of tables that are shown open, the others are folded; 0 shows all of them open.
    """

    title: str
    text: str
    tables: list[Table] = field(default_factory=list)
    chart: Chart | HeatMap | None = None
    open_tables: int = 0


def sections(results: Sequence[Result]) -> list[Section]:
    """Build the sections for which there are results, in the order of the page."""
    models = model_names(result for result in results if "measures" in result)
    together = [None] if len(model_names(measured(results, "scores"))) > 1 else []
    candidates = [
        _overview(results),
        *(_scores(results, model) for model in (*models, *together)),
        *(_details(results, model) for model in models),
        *(_risk_coverage(measured(results, "scores", model), model) for model in models[:1]),
        *(_reliability(measured(results, "scores", model), model) for model in models[:1]),
        *(_transfer(results, model, data) for model in models for data in _data_names(results, "transfer", model)),
        *(_study(results, study, model) for study in STUDIES for model in models),
        *(_label_efficiency(results, model) for model in models),
        Section("Data", "Data sets on which the scores were measured.", [_data(results, model) for model in models]),
    ]
    filled = [
        replace(part, tables=[table for table in part.tables if table.rows]) for part in candidates if part is not None
    ]
    return [section for section in filled if section.tables or section.chart is not None]


def _overview(results: Sequence[Result]) -> Section:
    text = (
        "A pair is a data set and a model that classifies it. Values are means over the seeds of a pair, then over the "
        f"pairs on which {HEAD} was measured."
    )
    return Section("All pairs", text, overview(results))


def _scores(results: Sequence[Result], model: str | None) -> Section | None:
    selected = measured(results, "scores", model)
    if not selected:
        return None
    present = [measure for measure in MEASURES if any(measure in result["measures"] for result in selected)]
    order = [*(m for m in MAIN_MEASURES if m in present), *(m for m in present if m not in MAIN_MEASURES)]
    compared = [table for score in (HEAD, REFERENCE_HEAD) if (table := comparisons(results, model, score))]
    tables = [*compared, *(score_table(results, "scores", model, measure) for measure in order)]
    text = "Scores that were measured on every data set are ranked on each data set and sorted by their mean rank."
    return Section(f"Scores, {model or ALL_MODELS}", text, tables, open_tables=len(compared) + OPEN_MEASURES)


def _details(results: Sequence[Result], model: str) -> Section:
    text = "All scores on each data set, with intervals."
    tables = [detail_table(results, model, data, MAIN_MEASURES) for data in _data_names(results, "scores", model)]
    return Section(f"In detail, {model}", text, tables, open_tables=1)


def _study(results: Sequence[Result], study: str, model: str) -> Section | None:
    sets = _data_names(results, study, model)
    if not sets:
        return None
    tables = [score_table(results, study, model, measure) for measure in ("roc_auc", "ece")]
    if study in GROUP_STUDIES:
        tables += [detail_table(results, model, data, MAIN_MEASURES, study) for data in sets]
    return Section(f"{study.capitalize()}, {model}", STUDIES[study], tables)


def _panels(results: Sequence[Result], curve: Callable[[list[Result]], Points | None]) -> dict[str, dict[str, Points]]:
    """Curves by data set and drawn score; ``curve`` combines the seeds and gives None if a curve is not defined."""
    panels: dict[str, dict[str, Points]] = {}
    for data in sorted({data_name(result) for result in results}):
        for name in DRAWN_SCORES:
            seeds = [result for result in results if data_name(result) == data and score_name(result) == name]
            points = curve(seeds) if seeds else None
            if points is not None:
                panels.setdefault(data, {})[name] = points
    return panels


def _risk_coverage(results: Sequence[Result], model: str) -> Section | None:
    def mean(seeds: list[Result]) -> Points:
        risks = [np.interp(COVERAGES, *result["risk_coverage"]) for result in seeds]
        return COVERAGES, np.mean(risks, 0)

    panels = _panels(results, mean)
    if not panels:
        return None
    text = "Error rate of the accepted predictions by coverage, the share of predictions accepted; mean of the seeds."
    chart = risk_chart(panels, score_styles(DRAWN_SCORES, HEAD), "Risk–coverage curves")
    return Section(f"Risk and coverage, {model}", text, chart=chart)


def _reliability(results: Sequence[Result], model: str) -> Section | None:
    def pooled(seeds: list[Result]) -> Points | None:
        parts = [np.array(result["reliability"]["raw"]) for result in seeds if "raw" in result["reliability"]]
        if not parts:
            return None
        predicted, observed, counts = np.concatenate(parts, axis=1)
        bins = np.minimum((predicted * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
        index = np.unique(bins, return_inverse=True)[1]
        total = np.bincount(index, counts)
        return np.bincount(index, predicted * counts) / total, np.bincount(index, observed * counts) / total, total

    panels = _panels(results, pooled)
    if not panels:
        return None
    text = (
        "Scores without a calibration map, read as error probabilities, against the observed error rate; all seeds "
        "together."
    )
    chart = reliability_chart(panels, score_styles(DRAWN_SCORES, HEAD), "Reliability diagram")
    return Section(f"Reliability, {model}", text, chart=chart)


def _domain(result: Result, split: str) -> str:
    """Name of the domain of the calibration or the test split."""
    return str((result["cell"][split] or result["cell"]["data"])["name"])


def _data_names(results: Sequence[Result], study: str, model: str) -> list[str]:
    return sorted({data_name(result) for result in measured(results, study, model)})


def _transfer(results: Sequence[Result], model: str, data: str) -> Section:
    def row(result: Result) -> str:
        fitted = f", fitted on {_domain(result, 'calibration')}" if score_name(result).startswith(HEAD) else ""
        return score_name(result) + fitted

    title = f"Transfer, {model}, trained on {data}"
    selected = [
        result
        for result in measured(results, "transfer", model)
        if data_name(result) == data
        and (score_name(result).startswith(HEAD) or _domain(result, "calibration") == _domain(result, "test"))
    ]
    tables = [
        pivot(selected, measure, f"{title}: {MEASURES[measure]}", row, lambda result: _domain(result, "test"))
        for measure in ("roc_auc", "aurc", "ece")
    ]
    domains = [column.heading for column in tables[0].columns]

    def gain(fitted: str, column: int) -> float | None:
        rows = (tables[0].rows.get(name) for name in (f"{HEAD}, fitted on {fitted}", "entropy"))
        head, entropy = (None if row is None else row[column] for row in rows)
        return None if head is None or entropy is None else 100 * (head.value - entropy.value)

    values = [[gain(fitted, column) for column in range(len(domains))] for fitted in domains]
    text = (
        f"The classifier is trained on {data}. Its head is fitted on labeled texts of one domain and tested on "
        "another. The heat map shows the gain of the head over the entropy in ROC-AUC, in hundredths."
    )
    return Section(title, text, tables, HeatMap(domains, domains, values))


def _size(result: Result) -> int:
    """Number of labeled texts that the score was fitted on."""
    return int(result["cell"]["size"] or result["examples"]["calibration"])


def _label_efficiency(results: Sequence[Result], model: str) -> Section | None:
    selected = measured(results, "label-efficiency", model)
    if not selected:
        return None
    tables: list[Table] = []
    panels: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for data in sorted({data_name(result) for result in selected}):
        rows = sorted((result for result in selected if data_name(result) == data), key=_size)
        for measure in ("roc_auc", "ece"):
            name = f"Label efficiency, {model}, {data}: {MEASURES[measure]}"
            table = pivot(rows, measure, name, column=lambda result: f"{_size(result):,}")
            tables.append(table)
            sizes = sorted({_size(result) for result in rows})
            panels[f"{data}: {MEASURES[measure]}"] = {
                score: _measured_points(sizes, [None if entry is None else entry.value for entry in entries])
                for score, entries in table.rows.items()
            }
    text = "ROC-AUC and ECE by the number of labeled texts that the head or a baseline was fitted on."
    styles = score_styles(list(dict.fromkeys(map(score_name, selected))), HEAD)
    chart = size_chart(panels, styles, "ROC-AUC or ECE", "Label efficiency")
    return Section(f"Label efficiency, {model}", text, tables, chart)


def _measured_points(sizes: Sequence[int], values: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """Sizes and values without the sizes that have no value."""
    pairs = [(size, value) for size, value in zip(sizes, values, strict=True) if value is not None]
    return [size for size, _ in pairs], [value for _, value in pairs]


def _data(results: Sequence[Result], model: str) -> Table:
    """Tabulate sizes, accuracy and error rate of the data sets of a model, without subsets and other domains."""
    rows: dict[str, list[Entry | None]] = {}
    selected = [
        r
        for r in results
        if "measures" in r and r["cell"]["model"]["name"] == model and r["cell"]["study"] not in GROUP_STUDIES
    ]
    for data in sorted({data_name(result) for result in selected}):
        full = [r for r in selected if data_name(r) == data and r["cell"]["test"] is None and r["cell"]["size"] is None]
        seeds = {result["cell"]["seed"]: result for result in sorted(full, key=lambda r: r["examples"]["test"])}
        if not seeds:
            continue
        first = next(iter(seeds.values()))
        accuracy = [result["accuracy"]["value"] for result in seeds.values()]
        rows[data] = [
            *(Entry(float(first["examples"][split])) for split in ("calibration", "test")),
            Entry(float(len(seeds))),
            Entry(float(np.mean(accuracy)), float(np.std(accuracy, ddof=1)) if len(accuracy) > 1 else None),
            Entry(float(np.mean([result["error_rate"]["calibration"] for result in seeds.values()]))),
        ]
    counts = [Column(name, 1, 0) for name in ("calibration texts", "test texts", "seeds")]
    columns = (*counts, Column("accuracy %", 100, 1), Column("calibration errors %", 100, 1))
    return Table(f"Data, {model}", "Accuracy on the test texts, mean ± standard deviation over seeds.", columns, rows)
