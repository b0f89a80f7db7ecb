"""Scores next to each other on labeled texts, every measure with its interval, and what differs from the best."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import CalibrationError, DataError, NotApplicableError
from ..features.arrays import Features
from ..head.head import AlignedEntropyHead
from ..head.modules import in_float32
from ..metrics import CALIBRATION, LOWER_IS_BETTER, RANKING, Measure, roc_auc
from ..scores import SCORES, Score
from ..stats import Interval, bootstrap, holm, paired_auc, share_of_rows, two_sided_p
from .calibration_maps import MAPS, CalibrationMaps

HEAD = "aligned entropy"
BASELINES = (
    "softmax response", "entropy", "margin", "temperature-scaled softmax response", "temperature-scaled entropy",
)  # fmt: skip
SIGNIFICANT = 0.05


def default_scores(calibration: Features | None) -> list[str]:
    """The simple scores, as far as they can do without a calibration set where there is none."""
    return [name for name in BASELINES if calibration is not None or not SCORES[name].uses]


@dataclass(frozen=True)
class FittedScore:
    """A fitted score.

    Attributes:
        score: itself.
        maps: what makes it a probability; None where there was no calibration set to fit them on.
        validation: its ROC-AUC on the calibration set, by fits that did not see the row; NaN likewise.
        held_out: uncertainty ``[N]`` of the calibration set by such fits, NaN where there is none; None likewise.
    """

    score: Score
    maps: CalibrationMaps | None = None
    validation: float = float("nan")
    held_out: NDArray[np.float64] | None = None

    def values(self, features: Features) -> ScoreValues:
        """What it says of features."""
        return ScoreValues(self.score.score(features), self.score.is_probability, self.maps, self.held_out)


@dataclass(frozen=True)
class ScoreValues:
    """What a score says of N answers.

    Attributes:
        uncertainty: ``[N]``, higher is less certain.
        is_probability: whether it is in [0, 1] and can be read as a probability.
        maps: what makes it one in a fair comparison; None where there is nothing to fit them on.
        held_out: what it says of the answers of the calibration set, see :class:`FittedScore`.
    """

    uncertainty: NDArray[np.float64]
    is_probability: bool
    maps: CalibrationMaps | None = None
    held_out: NDArray[np.float64] | None = None

    def measure(
        self, errors: NDArray[np.float64], resamples: int, seed: int, clusters: NDArray[np.int64] | None = None
    ) -> dict[str, Interval]:
        """Every measure of it, given where the answers are wrong ``[N]``; clusters of them are drawn together."""
        measures: dict[str, Measure] = RANKING | (CALIBRATION if self.is_probability else {})
        drawn: dict[str, Any] = {"resamples": resamples, "seed": seed, "clusters": clusters}
        found = bootstrap(measures, errors, self.uncertainty, **drawn)
        for kind, mapped in ({} if self.maps is None else self.maps.probabilities(self.uncertainty)).items():
            own = bootstrap({"ece": CALIBRATION["ece"]}, errors, mapped, **drawn)
            found[f"ece_{kind}"] = own["ece"]
        return found


class FittedHead(Score):
    """A head that is at hand, as a score."""

    name = HEAD
    is_probability = True

    def __init__(self, head: AlignedEntropyHead) -> None:
        super().__init__()
        self.head = head

    def _score(self, features: Features) -> NDArray[np.float64]:
        device, said = self.head.device, np.empty(len(features))
        with torch.inference_mode(), in_float32(device):
            for start in range(0, len(features), 4096):  # hidden vectors may be a map of more than memory holds
                rows = slice(start, start + 4096)
                hidden, logits = (
                    torch.tensor(part[rows], device=device) for part in (features.hidden, features.logits)
                )
                said[rows] = self.head(hidden, logits).cpu().numpy()
        return said


def fit_scores(
    names: Iterable[str],
    module: nn.Module | None,
    train: Features | None,
    calibration: Features | None,
    seed: int = 0,
) -> tuple[dict[str, FittedScore], dict[str, str]]:
    """Scores by name, fitted, with their maps; and why some could not be.

    Args:
        names: of :data:`aligned_entropy.scores.SCORES`.
        module: the classification module; where there is none, heads make do, see :mod:`aligned_entropy.scores`.
        train: features of the classifier's training texts, labeled.
        calibration: of labeled texts that it was not trained on; without them there are no maps.
        seed: of whatever is random.
    """
    fitted, skipped = {}, {}
    for name in names:
        try:
            fitted[name] = fit_score(SCORES[name](module, seed), train, calibration)
        except (NotApplicableError, CalibrationError) as error:
            skipped[name] = str(error)
    return fitted, skipped


def fit_score(score: Score, train: Features | None, calibration: Features | None) -> FittedScore:
    """One score, fitted, with its maps.

    Raises:
        NotApplicableError: something that it needs is not there.
        CalibrationError: no head can be fitted on this calibration set.
    """
    score.fit(train, calibration)
    if calibration is None or not 0 < calibration.errors.sum() < len(calibration):
        return FittedScore(score)
    values, errors = score.held_out(train, calibration), calibration.errors
    known = ~np.isnan(values)
    return FittedScore(
        score, CalibrationMaps.fit(values, errors, score.is_probability), roc_auc(errors[known], values[known]), values
    )


@dataclass(frozen=True)
class Evaluation:
    """How well scores find the errors of a model.

    Attributes:
        what: the answers are about: texts, words, entities.
        accuracy: of the model.
        table: interval of every measure of every score, ``table[score][measure]``; best ROC-AUC first.
        errors: ``[N]``, 1 where the model is wrong.
        scores: uncertainty ``[N]`` of every score.
        p_values: of every score's ROC-AUC against the best one (DeLong, paired, Holm-adjusted); 1 for the best.
        skipped: why a score is not here.
        ood: how well the scores tell out-of-distribution texts from these, where there were some.
    """

    accuracy: Interval
    table: dict[str, dict[str, Interval]]
    errors: NDArray[np.float64] = field(repr=False)
    scores: dict[str, NDArray[np.float64]] = field(repr=False)
    p_values: dict[str, float]
    skipped: dict[str, str]
    what: str = "texts"
    ood: Separation | None = None

    shown: ClassVar[tuple[str, ...]] = (
        "roc_auc", "pr_auc", "aurc", "ece", "brier", "ece_platt", "ece_isotonic",
    )  # fmt: skip

    @property
    def facts(self) -> dict[str, Any]:
        """What was measured on, for JSON."""
        accuracy = self.accuracy.to_dict()
        return {"examples": len(self.errors), "errors": int(self.errors.sum()), "accuracy": accuracy}

    @property
    def headline(self) -> str:
        """The same for people."""
        return f"accuracy {self.accuracy}, {int(self.errors.sum())} errors in {len(self.errors)} {self.what}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, for JSON."""
        table = {name: {key: found.to_dict() for key, found in row.items()} for name, row in self.table.items()}
        own = {"scores": table, "p_values_against_the_best": self.p_values, "skipped": self.skipped}
        return self.facts | own | ({} if self.ood is None else {"ood": self.ood.to_dict()})

    def write_csv(self, path: str | Path) -> None:
        """One line a score and measure: value and bounds."""
        write_csv(path, ["score", "measure", "value", "low", "high"], self.lines())

    def lines(self) -> Iterator[list[Any]]:
        """Score, measure, value and bounds of every measure."""
        for name, row in self.table.items():
            yield from ([name, measure, i.value, i.low, i.high] for measure, i in row.items())
        for name, measure, *values in () if self.ood is None else self.ood.lines():
            yield [name, f"ood_{measure}", *values]

    def only(self, ending: str) -> Evaluation:
        """The scores whose names have an ending."""
        return replace(self, table={name: row for name, row in self.table.items() if name.endswith(ending)})

    def best(self, measure: str) -> str:
        """The score that is best by one measure."""
        sign = 1 if lower_is_better(measure) else -1
        return min(
            (name for name in self.table if measure in self.table[name]),
            key=lambda name: sign * self.table[name][measure].value,
        )

    def __str__(self) -> str:
        measures = [name for name in self.shown if any(name in row for row in self.table.values())]
        names = {name: f"{name} *" if self.p_values[name] < SIGNIFICANT else name for name in self.table}
        width = max(map(len, names.values()), default=0)
        lines = [self.headline, ""]
        lines.append(f"{'':{width}}  " + "  ".join(f"{measure:>23}" for measure in measures))
        for name, row in self.table.items():
            cells = "  ".join(f"{row[measure]!s:>23}" if measure in row else f"{'–':>23}" for measure in measures)
            lines.append(f"{names[name]:{width}}  {cells}")
        if any(p < SIGNIFICANT for p in self.p_values.values()):
            lines += ["", "* ROC-AUC differs from the best (DeLong, paired; Holm; p < .05)"]
        lines += [f"skipped: {name}. {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines if self.ood is None else [*lines, "", str(self.ood)])


class Separation(Evaluation):
    """How well scores tell texts from elsewhere, which take the place of errors, from those of the test set."""

    shown = ("roc_auc", "pr_auc", "fpr_at_95_tpr")

    @property
    def facts(self) -> dict[str, Any]:
        """What was measured on, for JSON."""
        return {"in_distribution": int((1 - self.errors).sum()), "out_of_distribution": int(self.errors.sum())}

    @property
    def headline(self) -> str:
        """The same for people."""
        inside, outside = self.facts.values()
        return f"out-of-distribution: {outside} texts, to be told from {inside}"


def lower_is_better(measure: str) -> bool:
    """Whether a measure of an evaluation, mapped ones included, is better when it is lower."""
    return measure in LOWER_IS_BETTER or measure.removeprefix("ece_") in MAPS


def evaluate(
    features: Features,
    fitted_scores: Mapping[str, FittedScore],
    *,
    skipped: Mapping[str, str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    what: str = "texts",
    ood: Features | None = None,
) -> Evaluation:
    """Measure fitted scores.

    Args:
        features: of labeled texts that neither the model nor any score was fitted on.
        fitted_scores: the scores.
        skipped: why others are not among them; those that these features do not suffice for are added.
        resamples: bootstrap samples of every interval.
        seed: of the bootstrap.
        what: the rows are.
        ood: of texts from elsewhere, without labels.
    """
    values, missing = score_values(fitted_scores, features)
    skipped = {**(skipped or {}), **missing}
    drawn: dict[str, Any] = {"resamples": resamples, "seed": seed}
    own = compare(features.errors, values, skipped=skipped, what=what, clusters=features.clusters, **drawn)
    if ood is None:
        return own
    elsewhere, missing = score_values(fitted_scores, ood)
    both = {
        name: ScoreValues(np.concatenate([values[name].uncertainty, other.uncertainty]), is_probability=False)
        for name, other in elsewhere.items()
    }
    outside = np.repeat([0.0, 1.0], [len(features), len(ood)])
    found = compare(outside, both, skipped=missing, **drawn)
    return replace(own, ood=Separation(**{field.name: getattr(found, field.name) for field in fields(found)}))


def score_values(
    fitted_scores: Mapping[str, FittedScore], features: Features
) -> tuple[dict[str, ScoreValues], dict[str, str]]:
    """What fitted scores say of features, and why some say nothing.

    Raises:
        DataError: a model's output is not finite: there is nothing to measure.
    """
    broken = np.flatnonzero(~np.isfinite(features.logits).all(1))
    if len(broken):
        where = ", ".join(map(str, broken[:5])) + (", …" if len(broken) > 5 else "")
        raise DataError(
            f"the model's logits are not finite in {len(broken)} of {len(features)} rows ({where}): leave these out, "
            "or load the model in float32 or bfloat16 where half precision overflows."
        )
    values, missing = {}, {}
    for name, fitted_score in fitted_scores.items():
        try:
            values[name] = fitted_score.values(features)
        except NotApplicableError as error:
            missing[name] = str(error)
    return values, missing


def compare(
    errors: NDArray[np.float64],
    values: Mapping[str, ScoreValues],
    *,
    skipped: Mapping[str, str],
    resamples: int = 1000,
    seed: int = 0,
    what: str = "texts",
    clusters: NDArray[np.int64] | None = None,
) -> Evaluation:
    """Measure what scores say of answers, given where these are wrong ``[N]``; the rest as for :func:`evaluate`.

    Predictions of a cluster ``[N]``, such as the words of a sentence, belong together: intervals and tests know that.
    """
    table = {name: own.measure(errors, resamples, seed, clusters) for name, own in values.items()}
    order = sorted(table, key=lambda name: -np.nan_to_num(table[name]["roc_auc"].value))
    return Evaluation(
        share_of_rows(1 - errors, clusters),
        {name: table[name] for name in order},
        errors,
        {name: values[name].uncertainty for name in order},
        _against_the_best(errors, [values[name].uncertainty for name in order], order, clusters),
        dict(skipped),
        what,
    )


def _against_the_best(
    errors: NDArray[np.float64],
    values: list[NDArray[np.float64]],
    names: list[str],
    clusters: NDArray[np.int64] | None,
) -> dict[str, float]:
    if not names or not 0 < errors.sum() < len(errors):
        return dict.fromkeys(names, 1.0)
    p = [two_sided_p(*paired_auc(errors, values[0], other, clusters)) for other in values[1:]]
    return dict(zip(names, [1.0, *holm(p).tolist()], strict=True))


def write_csv(path: str | Path, header: list[str], lines: Iterable[list[Any]]) -> None:
    """A header and lines."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(lines)
