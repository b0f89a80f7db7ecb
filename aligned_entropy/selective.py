"""Thresholds for letting answers through: a bounded share of errors, a coverage, or the lowest cost.

An answer is accepted where its uncertainty is at most a threshold, which is chosen on labeled answers. The bounds hold
for answers drawn like these and independently of each other, if the score was not fitted on them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import CalibrationError

Method = Literal["fixed-sequence", "sgr"]
EVERY = ""  # name of the threshold that is for every class


@dataclass(frozen=True)
class Goal:
    """What a threshold is for: one of ``risk``, ``coverage``, or both costs.

    Attributes:
        risk: errors among accepted answers, as a share, that must not be exceeded.
        coverage: share of answers to accept.
        error_cost: of a wrong answer that was accepted, in any unit.
        deferral_cost: of an answer that was not accepted, in the same unit.
        delta: probability, over the labeled answers, that a bound does not hold.
        method: how a risk is certified, see :func:`choose_threshold`.
        per_class: a threshold for every predicted class; the bounds then hold for all classes at once.

    Raises:
        ValueError: none or several of them were given, or one is out of range.
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
            raise ValueError("error_cost and deferral_cost belong together: give both.")
        if [self.risk is None, self.coverage is None, None in costs].count(False) != 1:
            raise ValueError("give one of risk, coverage, or error_cost with deferral_cost.")
        for name, end in (("risk", 1.0), ("coverage", 1.0 + 1e-9), ("delta", 1.0)):
            value = getattr(self, name)
            if value is not None and not 0 < value < end:
                raise ValueError(f"{name} {value} is not between 0 and 1.")
        if not all(cost is None or 0 < cost < math.inf for cost in costs):
            raise ValueError(f"costs {self.error_cost} and {self.deferral_cost} are not both positive numbers.")
        if self.method not in get_args(Method):
            raise ValueError(f"no method {self.method!r}; there are {', '.join(get_args(Method))}.")

    def __str__(self) -> str:
        each = " in every predicted class" if self.per_class else ""
        if self.risk is not None:
            sure = 100 * (1 - self.delta)
            return f"at most {100 * self.risk:.4g} % errors among accepted answers{each}, with probability {sure:.4g} %"
        if self.coverage is not None:
            return f"{100 * self.coverage:.4g} % of the answers accepted{each}"
        return f"lowest cost{each}: {self.error_cost:.4g} an accepted error, {self.deferral_cost:.4g} a deferral"


@dataclass(frozen=True)
class SelectionUnits:
    """Labeled answers to choose a threshold on.

    Attributes:
        uncertainty: ``[N]``; where it is NaN nothing is known, and the answer is never accepted.
        errors: ``[N]``, 1 where the answer is wrong.
        labels: names of the predicted classes, ``[N]``.
        held_out: the score was not fitted on them. Where it was, by cross-validation, bounds are estimates.
    """

    uncertainty: NDArray[np.float32]
    errors: NDArray[np.float64]
    labels: NDArray[np.str_]
    held_out: bool = True

    def __len__(self) -> int:
        return len(self.errors)

    def __getitem__(self, rows: NDArray[Any]) -> SelectionUnits:
        return replace(self, **{name: getattr(self, name)[rows] for name in ("uncertainty", "errors", "labels")})


@dataclass(frozen=True)
class Threshold:
    """One threshold, and what is known of it.

    Attributes:
        value: answers of at most this uncertainty are accepted; ``-inf`` accepts none.
        answers: labeled answers that it was chosen on.
        accepted: of these.
        errors: of the accepted.
        risk_bound: upper bound of the risk among accepted answers; 1 where nothing is known.
        coverage_low: lower bound of the coverage; both hold with probability 1 - delta each.
        reason: why it is this one; where none could be certified, what would help.
    """

    value: float
    answers: int
    accepted: int
    errors: int
    risk_bound: float
    coverage_low: float
    reason: str

    @property
    def risk(self) -> float:
        """Share of errors among the accepted, NaN where there are none: what to expect."""
        return self.errors / self.accepted if self.accepted else math.nan

    @property
    def coverage(self) -> float:
        """Share of the answers that is accepted: what to expect."""
        return self.accepted / self.answers if self.answers else math.nan


