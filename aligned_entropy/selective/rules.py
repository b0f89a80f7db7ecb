"""Goals, labeled selection units, and rules that accept or defer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..display.card import Displayed
from ..display.short_repr import ShortRepr
from ..display.text_tables import text_table, wrapped
from ..display.wording import share_advice
from ..errors import ArgumentError
from .display import limit_cell, rule_card, rule_figure, rule_notes

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

HEADER = ["class", "threshold", "coverage", "risk", "bound", "accepted", "labeled"]
Method = Literal["fixed-sequence", "sgr"]
"""Certification method for a risk: fixed-sequence testing, or SGR (Geifman and El-Yaniv, 2017)."""
ALL_CLASSES = ""
"""Key of a threshold that applies to every predicted class."""
JSON_KEYS = {"units": "answers"}  # fields of a threshold whose stored name differs


def _number(value: Any) -> float:
    """Value as a number; NaN for one that is none, such as a string."""
    try:
        return math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return math.nan


@dataclass(frozen=True, repr=False)
class Goal(ShortRepr):
    """Target of a threshold: a ``risk``, a ``coverage``, or both costs.

    Attributes:
        risk: highest allowed error rate among accepted predictions.
        coverage: share of predictions to accept.
        error_cost: cost of an accepted error, in any unit.
        deferral_cost: cost of a deferred prediction, in the same unit.
        delta: probability, over the draw of the labeled predictions, that a bound does not hold.
        method: certification method for a risk, see :func:`choose_threshold`.
        per_class: True for one threshold per predicted class; the bounds then hold for all classes at once.

    Raises:
        ArgumentError: no target or several targets are given, or a value is out of range.
    """

    risk: float | None = None
    coverage: float | None = None
    error_cost: float | None = None
    deferral_cost: float | None = None
    delta: float = 0.05
    method: Method = "fixed-sequence"
    per_class: bool = False

    def __post_init__(self) -> None:
        costs = [self.error_cost, self.deferral_cost]
        if costs.count(None) == 1:
            raise ArgumentError("error_cost and deferral_cost belong together: give both.")
        if [self.risk is None, self.coverage is None, None in costs].count(False) != 1:
            raise ArgumentError("give one goal: risk, coverage, or error_cost with deferral_cost (such as risk=0.1).")
        for name, end in (("risk", 1.0), ("coverage", 1.0 + 1e-9), ("delta", 1.0)):
            value = getattr(self, name)
            if value is not None and not 0 < _number(value) < end:
                example = "write 0.05 for a certainty of 95%" if name == "delta" else share_advice(value)
                raise ArgumentError(f"{name} {value} is not between 0 and 1: {example}.")
        if not all(cost is None or 0 < cost < math.inf for cost in costs):
            raise ArgumentError(f"costs {self.error_cost} and {self.deferral_cost} are not both positive numbers.")
        if self.method not in get_args(Method):
            raise ArgumentError(f"no method {self.method!r}; there are {', '.join(get_args(Method))}.")

    def __str__(self) -> str:
        scope = " in every predicted class" if self.per_class else ""
        if self.risk is not None:
            return (
                f"at most {100 * self.risk:.4g}% errors among accepted predictions{scope}, "
                f"with probability {100 * (1 - self.delta):.4g}%"
            )
        if self.coverage is not None:
            return f"{100 * self.coverage:.4g}% of the predictions accepted{scope}"
        return f"lowest cost{scope}: {self.error_cost:.4g} per accepted error, {self.deferral_cost:.4g} per deferral"


@dataclass(frozen=True, repr=False)
class SelectionUnits(ShortRepr):
    """Labeled predictions for choosing a threshold; a unit is a text or an entity.

    Attributes:
        uncertainty: uncertainty of the units, ``[N]``; a unit with NaN is never accepted.
        errors: errors of the units, ``[N]``: 1 where the prediction is wrong.
        labels: names of the predicted classes, ``[N]``; empty names if a unit has no single class.
        held_out: True if the score was not fitted on these units. If it was fitted on them, by cross-validation, bounds
            are estimates.
        clusters: text of each unit, ``[N]``, if a text has several; None if it has one, or if the texts are not known.

    Raises:
        ArgumentError: the arrays have different lengths, or an error is neither 0 nor 1.
    """

    uncertainty: NDArray[np.float32]
    errors: NDArray[np.float64]
    labels: NDArray[np.str_]
    held_out: bool = True
    clusters: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=str))  # as rules look them up
        shapes = [np.shape(values) for values in (self.uncertainty, self.errors, self.labels)]
        if shapes != [(len(self.errors),)] * 3:
            raise ArgumentError(
                f"uncertainty, errors and labels have the shapes {', '.join(map(str, shapes))}: give three vectors of "
                "the same length."
            )
        is_error = np.isin(self.errors, (0, 1))
        if not is_error.all():
            raise ArgumentError(f"errors must be 0 or 1, not {np.asarray(self.errors)[~is_error][0]}.")

    def __len__(self) -> int:
        return len(self.errors)

    def __getitem__(self, rows: NDArray[Any]) -> SelectionUnits:
        arrays = {name: getattr(self, name)[rows] for name in ("uncertainty", "errors", "labels")}
        return replace(self, **arrays, clusters=None if self.clusters is None else self.clusters[rows])


@dataclass(frozen=True, repr=False)
class Threshold(ShortRepr):
    """Threshold with its counts and bounds on the labeled predictions.

    Attributes:
        value: highest accepted uncertainty; ``-inf`` accepts nothing.
        units: number of labeled predictions that the threshold was chosen on.
        accepted: number of labeled predictions that the threshold accepts.
        errors: number of errors among the accepted labeled predictions.
        risk_bound: upper bound of the risk among accepted predictions; 1 if no prediction is accepted.
        coverage_low: lower bound of the coverage; both bounds hold with probability 1 - delta each.
        reason: explanation of the choice; if no threshold could be certified, advice on how to reach one.
    """

    value: float
    units: int
    accepted: int
    errors: int
    risk_bound: float
    coverage_low: float
    reason: str

    @property
    def risk(self) -> float:
        """Expected risk: error rate among the accepted labeled predictions, NaN if nothing is accepted."""
        return self.errors / self.accepted if self.accepted else math.nan

    @property
    def coverage(self) -> float:
        """Expected coverage: share of the labeled predictions that is accepted."""
        return self.accepted / self.units if self.units else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; ``accepts`` is ``some``, or ``all`` or ``none`` for an infinite threshold (null)."""
        accepts = "some" if math.isfinite(self.value) else "all" if self.value > 0 else "none"
        facts = {JSON_KEYS.get(name, name): value for name, value in asdict(self).items()}
        return facts | {"value": self.value if accepts == "some" else None, "accepts": accepts}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Threshold:
        """Restore a threshold from the result of :meth:`to_dict`."""
        values = {part.name: facts[JSON_KEYS.get(part.name, part.name)] for part in fields(cls)}
        return cls(**values | {"value": {"all": math.inf, "none": -math.inf}.get(facts["accepts"], facts["value"])})


