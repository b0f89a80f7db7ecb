"""Self-contained HTML page of an evaluation, in the order of a user's questions.

What does a review find? What can be accepted? Can the error probabilities be believed? Which classes and which texts
are wrong? How do other scores compare?
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..metrics import brier, ece, errors_found, reliability, risk_at_coverage, risk_coverage, smooth_ece
from .charts import RELIABILITY_BINS, Chart, histogram, rate_intervals, reliability_chart, risk_chart, score_styles
from .found_errors import REVIEW, by_class
from .html import write_page
from .lists import surest_wrong_texts, uncertain_texts
from .rows import Rows
from .score_tables import CALIBRATION_COLUMNS, MAPPED_COLUMNS, RANKING_COLUMNS, ScoreTable, score_table

if TYPE_CHECKING:
    from ..evaluation.evaluation import Evaluation

CURVE_POINTS = 300
COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)
REVIEWS = (0.05, 0.1, 0.2, 0.3, 0.5)
EXAMPLES = 10  # texts in each list
SHOWN_CLASSES = 20  # classes in the open part of their table
VERSIONS = ("aligned-entropy", "torch", "transformers", "numpy")


@dataclass(frozen=True)
class Findings:
    """Evaluation with the score that the page is about, and its error probabilities.

    Attributes:
        evaluation: evaluation to show; some predictions are right and some are wrong.
        rows: predictions behind it; None if they are not known.
        main: name of the head, or of the best score if the head was not measured.
        baseline: name of the other score that finds most errors in a review of :data:`REVIEW`; None without one.
        probability: calibrated error probability by the head, ``[N]``, or else the main score if it is in [0, 1]; None
            without either.
    """

    evaluation: Evaluation
    rows: Rows | None
    main: str
    baseline: str | None
    probability: NDArray[np.float64] | None

    @classmethod
    def of(cls, evaluation: Evaluation, rows: Rows | None) -> Findings | None:
        """Find the main score and its probabilities; None if there is no score, or nothing to rank."""
        from ..scores import HEAD

        scores, errors = evaluation.scores, evaluation.errors
        if not scores or not 0 < errors.sum() < len(errors):
            return None
        ranked = [name for name in evaluation.table if name in scores]  # by falling ROC-AUC
        main = HEAD if HEAD in scores else ranked[0]
        others = [name for name in ranked if name != main]
        probability = None if rows is None or main != HEAD else rows.error_probability
        if probability is None and _is_probability(scores[main]):
            probability = scores[main]
        baseline = max(others, key=lambda name: errors_found(errors, scores[name], share=REVIEW), default=None)
        return cls(evaluation, rows, main, baseline, probability)

    @property
    def is_calibrated(self) -> bool:
        """True if the error probabilities are those of the head."""
        return self.rows is not None and self.probability is self.rows.error_probability is not None

    @property
    def uncertainty(self) -> NDArray[np.float64]:
        """Values of the main score, ``[N]``."""
        return self.evaluation.scores[self.main]


def write_report(
    path: str | Path,
    title: str,
    evaluation: Evaluation,
    settings: Mapping[str, str],
    rows: Rows | None = None,
    examples: int = EXAMPLES,
) -> Path:
    """Write an evaluation as one self-contained HTML page.

    Args:
        path: path of the page; missing folders are created, an existing page is replaced.
        title: title of the page.
        evaluation: evaluation to show.
        settings: settings that are needed to repeat the evaluation (model, data, head …), shown unchanged; the page
            adds the number of predictions, the date and versions.
        rows: predictions behind the evaluation, for the parts about classes, thresholds and texts; None to leave these
            out.
        examples: number of texts in each list of texts; with 0 the page contains no text.

    Returns:
        The path of the page.
    """
    findings = Findings.of(evaluation, rows)
    ood = evaluation.ood
    return write_page(
        path,
        "report.html.j2",
        title=title,
        summary=_summary(evaluation, findings),
        unit=evaluation.unit,
        findings=findings,
        parts={} if findings is None else _parts(findings, examples),
        tables=_score_tables(evaluation),
        ood=None if ood is None else {"headline": ood.headline, "table": score_table(ood, RANKING_COLUMNS)},
        settings={**settings, **_facts(evaluation)},
    )


def _is_probability(values: NDArray[np.float64]) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _facts(evaluation: Evaluation) -> dict[str, str]:
    """Number of predictions, date and versions."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = {"Python": platform.python_version(), **{name: version(name) for name in VERSIONS}}
    return {evaluation.unit: f"{len(evaluation.errors):,}", "date": now, **versions}


