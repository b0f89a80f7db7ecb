"""Evaluation of scores on labeled predictions: measures with intervals, and tests against the best score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..display.card import Displayed
from ..display.text_tables import text_table, wrapped, write_csv
from ..display.wording import counted
from ..errors import ArgumentError
from ..features.arrays import Features
from ..metrics import LOWER_IS_BETTER
from ..stats import Interval, holm, paired_auc, share_of_rows, two_sided_p
from .calibration_maps import MAPS
from .display import MEASURE_HEADINGS, FigureKind, evaluation_card, evaluation_figure
from .fitted_scores import FittedScore, ScoreValues, measure_scores, score_values
from .groups import ScoreKey
from .review import review_sentences

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

SIGNIFICANT = 0.05
COLUMNS = ["score", "measure", "value", "low", "high"]


@dataclass(frozen=True, repr=False)
class Evaluation(Displayed):
    """Measures of how well scores find the errors of a model.

    Attributes:
        accuracy: accuracy of the model.
        table: interval of every measure of every score, ``table[score][measure]``; the best ROC-AUC comes first.
        errors: errors of the predictions, ``[N]``: 1 where the model is wrong.
        scores: uncertainty ``[N]`` by name of the score.
        p_values: p-value of each score's ROC-AUC against the best one (DeLong, paired, Holm-adjusted); 1 for the best.
        skipped: reason for each score that was not measured.
        unit: unit of the predictions in the plural: texts, words, entities …
        ood: evaluation of how well the scores separate out-of-distribution texts, if there are such texts.
    """

    accuracy: Interval
    table: dict[str, dict[str, Interval]]
    errors: NDArray[np.float64] = field(repr=False)
    scores: dict[str, NDArray[np.float64]] = field(repr=False)
    p_values: dict[str, float]
    skipped: dict[str, str]
    unit: str = "texts"
    ood: Separation | None = None

    shown: ClassVar[tuple[str, ...]] = (
        "roc_auc", "pr_auc", "aurc", "errors_found_10", "errors_found_20", "ece", "smooth_ece", "brier",
        "ece_platt", "ece_isotonic", "smooth_ece_platt", "smooth_ece_isotonic",
    )  # fmt: skip

    printed: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("roc_auc", "pr_auc", "aurc"),
        ("errors_found_10", "errors_found_20"),
        ("ece", "brier", "ece_platt", "ece_isotonic"),
        ("smooth_ece", "smooth_ece_platt", "smooth_ece_isotonic"),
    )

    @property
    def single_predictions(self) -> Evaluation:
        """Evaluation itself; :class:`.grouped.GroupedEvaluation` has an attribute of this name, too."""
        return self

    @property
    def facts(self) -> dict[str, Any]:
        """Numbers of predictions and errors, and the accuracy, for JSON."""
        accuracy = self.accuracy.to_dict()
        return {"examples": len(self.errors), "errors": int(self.errors.sum()), "accuracy": accuracy}

    @property
    def headline(self) -> str:
        """Accuracy and number of errors as a line of text."""
        errors = counted(int(self.errors.sum()), "errors")
        return f"accuracy {self.accuracy}, {errors} in {counted(len(self.errors), self.unit)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the arrays."""
        table = {
            name: {measure: interval.to_dict() for measure, interval in row.items()} for name, row in self.table.items()
        }
        scores = {"scores": table, "p_values_against_the_best": self.p_values, "skipped": self.skipped}
        return self.facts | scores | ({} if self.ood is None else {"ood": self.ood.to_dict()})

    def write_csv(self, path: str | Path) -> None:
        """Write a CSV file with one row per score and measure: value and bounds."""
        write_csv(path, COLUMNS, self.rows())

    def rows(self) -> Iterator[list[Any]]:
        """Yield a row for every score and measure: score, measure, value, low and high.

        The measures of :attr:`ood` have the prefix ``ood_``.
        """
        for name, row in self.table.items():
            for measure, interval in row.items():
                yield [name, measure, interval.value, interval.low, interval.high]
        for name, measure, *values in () if self.ood is None else self.ood.rows():
            yield [name, f"ood_{measure}", *values]

    def with_aggregation(self, aggregation: str) -> Evaluation:
        """Return a copy whose table has only the scores with one aggregation, see :class:`.groups.ScoreKey`."""
        table = {name: row for name, row in self.table.items() if ScoreKey.parse(name).aggregation == aggregation}
        return replace(self, table=table)

    def best(self, measure: str) -> str:
        """Name of the best score by a measure; an ``ArgumentError`` is raised if no score was measured by it."""
        sign = 1 if lower_is_better(measure) else -1
        names = [name for name in self.table if measure in self.table[name]]
        if not names:
            measures = dict.fromkeys(name for row in self.table.values() for name in row)
            raise ArgumentError(f"no score was measured by {measure!r}; the measures are {', '.join(measures)}.")
        return min(names, key=lambda name: sign * self.table[name][measure].value)

    def to_pandas(self) -> pd.DataFrame:
        """Data frame with the columns of :meth:`rows`: score, measure, value, low and high."""
        import pandas as pd

        return pd.DataFrame(list(self.rows()), columns=COLUMNS)

    def plot(self, kind: FigureKind = "risk", scores: Sequence[str] | None = None) -> Figure:
        """Plot how well scores find the errors, as a figure of plotly.

        Args:
            kind: ``risk`` for the error rate among the accepted predictions by their share, ``reliability`` for the
                observed error rate by the error probability, of scores in [0, 1].
            scores: names of the scores; by default the seven best for ``risk``, and the head for ``reliability``.

        Raises:
            ArgumentError: there is no such figure or score, or no score is a probability.
        """
        return evaluation_figure(self, kind, scores)

    _card = evaluation_card

    def __str__(self) -> str:
        return "\n".join([*(f"{wrapped(sentence)}\n" for sentence in review_sentences(self)), self.tables()])

    def tables(self) -> str:
        """Tables of the measures as text."""
        lines = [self.headline]
        for measures in self.printed:
            present = [name for name in measures if any(name in row for row in self.table.values())]
            if present:
                lines += ["", self._text_table(present)]
        if any(p < SIGNIFICANT for p in self.p_values.values()):
            lines += ["", "† ROC-AUC differs from the best (DeLong, paired; Holm; p < .05)"]
        if self.skipped:
            lines += ["", *(wrapped(f"skipped: {name}. {reason}") for name, reason in self.skipped.items())]
        return "\n".join(lines if self.ood is None else [*lines, "", str(self.ood)])

    def _text_table(self, measures: Sequence[str]) -> str:
        """Table of a few measures of every score; the first measure has its interval."""
        first, *others = measures
        header = ["score", f"{MEASURE_HEADINGS[first]} [95% interval]", *(MEASURE_HEADINGS[name] for name in others)]
        rows = []
        for name, row in self.table.items():
            if not row.keys().isdisjoint(measures):
                mark = " †" if self.p_values[name] < SIGNIFICANT else ""
                values = [f"{row[measure].value:.4f}" if measure in row else "–" for measure in others]
                rows.append([name + mark, str(row.get(first, "–")), *values])
        return text_table(header, rows)