@dataclass(frozen=True)
class Rule:
    """Which answers are accepted.

    Attributes:
        goal: what it is for.
        thresholds: by predicted class; one named ``""`` for every class.
        held_out: whether the score was fitted without the answers that it was chosen on: else no bound is guaranteed.
    """

    goal: Goal
    thresholds: Mapping[str, Threshold]
    held_out: bool = True

    def accepts(self, uncertainty: ArrayLike, labels: Sequence[str] | NDArray[np.str_]) -> NDArray[np.bool_]:
        """Whether answers ``[N]`` with these predicted classes are accepted; NaN never, nor a class that is unknown."""
        values = np.asarray(uncertainty, dtype=np.float32)
        limits = {name: threshold.value for name, threshold in self.thresholds.items()}
        every = limits.get(EVERY, -math.inf)
        return values <= np.array([limits.get(str(name), every) for name in labels], dtype=np.float32).reshape(-1)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: infinite thresholds are null, and ``accepts`` says which."""
        rows = {name: asdict(own) | _json_value(own.value) for name, own in self.thresholds.items()}
        return {"goal": asdict(self.goal), "thresholds": rows, "fresh": self.held_out}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Rule:
        """What :meth:`to_dict` gave."""
        rows = {}
        for name, own in facts["thresholds"].items():
            kept = {key: value for key, value in own.items() if key != "accepts"}
            value = {"all": math.inf, "none": -math.inf}.get(own["accepts"], own["value"])
            rows[name] = Threshold(**(kept | {"value": value}))
        return cls(Goal(**facts["goal"]), rows, facts["fresh"])

    def __str__(self) -> str:
        width = max(len("together"), *(len(name) for name in self.thresholds))
        lines = [str(self.goal), ""]
        lines.append(
            f"{'class':{width}}  {'threshold':>9}  {'coverage':>8}  {'risk':>6}  {'bound':>6}  {'accepted':>8}  "
            f"{'answers':>7}"
        )
        for name, own in self.thresholds.items():
            shares = f"{own.coverage:8.4f}  {own.risk:6.4f}  {own.risk_bound:6.4f}"
            lines.append(f"{name or 'all':{width}}  {own.value:9.4g}  {shares}  {own.accepted:8}  {own.answers:7}")
        if len(self.thresholds) > 1:
            counts = [(own.accepted, own.errors, own.answers) for own in self.thresholds.values()]
            accepted, errors, answers = (sum(column) for column in zip(*counts, strict=True))
            shares = f"{accepted / answers:8.4f}  {errors / accepted if accepted else math.nan:6.4f}  {'':6}"
            lines.append(f"{'together':{width}}  {'':9}  {shares}  {accepted:8}  {answers:7}")
        reasons = {own.reason: None for own in self.thresholds.values()}
        notes = [] if self.held_out else ["The score was fitted on these answers: no bound is guaranteed."]
        return "\n".join([*lines, "", *reasons, *notes])


def _json_value(value: float) -> dict[str, Any]:
    kind = "some" if math.isfinite(value) else "all" if value > 0 else "none"
    return {"value": value if kind == "some" else None, "accepts": kind}


def choose_threshold(answers: SelectionUnits, goal: Goal) -> Rule:
    """The threshold that accepts most, of those that reach a goal.

    A *risk* is certified by exact binomial tests. ``fixed-sequence`` is Learn then Test with fixed-sequence testing:
    from starts at all, a half, a quarter … of the answers thresholds are raised as long as the hypothesis that the risk
    is above the target is rejected, at the level delta over the number of starts. It assumes that the risk, once above
    the target, stays there when more is accepted. ``sgr`` is selection with guaranteed risk: a binary search over the
    thresholds, at delta over the number of its steps.

    A *coverage* is met on these answers. For *costs*, what they would have cost is lowest; its bound of the risk holds
    for every threshold at once. One threshold for all classes is named ``""``; where there is one a class, delta is
    shared among the classes.

    Raises:
        CalibrationError: there are no answers.

    Sources: Geifman and El-Yaniv, NeurIPS 2017; Angelopoulos, Bates, Candès, Jordan and Lei, Ann. Appl. Stat. 2025;
    Clopper and Pearson, Biometrika 1934.
    """
    if not len(answers):
        raise CalibrationError("there are no answers to choose a threshold on.")
    names = sorted(set(answers.labels.tolist())) if goal.per_class else [EVERY]
    delta = goal.delta / len(names)
    rows = {name: answers if name == EVERY else answers[answers.labels == name] for name in names}
    return Rule(goal, {name: _choose(own, goal, delta) for name, own in rows.items()}, answers.held_out)


def risk_bound(errors: ArrayLike, accepted: ArrayLike, delta: float) -> NDArray[np.float64]:
    """Upper bound of a risk, given the errors among accepted answers; it holds with probability 1 - delta.

    Source: Clopper and Pearson, Biometrika 1934.
    """
    from scipy.stats import beta

    k, n = np.asarray(errors, dtype=np.float64), np.asarray(accepted, dtype=np.float64)
    return np.where(k >= n, 1.0, beta.ppf(1 - delta, k + 1, np.maximum(n - k, 1e-9)))


@dataclass(frozen=True)
class _Curve:
    """Thresholds that can be told apart, from the most careful to one that accepts all.

    Attributes:
        values: ``[J]``, the highest that accept no more than these.
        accepted: answers ``[J]``.
        errors: among them ``[J]``.
        total: answers, with those of which nothing is known.
    """

    values: NDArray[np.float64]
    accepted: NDArray[np.int64]
    errors: NDArray[np.int64]
    total: int

    @classmethod
    def of(cls, answers: SelectionUnits) -> _Curve:
        u = np.asarray(answers.uncertainty, dtype=np.float32)
        known = np.flatnonzero(~np.isnan(u))
        order = known[np.argsort(u[known], kind="stable")]
        u, wrong = u[order], np.cumsum(answers.errors[order] > 0.5, dtype=np.int64)
        last = np.flatnonzero(np.append(u[1:] != u[:-1], True)) if len(u) else np.zeros(0, dtype=np.int64)
        # Just below the next value: given that one, the answers below it are independent draws, and the tests exact.
        below = np.nextafter(u[last[:-1] + 1], np.float32(-np.inf)).astype(np.float64)
        everything = [np.inf] if len(known) == len(answers) else [float(u[-1])] if len(u) else []
        return cls(np.append(below, everything), last + 1, wrong[last], len(answers))

    def threshold(self, place: int | None, bound: float, delta: float, reason: str) -> Threshold:
        """The one at a place of the curve; where that is None, one that accepts nothing."""
        if place is None:
            return Threshold(-math.inf, self.total, 0, 0, 1.0, 0.0, reason)
        accepted, errors = int(self.accepted[place]), int(self.errors[place])
        low = 1 - float(risk_bound(self.total - accepted, self.total, delta))
        return Threshold(float(self.values[place]), self.total, accepted, errors, float(bound), low, reason)


def _choose(answers: SelectionUnits, goal: Goal, delta: float) -> Threshold:
    curve = _Curve.of(answers)
    if not len(curve.values):
        return curve.threshold(None, 1.0, delta, "No answer has a finite uncertainty.")
    if goal.risk is not None:
        certify = _sgr if goal.method == "sgr" else _fixed_sequence
        place = certify(curve, goal.risk, delta)
        if place is None:
            return curve.threshold(None, 1.0, delta, _what_would_help(curve, goal.risk, delta))
        return curve.threshold(place, goal.risk, delta, f"Certified by {goal.method}, exact binomial tests.")
    if goal.coverage is not None:
        wanted = math.ceil(goal.coverage * curve.total - 1e-9)
        place = min(int(np.searchsorted(curve.accepted, wanted)), len(curve.values) - 1)
        bound = float(risk_bound(curve.errors[place], curve.accepted[place], delta))
        return curve.threshold(place, bound, delta, "The lowest threshold with this coverage.")
    error_cost, deferral_cost = float(goal.error_cost or 0), float(goal.deferral_cost or 0)
    costs = error_cost * curve.errors + deferral_cost * (curve.total - curve.accepted)
    best = int(len(costs) - 1 - np.argmin(costs[::-1]))
    if costs[best] > deferral_cost * curve.total:
        return curve.threshold(None, 1.0, delta, "To defer every answer costs least.")
    bound = float(risk_bound(curve.errors[best], curve.accepted[best], delta / len(costs)))
    reason = f"Costs {costs[best] / curve.total:.4g} an answer; to accept all {costs[-1] / curve.total:.4g}."
    return curve.threshold(best, bound, delta, reason)


def _starts(total: int, risk: float, delta: float) -> list[int]:
    """All, a half, a quarter … of the answers, as long as so many can be certified when none of them is wrong."""
    starts = [total]
    while (1 - risk) ** (starts[-1] // 2) <= delta / (len(starts) + 1):
        starts.append(starts[-1] // 2)
    return starts


def _fixed_sequence(curve: _Curve, risk: float, delta: float) -> int | None:
    from scipy.stats import binom

    starts = _starts(curve.total, risk, delta)
    rejected = binom.cdf(curve.errors, curve.accepted, risk) <= delta / len(starts)
    places = np.minimum(np.searchsorted(curve.accepted, starts), len(rejected) - 1)
    kept = np.append(np.flatnonzero(~rejected), len(rejected))  # where a sequence ends
    ends = [int(kept[np.searchsorted(kept, place)]) - 1 for place in places if rejected[place]]
    return max(ends, default=None)


def _sgr(curve: _Curve, risk: float, delta: float) -> int | None:
    steps = max(1, math.ceil(math.log2(len(curve.values) + 1)))
    low, high, found = 0, len(curve.values) - 1, None
    for _ in range(steps):
        middle = (low + high + 1) // 2
        if float(risk_bound(curve.errors[middle], curve.accepted[middle], delta / steps)) <= risk:
            found = middle if found is None else max(found, middle)
            low = middle
        else:
            high = max(middle - 1, 0)
    return found


def _what_would_help(curve: _Curve, risk: float, delta: float) -> str:
    """Why no threshold could be certified, with the number of labeled answers that would do if risks stay as seen."""
    smoothed = (curve.errors + 0.5) / (curve.accepted + 1)
    places = np.flatnonzero(smoothed < risk)
    if not len(places):
        return (
            f"No threshold could be certified: the lowest risk seen is {smoothed.min():.3g}, more labeled answers "
            "would not help. Take a higher risk, or a better score."
        )
    share, expected = curve.accepted[places] / curve.total, smoothed[places]
    total = curve.total
    while total < 1e9:
        total = math.ceil(1.05 * total)
        accepted = np.floor(share * total)
        if (risk_bound(expected * accepted, accepted, delta / len(_starts(total, risk, delta))) <= risk).any():
            break
    more = f"{float(f'{total - curve.total:.2g}'):,.0f}"
    return (
        f"No threshold could be certified with {curve.total} labeled answers; with about {more} more, if they are "
        "like these, it could."
    )
