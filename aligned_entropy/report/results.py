"""Result files of `alien bench` as one page, and its tables as Markdown or LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.evaluation import HEAD
from .figures import heat_map, looks, reliability_figure, risk_figure, size_figure, to_html
from .html import write_page
from .summary import (
    ALL,
    MEASURES,
    Result,
    comparisons,
    data_of,
    detail_table,
    measured,
    models_of,
    pivot,
    score_of,
    score_table,
)
from .tables import MARKDOWN, Column, Entry, Table

REFERENCE = f"{HEAD} + reference"
FIRST = ("roc_auc", "aurc", "ece", "ece_platt", "ece_isotonic")  # shown open; the other measures are folded
DRAWN = ("softmax response", "entropy", "temperature-scaled softmax response", f"{HEAD} (paper)", REFERENCE, HEAD)
WHOLES = {
    "entities": "Every score of a predicted entity, aggregated over its words; wrong is one with other words or type.",
    "sentences": "Every score of a sentence, aggregated over its words; one is wrong where any tag in it is.",
    "texts": "Every score of a text with any number of labels, aggregated over them; one is wrong where any answer is.",
}
STUDIES = {
    **WHOLES,
    "ablation": "What each part of the head is worth.",
    "outlook": "Other base scores, as they are and aligned the same way.",
}
COVERAGES = np.linspace(0.01, 1, 100)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        text: what is to be seen.
        tables: below.
        figure: of plotly, if there is one.
        folded: how many tables are open, the others are folded; all are open at 0.
    """

    title: str
    text: str
    tables: list[Table] = field(default_factory=list)
    figure: Any = None
    folded: int = 0


def write_results(path: str | Path, results: Sequence[Result], title: str) -> Path:
    """Write results as one self-contained HTML page.

    Args:
        path: of the page; missing folders are made, an old page is replaced.
        results: as :func:`aligned_entropy.report.summary.read_results` gives them.
        title: of the page.

    Returns:
        The path of the page.
    """
    parts = sections(results)
    return write_page(
        path,
        "results.html.j2",
        title=title,
        summary=_summary(results),
        head=HEAD,
        sections=[{**vars(part), "figure": to_html(part.figure, f"figure-{i}")} for i, part in enumerate(parts)],
        notes=_notes(results),
        settings=_settings(results),
    )


def markdown(results: Sequence[Result]) -> str:
    """All tables as Markdown, under the headings of the page."""
    parts = [part for part in sections(results) if part.tables]
    return "\n".join(
        f"## {part.title}\n\n".translate(MARKDOWN) + "\n".join(map(Table.markdown, part.tables)) for part in parts
    )


def latex(results: Sequence[Result]) -> str:
    """All tables as LaTeX, for ``booktabs``."""
    return "\n".join(table.latex() for part in sections(results) for table in part.tables)


def sections(results: Sequence[Result]) -> list[Section]:
    """Everything that the results have something to say about, in the order of the page."""
    models = models_of(result for result in results if "measures" in result)
    together = [None] if len(models_of(measured(results, "scores"))) > 1 else []
    found = [
        *(_scores(results, model) for model in (*models, *together)),
        *(_details(results, model) for model in models),
        *(_curves(measured(results, "scores", model), model) for model in models[:1]),
        *(_reliability(measured(results, "scores", model), model) for model in models[:1]),
        *(_transfer(results, model, data) for model in models for data in _trained(results, "transfer", model)),
        *(_study(results, study, model) for study in STUDIES for model in models),
        *(_label_efficiency(results, model) for model in models),
        Section("Data", "What the classifiers were measured on.", [_data(results, model) for model in models]),
    ]
    filled = [
        replace(part, tables=[table for table in part.tables if table.rows]) for part in found if part is not None
    ]
    return [section for section in filled if section.tables or section.figure is not None]


def _scores(results: Sequence[Result], model: str | None) -> Section | None:
    found = measured(results, "scores", model)
    if not found:
        return None
    present = [measure for measure in MEASURES if any(measure in result["measures"] for result in found)]
    order = [*(measure for measure in FIRST if measure in present), *(m for m in present if m not in FIRST)]
    compared = [table for ours in (HEAD, REFERENCE) if (table := comparisons(results, model, ours))]
    open_tables = [*compared, *(score_table(results, "scores", model, measure) for measure in order)]
    text = "Scores that were measured on every data set are ranked on each; sorted by the mean of the ranks."
    return Section(f"Scores, {model or ALL}", text, open_tables, folded=len(compared) + 3)


def _details(results: Sequence[Result], model: str) -> Section:
    sets = sorted({data_of(result) for result in measured(results, "scores", model)})
    text = "Every score on one data set after another, with intervals."
    tables = [detail_table(results, model, data, FIRST) for data in sets]
    return Section(f"In detail, {model}", text, tables, folded=1)