def _summary(evaluation: Evaluation, findings: Findings | None) -> list[str]:
    """Summary in sentences, about the head if it was measured and otherwise about the best score."""
    total, wrong = len(evaluation.errors), int(evaluation.errors.sum())
    accuracy, unit = evaluation.accuracy, evaluation.unit
    accurate = (
        f"The model is right on {_percent(accuracy.value)} of {total:,} {unit} (95% interval "
        f"{_percent(accuracy.low)} to {_percent(accuracy.high)}); {wrong:,} predictions are wrong."
    )
    if wrong in (0, total):
        reason = "Scores can be compared only if some predictions are right and some are wrong, so there is no ranking."
        return [accurate, reason]
    if findings is None:
        return [accurate, "No score could be measured."]
    return [_review_sentence(findings), accurate, *_probability_sentence(findings), *_threshold_sentence(findings)]


def _review_sentence(findings: Findings) -> str:
    """Sentence on what a review of the most uncertain predictions finds."""
    evaluation, main = findings.evaluation, findings.main
    share = errors_found(evaluation.errors, findings.uncertainty, share=REVIEW)
    interval = evaluation.table[main].get("errors_found_20")
    bounds = "" if interval is None else f" (95% interval {interval.low:.0%} to {interval.high:.0%})"
    best = min(1.0, int(REVIEW * len(evaluation.errors) + 1e-9) / float(evaluation.errors.sum()))
    limits = [f"a random choice finds {REVIEW:.0%}", f"no choice more than {best:.0%}"]
    if findings.baseline is not None:
        other = errors_found(evaluation.errors, evaluation.scores[findings.baseline], share=REVIEW)
        limits.insert(0, f"the best other score, {findings.baseline}, finds {other:.0%}")
    left = risk_at_coverage(evaluation.errors, findings.uncertainty, coverage=1 - REVIEW)
    return (
        f"Review the most uncertain {REVIEW:.0%} of the {evaluation.unit} and you find {share:.0%} of the errors"
        f"{bounds}; {', '.join(limits[:-1])}, and {limits[-1]}. Of the other {1 - REVIEW:.0%}, {_percent(left)} are "
        "wrong."
    )


def _probability_sentence(findings: Findings) -> list[str]:
    if not findings.is_calibrated or findings.probability is None:
        return []
    expected, observed = float(findings.probability.mean()), float(findings.evaluation.errors.mean())
    return [f"The head expects {_percent(expected)} of the predictions to be wrong; {_percent(observed)} are."]


def _threshold(findings: Findings) -> tuple[float, float] | None:
    """Coverage and risk of the threshold of the head; None without one, or if it accepts nothing."""
    rows = findings.rows
    if rows is None or rows.accepted is None or not rows.accepted.any():
        return None
    return float(rows.accepted.mean()), float(findings.evaluation.errors[rows.accepted].mean())


def _threshold_sentence(findings: Findings) -> list[str]:
    rows = findings.rows
    if rows is None or rows.accepted is None:
        return []
    threshold = _threshold(findings)
    if threshold is None:
        return [f"The threshold ({rows.goal}) accepts none of the predictions."]
    coverage, risk = map(_percent, threshold)
    return [f"The threshold ({rows.goal}) accepts {coverage} of the predictions; {risk} of these are wrong."]


def _parts(findings: Findings, examples: int) -> dict[str, Any]:
    """Values for the parts of the page that need right and wrong predictions."""
    evaluation, rows = findings.evaluation, findings.rows
    probability, errors = findings.probability, evaluation.errors
    drawn = [name for name in (findings.baseline, findings.main) if name is not None]
    parts: dict[str, Any] = dict.fromkeys(("histogram", "reliability", "classes", "uncertain"))
    parts |= {
        "reviews": _reviews(findings),
        "risk_chart": _risk_chart(findings, drawn),
        "all_risks_chart": _risk_chart(findings, list(evaluation.scores)) if len(evaluation.scores) > 2 else None,
        "coverages": [f"{coverage:.0%}" for coverage in COVERAGES],
        "risks": {
            name: [_percent(risk_at_coverage(errors, scores, coverage=coverage)) for coverage in COVERAGES]
            for name, scores in evaluation.scores.items()
        },
        "other_reliability": _other_reliability(findings),
    }
    if probability is not None:
        parts["histogram"] = histogram(probability, errors, "Numbers of right and wrong predictions by P(wrong)")
        parts["reliability"], parts["bins"] = _reliability(findings, probability)
        parts["gaps"] = {
            "ECE": ece(errors, probability), "SmoothECE": smooth_ece(errors, probability),
            "Brier score": brier(errors, probability),
        }  # fmt: skip
    if rows is not None:
        table = by_class(rows.classes, errors, findings.uncertainty, probability)
        parts["classes"] = [table[:SHOWN_CLASSES], table[SHOWN_CLASSES:]]
    if rows is not None and rows.text_of is not None and examples:
        ranking = findings.uncertainty if probability is None else probability
        parts["uncertain"] = uncertain_texts(rows, errors, ranking, examples)
        parts["surest_wrong"] = surest_wrong_texts(rows, errors, ranking, examples)
    return parts