class Separation(Evaluation):
    """Measures of how well scores separate out-of-distribution texts from test texts; the former count as errors."""

    shown = ("roc_auc", "pr_auc", "fpr_at_95_tpr")
    printed = (shown,)

    @property
    def facts(self) -> dict[str, Any]:
        """Numbers of texts in and out of distribution, for JSON."""
        return {"in_distribution": int((1 - self.errors).sum()), "out_of_distribution": int(self.errors.sum())}

    @property
    def headline(self) -> str:
        """Numbers of texts in and out of distribution as a line of text."""
        inside, outside = self.facts.values()
        return f"out-of-distribution: {outside} texts, separated from {inside} test texts"


def lower_is_better(measure: str) -> bool:
    """True if lower values of a measure of an evaluation are better, mapped measures included."""
    return measure in LOWER_IS_BETTER or measure.rpartition("_")[2] in MAPS


def evaluate(
    features: Features,
    fitted_scores: Mapping[str, FittedScore],
    *,
    skipped: Mapping[str, str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    unit: str = "texts",
    ood: Features | None = None,
) -> Evaluation:
    """Evaluate fitted scores on features.

    Args:
        features: features of labeled texts that neither the model nor any score was fitted on.
        fitted_scores: fitted scores by name.
        skipped: reasons for scores that were not fitted; reasons for scores that cannot be computed here are added.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.
        unit: unit of the rows in the plural.
        ood: features of out-of-distribution texts, without labels.

    Raises:
        DataError: a logit is not finite, or the features have no labels.
    """
    values, not_computed = score_values(fitted_scores, features)
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    evaluation = compare(
        features.errors,
        values,
        skipped={**(skipped or {}), **not_computed},
        unit=unit,
        clusters=features.clusters,
        **options,
    )
    if ood is None:
        return evaluation
    ood_values, not_computed = score_values(fitted_scores, ood)
    joint_values = {
        name: ScoreValues(np.concatenate([values[name].uncertainty, score.uncertainty]), is_probability=False)
        for name, score in ood_values.items()
    }
    is_ood = np.repeat([0.0, 1.0], [len(features), len(ood)])
    separation = compare(is_ood, joint_values, skipped=not_computed, **options)
    return replace(
        evaluation, ood=Separation(**{part.name: getattr(separation, part.name) for part in fields(separation)})
    )


def compare(
    errors: NDArray[np.float64],
    values: Mapping[str, ScoreValues],
    *,
    skipped: Mapping[str, str],
    resamples: int = 1000,
    seed: int = 0,
    unit: str = "texts",
    clusters: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Evaluate values of scores on predictions.

    Args:
        errors: errors of N predictions, ``[N]``: 1 where the prediction is wrong.
        values: values of the scores for the predictions, by name of the score.
        skipped: reasons for scores without values.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.
        unit: unit of the predictions in the plural.
        clusters: cluster id of each prediction, ``[N]``, for example the sentence of a word; intervals and tests treat
            predictions of a cluster as dependent.
    """
    table = measure_scores(values, errors, resamples, seed, clusters)
    order = sorted(table, key=lambda name: -np.nan_to_num(table[name]["roc_auc"].value))
    return Evaluation(
        share_of_rows(1 - errors, clusters),
        {name: table[name] for name in order},
        errors,
        {name: values[name].uncertainty for name in order},
        _p_values_against_first(errors, {name: values[name].uncertainty for name in order}, clusters),
        dict(skipped),
        unit,
    )


def _p_values_against_first(
    errors: NDArray[np.float64], scores: Mapping[str, NDArray[np.float64]], clusters: NDArray[np.int64] | None
) -> dict[str, float]:
    if not scores or not 0 < errors.sum() < len(errors):
        return dict.fromkeys(scores, 1.0)
    best, *others = scores.values()
    p = [two_sided_p(*paired_auc(errors, best, values, clusters)) for values in others]
    return dict(zip(scores, [1.0, *holm(p).tolist()], strict=True))
