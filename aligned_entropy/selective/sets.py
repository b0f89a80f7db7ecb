"""Prediction sets: classes among which the right one is with a chosen probability, by split conformal prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..display.card import Displayed
from ..display.short_repr import ShortRepr
from ..display.text_tables import text_table, wrapped
from ..errors import ArgumentError, CalibrationError
from .class_clusters import class_clusters
from .display import set_rule_card
from .nonconformity import SetMethod, class_probabilities, set_scores

SetGuarantee = Literal["all", "class", "cluster"]
CONFIDENCE = 0.95  # of the lower bound on the share of right sets
MAX_SHOWN = 20  # thresholds that a printed rule lists


@dataclass(frozen=True, repr=False)
class SetGoal(ShortRepr):
    """Target of prediction sets.

    Attributes:
        alpha: highest probability that the right class is not in the set.
        method: score of a class, see :func:`set_scores`: ``lac`` gives the smallest sets on average, ``aps`` gives
            larger sets to less certain predictions.
        guarantee: ``all`` bounds the probability over all predictions that have a set, ``class`` bounds it for every
            true class, and ``cluster`` for every cluster of true classes with similar scores.

    Raises:
        ArgumentError: a value is out of range, or there is no such method or guarantee.
    """

    alpha: float = 0.1
    method: SetMethod = "lac"
    guarantee: SetGuarantee = "all"

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ArgumentError(
                f"alpha {self.alpha} is not between 0 and 1: write 0.1 for sets that hold "
                "the right class with a probability of 90%."
            )
        for name, choices in (("method", get_args(SetMethod)), ("guarantee", get_args(SetGuarantee))):
            if getattr(self, name) not in choices:
                raise ArgumentError(f"no {name} {getattr(self, name)!r} of sets; there are {', '.join(choices)}.")

    @property
    def needed(self) -> int:
        """Lowest number of labeled predictions from which a set can lack a class."""
        return math.ceil((1 - self.alpha) / self.alpha - 1e-9)

    def __str__(self) -> str:
        scope = {"all": "", "class": ", for every true class", "cluster": ", for every cluster of true classes"}
        return (
            f"right class in the set with probability {100 * (1 - self.alpha):.4g}%{scope[self.guarantee]} "
            f"({self.method})"
        )


@dataclass(frozen=True)
class SetThreshold:
    """Threshold of the scores of some classes.

    Attributes:
        value: highest score of a class in the set; ``inf`` puts these classes into every set.
        labeled: number of labeled predictions that the threshold was chosen on.
        low: probability that the right class is in the set, at least, with probability :data:`CONFIDENCE` over the
            draw of the labeled predictions.
        classes: names of the true classes that the threshold applies to; empty for all.
    """

    value: float
    labeled: int
    low: float
    classes: tuple[str, ...] = ()

    @classmethod
    def choose(cls, scores: NDArray[np.float64], alpha: float, classes: Sequence[str] = ()) -> SetThreshold:
        """Choose the ⌈(n + 1)(1 - alpha)⌉-th lowest of n scores of right classes; ``inf`` if there are fewer scores.

        Sources: Vovk, Gammerman and Shafer, 2005; the lower bound is a quantile of a beta distribution, see Vovk,
        Machine Learning 2013.
        """
        from scipy.stats import beta

        count = len(scores)
        rank = math.ceil((count + 1) * (1 - alpha) - 1e-9)
        if rank > count:
            return cls(math.inf, count, 1.0, tuple(classes))
        low = float(beta.ppf(1 - CONFIDENCE, rank, count + 1 - rank))
        return cls(float(np.sort(scores)[rank - 1]), count, low, tuple(classes))


@dataclass(frozen=True, repr=False)
class SetRule(Displayed):
    """Rule that gives a prediction its set of classes.

    Attributes:
        goal: target of the sets.
        label_names: names of the C classes.
        thresholds: thresholds; each class has one.
        only_deferred: True if only deferred predictions have a set, and the guarantee holds for these.
        mean_size: mean number of classes in the sets of the labeled predictions; NaN without any.
        single: share of these sets with one class.
        complete: share of these sets with all classes.
    """

    goal: SetGoal
    label_names: tuple[str, ...]
    thresholds: tuple[SetThreshold, ...]
    only_deferred: bool
    mean_size: float = math.nan
    single: float = math.nan
    complete: float = math.nan

    def contains(
        self, logits: ArrayLike, classes: NDArray[np.int64], error_probability: ArrayLike
    ) -> NDArray[np.bool_]:
        """True for the classes in the set of each prediction, ``[N, C]``; the predicted class is always one of them.

        Args:
            logits: logits of the model, ``[N, C]``.
            classes: index of the predicted class, ``[N]``.
            error_probability: calibrated probability that the prediction is wrong, ``[N]``.
        """
        scores = set_scores(class_probabilities(logits, classes, error_probability), classes, self.goal.method)
        return _contained(scores, self.thresholds, self.label_names)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an infinite threshold and NaN are null."""
        facts = asdict(self)
        for row in facts["thresholds"]:
            row["value"] = row["value"] if math.isfinite(row["value"]) else None
        return facts | {name: None if math.isnan(facts[name]) else facts[name] for name in SIZES}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> SetRule:
        """Restore a rule from the result of :meth:`to_dict`, also after JSON."""
        thresholds = [
            SetThreshold(
                math.inf if row["value"] is None else row["value"], row["labeled"], row["low"], tuple(row["classes"])
            )
            for row in facts["thresholds"]
        ]
        sizes = {name: math.nan if facts[name] is None else facts[name] for name in SIZES}
        names, only_deferred = tuple(facts["label_names"]), facts["only_deferred"]
        return cls(SetGoal(**facts["goal"]), names, tuple(thresholds), only_deferred, **sizes)

    @property
    def reason(self) -> str | None:
        """Reason why some classes are in every set, with advice; None if there is no such class."""
        missing = [row for row in self.thresholds if math.isinf(row.value)]
        if not missing:
            return None
        names = [name for row in missing for name in row.classes]
        classes = f"{len(names)} of {len(self.label_names)} classes" if names else "all classes"
        examples = f" ({', '.join(names[:MAX_SHOWN])})" if names else ""
        fewest, kind = min(row.labeled for row in missing), " that are deferred" if self.only_deferred else ""
        return (
            f"Every set has {classes}{examples}: a threshold needs at least {self.goal.needed} labeled "
            f"predictions{kind}, and there are {fewest}. Give more labeled texts, or a higher alpha."
        )

    _card = set_rule_card

    def __str__(self) -> str:
        shown = [
            [", ".join(row.classes[:3]) + (", …" if len(row.classes) > 3 else "") or "all", f"{row.value:.4g}",
             "–" if math.isinf(row.value) else f"{row.low:.4f}", row.labeled]
            for row in self.thresholds[:MAX_SHOWN]
        ]  # fmt: skip
        rest = [] if len(self.thresholds) == len(shown) else [f"… {len(self.thresholds)} thresholds in all"]
        table = text_table(["true class", "threshold", "bound", "labeled"], shown)
        return "\n".join([wrapped(str(self.goal)), "", table, "", *map(wrapped, [*rest, *self.notes])])

    @property
    def notes(self) -> list[str]:
        """Sentences on the sizes of the sets, on the bound and on classes without a threshold."""
        notes = []
        kind = "deferred predictions" if self.only_deferred else "predictions"
        if not math.isnan(self.mean_size):
            notes.append(
                f"The sets of the labeled {kind} have {self.mean_size:.3g} classes on average: {self.single:.0%} have "
                f"one class, {self.complete:.0%} have all."
            )
        condition = "; approximately, if the threshold was chosen on them, too" if self.only_deferred else ""
        notes.append(
            f"The probability is an average over {kind} and over draws of the labeled ones. For these labeled ones it "
            f"is at least the bound, with probability {CONFIDENCE:.0%}{condition}."
        )
        return notes if self.reason is None else [*notes, self.reason]