def _reviews(findings: Findings) -> tuple[list[str], dict[str, list[str]]]:
    """Shares of errors that reviews of different sizes find, by who orders them."""
    errors, scores = findings.evaluation.errors, findings.evaluation.scores
    names = [name for name in (findings.main, findings.baseline) if name is not None]
    shares = {name: [errors_found(errors, scores[name], share=share) for share in REVIEWS] for name in names}
    shares["random choice"] = list(REVIEWS)
    shares["best possible"] = [errors_found(errors, errors, share=share) for share in REVIEWS]
    headings = [f"{share:.0%}" for share in REVIEWS]
    return headings, {name: [f"{share:.0%}" for share in row] for name, row in shares.items()}


def _risk_chart(findings: Findings, names: list[str]) -> Chart:
    """Risk–coverage curves of some scores, thinned to ``CURVE_POINTS`` points, with the threshold."""
    evaluation = findings.evaluation
    points = np.unique(np.linspace(0, len(evaluation.errors) - 1, CURVE_POINTS).round().astype(int))

    def thinned(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        coverage, risk = risk_coverage(evaluation.errors, scores)
        return coverage[points], risk[points]

    curves = {name: thinned(evaluation.scores[name]) for name in names}
    return risk_chart(
        {"": curves},
        score_styles(names, findings.main),
        "Risk–coverage curves: error rate of the accepted predictions by the share of predictions accepted",
        perfect=thinned(evaluation.errors),
        threshold=_threshold(findings),
    )


def _reliability(findings: Findings, probability: NDArray[np.float64]) -> tuple[Chart, list[list[str]]]:
    """Reliability diagram of the error probabilities with intervals, and its values as rows of a table."""
    bins = reliability(findings.evaluation.errors, probability, bins=RELIABILITY_BINS)
    predicted, observed, counts = (np.asarray(part, dtype=np.float64) for part in bins)
    label = "Reliability diagram: observed error rate by P(wrong), with 95% intervals"
    chart = reliability_chart({"": {findings.main: bins}}, {findings.main: "s0"}, label, intervals=True)
    rows = [
        [_percent(p), f"{int(count):,}", f"{round(rate * count):,}", _percent(rate), f"{low:.1%} to {high:.1%}"]
        for p, rate, count, (low, high) in zip(
            predicted, observed, counts, rate_intervals(observed, counts), strict=True
        )
    ]
    return chart, rows


def _other_reliability(findings: Findings) -> Chart | None:
    """Reliability diagrams of the other scores in [0, 1], a panel each; None without such a score."""
    evaluation = findings.evaluation
    panels = {
        name: {name: reliability(evaluation.errors, scores, bins=RELIABILITY_BINS)}
        for name, scores in evaluation.scores.items()
        if name != findings.main and _is_probability(scores)
    }
    styles = dict.fromkeys(panels, "s0")
    return reliability_chart(panels, styles, "Reliability diagram", intervals=True) if panels else None


def _score_tables(evaluation: Evaluation) -> list[tuple[str, ScoreTable]]:
    """Tables of all measures, under their headings; those without a measure are left out."""
    parts = {
        "Which score finds the errors?": RANKING_COLUMNS,
        "Read as error probabilities": CALIBRATION_COLUMNS,
        "After a calibration map": MAPPED_COLUMNS,
    }
    tables = [(heading, score_table(evaluation, columns)) for heading, columns in parts.items()]
    return [(heading, table) for heading, table in tables if table.columns]