def _study(results: Sequence[Result], study: str, model: str) -> Section | None:
    found = measured(results, study, model)
    if not found:
        return None
    tables = [score_table(results, study, model, measure) for measure in ("roc_auc", "ece")]
    if study in WHOLES:
        sets = sorted({data_of(result) for result in found})
        tables += [detail_table(results, model, data, FIRST, study) for data in sets]
    return Section(f"{study.capitalize()}, {model}", STUDIES[study], tables)


def _panels(results: Sequence[Result], curve: Callable[[list[Result]], Any]) -> dict[str, dict[str, Any]]:
    """A curve for every data set and drawn score, of its seeds together; none where it is None."""
    panels: dict[str, dict[str, Any]] = {}
    for data in sorted({data_of(result) for result in results}):
        for name in DRAWN:
            seeds = [result for result in results if data_of(result) == data and score_of(result) == name]
            found = curve(seeds) if seeds else None
            if found is not None:
                panels.setdefault(data, {})[name] = found
    return panels


def _curves(results: Sequence[Result], model: str) -> Section | None:
    def mean(seeds: list[Result]) -> tuple[Any, Any]:
        risks = [np.interp(COVERAGES, *result["risk_coverage"]) for result in seeds]
        return COVERAGES, np.mean(risks, 0)

    panels = _panels(results, mean)
    if not panels:
        return None
    text = "How many are wrong among the answers that a score calls most certain, by the share kept. Mean of the seeds."
    return Section(f"Risk and coverage, {model}", text, figure=risk_figure(panels, looks(DRAWN, HEAD)))


def _reliability(results: Sequence[Result], model: str) -> Section | None:
    def pooled(seeds: list[Result]) -> tuple[Any, Any, Any] | None:
        parts = [np.array(result["reliability"]["raw"]) for result in seeds if "raw" in result["reliability"]]
        if not parts:
            return None
        said, observed, counts = np.concatenate(parts, axis=1)
        place = np.unique(np.minimum((said * 15).astype(int), 14), return_inverse=True)[1]
        total = np.bincount(place, counts)
        return np.bincount(place, said * counts) / total, np.bincount(place, observed * counts) / total, total

    panels = _panels(results, pooled)
    if not panels:
        return None
    text = "Scores as they are, read as the probability of an error, against how often the model was wrong. All seeds."
    return Section(f"Reliability, {model}", text, figure=reliability_figure(panels, looks(DRAWN, HEAD)))


def _domain(result: Result, which: str) -> str:
    return str((result["cell"][which] or result["cell"]["data"])["name"])


def _trained(results: Sequence[Result], study: str, model: str) -> list[str]:
    return sorted({data_of(result) for result in measured(results, study, model)})


def _transfer(results: Sequence[Result], model: str, data: str) -> Section:
    def row(result: Result) -> str:
        fitted = f", fitted on {_domain(result, 'calibration')}" if score_of(result).startswith(HEAD) else ""
        return score_of(result) + fitted

    title = f"Transfer, {model}, trained on {data}"
    found = [
        result
        for result in measured(results, "transfer", model)
        if data_of(result) == data
        and (score_of(result).startswith(HEAD) or _domain(result, "calibration") == _domain(result, "test"))
    ]
    tables = [
        pivot(found, measure, f"{title}: {MEASURES[measure]}", row, lambda result: _domain(result, "test"))
        for measure in ("roc_auc", "aurc", "ece")
    ]
    domains = [column.heading for column in tables[0].columns]

    def gain(fitted: str, place: int) -> float | None:
        rows = (tables[0].rows.get(name) for name in (f"{HEAD}, fitted on {fitted}", "entropy"))
        own, raw = (None if row is None else row[place] for row in rows)
        return None if own is None or raw is None else 100 * (own.value - raw.value)

    values = [[gain(fitted, place) for place in range(len(domains))] for fitted in domains]
    text = (
        f"One classifier, trained on {data}; its head fitted on labeled texts of one domain and tested on another. "
        "The map shows what the head gains over the entropy in ROC-AUC, in hundredths."
    )
    return Section(title, text, tables, heat_map(domains, domains, values, "gain"))


def _size(result: Result) -> int:
    return int(result["cell"]["size"] or result["examples"]["calibration"])