@dataclass(frozen=True, repr=False)
class Rule(Displayed):
    """Rule that accepts or defers predictions.

    Attributes:
        goal: target of the thresholds.
        thresholds: thresholds by predicted class; the key ``""`` stands for all classes.
        held_out: True if the score was not fitted on the labeled predictions; otherwise no bound is guaranteed.
        units: labeled predictions that the thresholds were chosen on; None if they are not stored.
        pilot: other labeled predictions, which the tests were planned on; None without any.
    """

    goal: Goal
    thresholds: Mapping[str, Threshold]
    held_out: bool = True
    units: SelectionUnits | None = field(default=None, repr=False, compare=False)
    pilot: SelectionUnits | None = field(default=None, repr=False, compare=False)

    def accepts(self, uncertainty: ArrayLike, labels: Sequence[str] | NDArray[np.str_]) -> NDArray[np.bool_]:
        """True where a prediction is accepted, ``[N]``; never for NaN or for a class without a threshold.

        Args:
            uncertainty: uncertainty of the predictions, ``[N]``.
            labels: names of the predicted classes, ``[N]``.
        """
        values = np.asarray(uncertainty, dtype=np.float32)
        limits = {name: threshold.value for name, threshold in self.thresholds.items()}
        default = limits.get(ALL_CLASSES, -math.inf)
        return values <= np.array([limits.get(str(name), default) for name in labels], dtype=np.float32).reshape(-1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, see :meth:`Threshold.to_dict`."""
        thresholds = {name: threshold.to_dict() for name, threshold in self.thresholds.items()}
        return {"goal": asdict(self.goal), "thresholds": thresholds, "fresh": self.held_out}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any], units: SelectionUnits | None = None) -> Rule:
        """Restore a rule from the result of :meth:`to_dict` and the labeled predictions, if these are stored."""
        thresholds = {name: Threshold.from_dict(row) for name, row in facts["thresholds"].items()}
        return cls(Goal(**facts["goal"]), thresholds, facts["fresh"], units)

    @property
    def accepted(self) -> int:
        """Number of labeled predictions that the rule accepts."""
        return sum(threshold.accepted for threshold in self.thresholds.values())

    @property
    def coverage(self) -> float:
        """Share of the labeled predictions that the rule accepts; NaN without predictions."""
        units = sum(threshold.units for threshold in self.thresholds.values())
        return self.accepted / units if units else math.nan

    @property
    def risk(self) -> float:
        """Error rate among the accepted labeled predictions; NaN if nothing is accepted."""
        errors = sum(threshold.errors for threshold in self.thresholds.values())
        return errors / self.accepted if self.accepted else math.nan

    def reachable(self) -> list[Rule]:
        """Certify higher risks than that of the goal at once, see :func:`reachable_risks`.

        Raises:
            NotApplicableError: the goal is no risk, or the labeled predictions are not stored with the rule.
        """
        from .reachable import reachable_rules

        return reachable_rules(self)

    def to_pandas(self) -> pd.DataFrame:
        """Data frame with a row for every threshold: class, threshold, coverage, risk and its bound, and counts."""
        import pandas as pd

        rows = [
            [name or "all", row.value, row.coverage, row.risk, row.risk_bound, row.accepted, row.units]
            for name, row in self.thresholds.items()
        ]
        return pd.DataFrame(rows, columns=HEADER)

    def plot(self) -> Figure:
        """Plot the risk–coverage curve of the labeled predictions with the threshold on it, as a figure of plotly.

        With a threshold for each class, the seven classes with the most labeled predictions are shown.

        Raises:
            NotApplicableError: the labeled predictions are not stored with the rule.
        """
        return rule_figure(self)

    _card = rule_card

    def __str__(self) -> str:
        rows = [
            [name or "all", limit_cell(row.value), *_shares(row), _bound(row), row.accepted, row.units]
            for name, row in self.thresholds.items()
        ]
        if len(rows) > 1:
            units = sum(row.units for row in self.thresholds.values())
            rows.append(["together", "", *_shares(self), "", self.accepted, units])
        return "\n".join([wrapped(str(self.goal)), "", text_table(HEADER, rows), "", *map(wrapped, rule_notes(self))])


def _shares(row: Threshold | Rule) -> tuple[str, str]:
    return f"{row.coverage:.4f}", f"{row.risk:.4f}" if row.accepted else "–"


def _bound(row: Threshold) -> str:
    return f"{row.risk_bound:.4f}" if row.accepted else "–"
