"""Benchmark results as one HTML page, and their tables as Markdown or LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..scores import HEAD
from .html import write_page
from .overview import complete_table, on_shared_pairs
from .result_files import Result, data_and_model, data_name, measured, model_names, with_short_names
from .result_tables import ALL_MODELS, MEASURES, score_table
from .sections import sections
from .tables import MARKDOWN, Table


def write_results(path: str | Path, results: Sequence[Result], title: str) -> Path:
    """Write results as one self-contained HTML page.

    Args:
        path: path of the page; missing folders are created, an existing page is replaced.
        results: results as returned by :func:`aligned_entropy.bench.results.read_results`.
        title: title of the page.

    Returns:
        The path of the page.
    """
    results = with_short_names(results)
    return write_page(
        path,
        "results.html.j2",
        title=title,
        summary=_summary(results),
        head=HEAD,
        sections=sections(results),
        notes=_notes(results),
        settings=_settings(results),
    )


def markdown(results: Sequence[Result]) -> str:
    """Format all tables as Markdown, under the headings of the page."""
    parts = [part for part in sections(with_short_names(results)) if part.tables]
    return "\n".join(
        f"## {part.title}\n\n".translate(MARKDOWN) + "\n".join(map(Table.markdown, part.tables)) for part in parts
    )


def latex(results: Sequence[Result]) -> str:
    """Format all tables as LaTeX for ``booktabs``."""
    return "\n".join(table.latex() for part in sections(results) for table in part.tables)


def _summary(results: Sequence[Result]) -> list[str]:
    """Summary in sentences: what a review finds, the best mean ranks, and the numbers of models and data sets."""
    complete = [result for result in results if "measures" in result]
    models = model_names(complete)
    sets = sorted({data_name(result) for result in complete})
    sentences = _review_sentences(results)
    for measure in ("roc_auc", "ece_platt"):
        ranked = model_names(result for result in measured(results, "scores") if measure in result["measures"])
        # All models together if scores have mean ranks over all of them, otherwise the first model.
        for model in (*([None] if len(ranked) > 1 else []), *models[:1]):
            sentence = _rank_sentence(results, model, measure)
            if sentence is not None:
                sentences.append(sentence)
                break
    counted = f"{_count(models, 'model')} ({', '.join(models)}), {_count(sets, 'data set')} ({', '.join(sets)})"
    return [*sentences, f"{_count(complete, 'cell')}: {counted}."]


def _count(items: Sequence[Any], noun: str) -> str:
    return f"{len(items):,} {noun}{'' if len(items) == 1 else 's'}"


def _review_sentences(results: Sequence[Result]) -> list[str]:
    """Sentence on the errors that a review of a fifth of the texts finds; none without heads on two pairs."""
    shared = on_shared_pairs(results)
    pairs = len({data_and_model(result) for result in shared})
    rows = complete_table(shared, "errors_found_20", pairs).rows
    means = {name: float(np.mean([entry.value for entry in row if entry])) for name, row in rows.items()}
    means = dict(sorted(means.items(), key=lambda item: -item[1]))
    heads = [f"{name} {share:.0%}" for name, share in means.items() if name.startswith(HEAD)]
    others = {name: share for name, share in means.items() if not name.startswith(HEAD)}
    if not heads or not others:
        return []
    best = max(others, key=lambda name: others[name])
    return [
        f"Errors found in a review of the most uncertain 20% of the texts: {', '.join(heads)}; by the best other "
        f"score, {best}, {others[best]:.0%} (means over {pairs} pairs of a data set and a model)."
    ]


def _rank_sentence(results: Sequence[Result], model: str | None, measure: str) -> str | None:
    """Sentence on the mean ranks of the best score and of the heads; None if fewer than two scores are ranked."""
    table = score_table(results, "scores", model, measure)
    ranks = {name: row[-1].value for name, row in table.rows.items() if row[-1] is not None}
    if not table.columns or table.columns[-1].heading != "mean rank" or len(ranks) < 2:
        return None
    pairs = "data sets" if model else "pairs of a model and a data set"
    best = next(iter(ranks))
    shown = [f"{name} {rank:.1f}" for name, rank in ranks.items() if name == best or name.startswith(HEAD)]
    return (
        f"{model or ALL_MODELS.capitalize()}, {MEASURES[measure]}: {best} has the best mean rank of {len(ranks)} "
        f"scores on {len(table.columns) - 1} {pairs}; {', '.join(shown)}."
    )


def _notes(results: Iterable[Result]) -> dict[str, str]:
    """Reasons why cells hold no measures; cells with the same reason share an entry."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        reason = result.get("skipped") or result.get("error")
        if reason:
            cell = result["cell"]
            name = f"{cell['study']}, {cell['score']}: {cell['model']['name']} on {cell['data']['name']}"
            reasons.setdefault(reason, []).append(name)
    return {"; ".join(dict.fromkeys(names)): reason for reason, names in reasons.items()}


def _settings(results: Sequence[Result]) -> dict[str, str]:
    """Settings of models and data sets, and versions, as stored in the cells."""
    complete = [result for result in results if "measures" in result]
    settings: dict[str, str] = {}
    for kind in ("model", "data"):
        for result in complete:
            spec: Mapping[str, Any] = result["cell"][kind]
            settings.setdefault(
                f"{kind} {spec['name']}",
                ", ".join(f"{name} {value}" for name, value in spec.items() if name != "name" and value is not None),
            )
    for name in sorted({name for result in complete for name in result["versions"]}):
        settings[name] = ", ".join(sorted({result["versions"].get(name, "–") for result in complete}))
    return settings