SIZES = ("mean_size", "single", "complete")


def choose_sets(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    label_names: Sequence[str],
    goal: SetGoal,
    deferred: NDArray[np.bool_] | None = None,
) -> SetRule:
    """Choose the thresholds of prediction sets on labeled predictions.

    The guarantee holds for predictions that are independent draws from the distribution of the labeled ones, if
    neither the scores nor the rule that defers were made from these.

    Args:
        scores: scores of the classes by the method of the goal, see :func:`set_scores`, ``[N, C]``.
        labels: index of the true class, ``[N]``.
        label_names: names of the C classes.
        goal: target of the sets.
        deferred: True where a rule defers the prediction, ``[N]``: only these have sets and count; None for all.

    Raises:
        CalibrationError: there are no labeled predictions.

    Sources: Vovk, Gammerman and Shafer, 2005; Ding, Angelopoulos, Bates, Jordan and Tibshirani, NeurIPS 2023 (clusters
    of classes).
    """
    if not len(labels):
        raise CalibrationError("there are no labeled predictions to choose sets on: give labeled data.")
    names = tuple(map(str, label_names))
    rows = np.arange(len(labels)) if deferred is None else np.flatnonzero(deferred)
    scores, labels = scores[rows], labels[rows]
    true_scores = np.nan_to_num(scores[np.arange(len(labels)), labels], nan=np.inf)
    if goal.guarantee == "all":
        thresholds = [SetThreshold.choose(true_scores, goal.alpha)]
    elif goal.guarantee == "class":
        thresholds = [
            SetThreshold.choose(true_scores[labels == index], goal.alpha, [name]) for index, name in enumerate(names)
        ]
    else:
        clusters, is_free = class_clusters(true_scores, labels, len(names), goal.alpha)
        members = [np.flatnonzero(clusters == number) for number in np.unique(clusters)]
        thresholds = [
            SetThreshold.choose(
                true_scores[is_free & np.isin(labels, part)],
                goal.alpha,
                [names[index] for index in part] if len(members) > 1 else (),
            )
            for part in members
        ]
    sizes = _contained(scores, thresholds, names).sum(1)
    shares = {} if not len(sizes) else {
        "mean_size": float(sizes.mean()), "single": float((sizes == 1).mean()),
        "complete": float((sizes == len(names)).mean()),
    }  # fmt: skip
    return SetRule(goal, names, tuple(thresholds), deferred is not None, **shares)


def _contained(
    scores: NDArray[np.float64], thresholds: Sequence[SetThreshold], label_names: Sequence[str]
) -> NDArray[np.bool_]:
    """True where the score of a class is at most its threshold, ``[N, C]``; also for NaN."""
    by_name = {name: row.value for row in thresholds for name in row.classes or label_names}
    return ~(scores > np.array([by_name[name] for name in label_names]))