def _label_efficiency(results: Sequence[Result], model: str) -> Section | None:
    found = measured(results, "label-efficiency", model)
    if not found:
        return None
    tables, panels = [], {}
    for data in sorted({data_of(result) for result in found}):
        own = sorted((result for result in found if data_of(result) == data), key=_size)
        for measure in ("roc_auc", "ece"):
            name = f"Label efficiency, {model}, {data}: {MEASURES[measure]}"
            table = pivot(own, measure, name, column=lambda result: f"{_size(result):,}")
            tables.append(table)
            sizes = sorted({_size(result) for result in own})
            panels[f"{data}: {MEASURES[measure]}"] = {
                score: _known(sizes, [None if entry is None else entry.value for entry in entries])
                for score, entries in table.rows.items()
            }
    text = "ROC-AUC and ECE against the number of labeled texts that the head, or another score, was fitted on."
    figure = size_figure(panels, looks(list(dict.fromkeys(map(score_of, found))), HEAD), "ROC-AUC or ECE")
    return Section(f"Label efficiency, {model}", text, tables, figure, folded=0)


def _known(sizes: Sequence[int], values: Sequence[float | None]) -> tuple[list[int], list[float]]:
    pairs = [(size, value) for size, value in zip(sizes, values, strict=True) if value is not None]
    return [size for size, _ in pairs], [value for _, value in pairs]


def _data(results: Sequence[Result], model: str) -> Table:
    """Sizes and accuracy of what the scores of a model were measured on, whole sets only."""
    rows: dict[str, list[Entry | None]] = {}
    own = [
        r
        for r in results
        if "measures" in r and r["cell"]["model"]["name"] == model and r["cell"]["study"] not in WHOLES
    ]
    for data in sorted({data_of(result) for result in own}):
        whole = [r for r in own if data_of(r) == data and r["cell"]["test"] is None and r["cell"]["size"] is None]
        seeds = {result["cell"]["seed"]: result for result in sorted(whole, key=lambda r: r["examples"]["test"])}
        if not seeds:
            continue
        one = next(iter(seeds.values()))
        accuracy = [result["accuracy"]["value"] for result in seeds.values()]
        rows[data] = [
            *(Entry(float(one["examples"][which])) for which in ("calibration", "test")),
            Entry(float(len(seeds))),
            Entry(float(np.mean(accuracy)), float(np.std(accuracy, ddof=1)) if len(accuracy) > 1 else None),
            Entry(float(np.mean([result["error_rate"]["calibration"] for result in seeds.values()]))),
        ]
    counts = [Column(name, 1, 0) for name in ("calibration texts", "test texts", "seeds")]
    columns = (*counts, Column("accuracy %", 100, 1), Column("calibration errors %", 100, 1))
    return Table(f"Data, {model}", "Accuracy on the test texts, mean ± standard deviation over seeds.", columns, rows)


def _summary(results: Sequence[Result]) -> list[str]:
    done = [result for result in results if "measures" in result]
    models = models_of(done)
    sets = sorted({data_of(result) for result in done})
    sentences = [
        f"{len(done):,} cells: {len(models)} models ({', '.join(models)}), {len(sets)} data sets ({', '.join(sets)})."
    ]
    for measure in ("roc_auc", "ece_platt"):
        have = models_of(result for result in measured(results, "scores") if measure in result["measures"])
        for model in (*([None] if len(have) > 1 else []), *models[:1]):  # all together, where scores were ranked on all
            table = score_table(results, "scores", model, measure)
            ranks = {name: row[-1].value for name, row in table.rows.items() if row[-1] is not None}
            if not table.columns or table.columns[-1].heading != "mean rank" or len(ranks) < 2:
                continue
            pairs = "data sets" if model else "pairs of a model and a data set"
            best = next(iter(ranks))
            places = [f"{name} {rank:.1f}" for name, rank in ranks.items() if name == best or name.startswith(HEAD)]
            sentences.append(
                f"{model or ALL}, {MEASURES[measure]}: of {len(ranks)} scores on {len(table.columns) - 1} {pairs} "
                f"the best mean rank is that of {best}; {', '.join(places)}."
            )
            break
    return sentences


def _notes(results: Iterable[Result]) -> dict[str, str]:
    """Why cells hold no measures, those with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        reason = result.get("skipped") or result.get("error")
        if reason:
            cell = result["cell"]
            place = f"{cell['study']}, {cell['score']}: {cell['model']['name']} on {cell['data']['name']}"
            reasons.setdefault(reason, []).append(place)
    return {"; ".join(dict.fromkeys(places)): reason for reason, places in reasons.items()}


def _settings(results: Sequence[Result]) -> dict[str, str]:
    """Models, data and versions as the cells have them."""
    done = [result for result in results if "measures" in result]
    facts: dict[str, str] = {}
    for kind in ("model", "data"):
        for result in done:
            spec: Mapping[str, Any] = result["cell"][kind]
            facts.setdefault(
                f"{kind} {spec['name']}",
                ", ".join(f"{name} {value}" for name, value in spec.items() if name != "name" and value is not None),
            )
    for name in sorted({name for result in done for name in result["versions"]}):
        facts[name] = ", ".join(sorted({result["versions"].get(name, "–") for result in done}))
    return facts
