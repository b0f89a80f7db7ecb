"""Choice of thresholds on labeled predictions, with exact binomial tests and bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import CalibrationError
from .plan import planned_sizes
from .rules import ALL_CLASSES, Goal, Method, Rule, SelectionUnits, Threshold

FEWEST_ACCEPTED = 20  # predictions whose risk is looked at to tell if more labels would help
MOST_ADVISED = 20  # factor by which more labeled predictions are still worth advising


def choose_threshold(units: SelectionUnits, goal: Goal, pilot: SelectionUnits | None = None) -> Rule:
    """Choose the threshold that reaches a goal, or one threshold per class.

    For a *risk*, exact binomial tests certify thresholds, and the certified one with the highest coverage is chosen.
    ``fixed-sequence`` is Learn then Test with fixed-sequence testing: the threshold rises as long as a test rejects the
    hypothesis that the risk is above the target. With *pilot* units, there is one sequence with tests at level delta.
    The pilot units tell where it starts, see :func:`.plan.planned_sizes`. Without them, sequences start where all, a
    half, a quarter … of the predictions are accepted, with tests at level delta over the number of starts. ``sgr`` is
    selection with guaranteed risk: a binary search over the thresholds, with level delta over the number of its steps.

    For a *coverage*, the lowest threshold that accepts this share of the labeled predictions is chosen. For *costs*,
    the threshold with the lowest total cost on the labeled predictions is chosen; its risk bound holds for all
    thresholds at once.

    One threshold for all classes has the key ``""``. With one threshold per class, delta is divided among the classes.

    Args:
        units: labeled predictions.
        goal: target of the threshold.
        pilot: other labeled predictions, which ``fixed-sequence`` plans its tests on; None without any. The guarantee
            needs no property of them but their independence of ``units``: a pilot that is unlike the units lowers the
            coverage.

    Returns:
        Rule with the thresholds. If no threshold can be certified, the threshold accepts nothing and gives the reason.

    Raises:
        CalibrationError: there are no labeled predictions.

    Sources: Geifman and El-Yaniv, NeurIPS 2017; Angelopoulos, Bates, Candès, Jordan and Lei, Ann. Appl. Stat. 2025;
    Clopper and Pearson, Biometrika 1934.
    """
    if not len(units):
        raise CalibrationError("there are no labeled predictions to choose a threshold on: give labeled data.")
    names = sorted(set(units.labels.tolist())) if goal.per_class else [ALL_CLASSES]
    delta = goal.delta / len(names)
    thresholds = {
        name: _choose(_of_class(units, name), goal, delta, None if pilot is None else _of_class(pilot, name))
        for name in names
    }
    return Rule(goal, thresholds, units.held_out, units, pilot)


def _of_class(units: SelectionUnits, name: str) -> SelectionUnits:
    return units if name == ALL_CLASSES else units[units.labels == name]


def risk_bound(errors: ArrayLike, accepted: ArrayLike, delta: float) -> NDArray[np.float64]:
    """Upper bound of the risk given the errors among accepted predictions; it holds with probability 1 - delta.

    Args:
        errors: numbers of errors among the accepted predictions.
        accepted: numbers of accepted predictions, in the shape of ``errors``.
        delta: probability that the bound does not hold.

    Source: Clopper and Pearson, Biometrika 1934.
    """
    from scipy.stats import beta

    k, n = np.asarray(errors, dtype=np.float64), np.asarray(accepted, dtype=np.float64)
    return np.where(k >= n, 1.0, beta.ppf(1 - delta, k + 1, np.maximum(n - k, 1e-9)))


@dataclass(frozen=True)
class _Curve:
    """All distinct thresholds, from the lowest coverage to the highest.

    Attributes:
        values: thresholds, ``[J]``: each is the highest one that accepts the same predictions.
        accepted: number of accepted predictions at each threshold, ``[J]``.
        errors: number of errors among the accepted predictions, ``[J]``.
        total: number of labeled predictions, NaN uncertainties included.
    """

    values: NDArray[np.float64]
    accepted: NDArray[np.int64]
    errors: NDArray[np.int64]
    total: int

    @classmethod
    def from_units(cls, units: SelectionUnits) -> _Curve:
        u = np.asarray(units.uncertainty, dtype=np.float32)
        finite = np.flatnonzero(~np.isnan(u))
        order = finite[np.argsort(u[finite], kind="stable")]
        u, errors = u[order], np.cumsum(units.errors[order] > 0.5, dtype=np.int64)
        last = np.flatnonzero(np.append(u[1:] != u[:-1], True)) if len(u) else np.zeros(0, dtype=np.int64)
        # A threshold lies just below the next value. Given that value, the predictions below it are independent draws,
        # so the tests are exact.
        below = np.nextafter(u[last[:-1] + 1], np.float32(-np.inf)).astype(np.float64)
        highest = [np.inf] if len(finite) == len(units) else [float(u[-1])] if len(u) else []
        return cls(np.append(below, highest), last + 1, errors[last], len(units))

    def threshold(self, index: int | None, bound: float, delta: float, reason: str) -> Threshold:
        """Make the threshold at an index of the curve; None makes a threshold that accepts nothing."""
        if index is None:
            return Threshold(-math.inf, self.total, 0, 0, 1.0, 0.0, reason)
        accepted, errors = int(self.accepted[index]), int(self.errors[index])
        low = 1 - float(risk_bound(self.total - accepted, self.total, delta))
        return Threshold(float(self.values[index]), self.total, accepted, errors, float(bound), low, reason)


def _choose(units: SelectionUnits, goal: Goal, delta: float, pilot: SelectionUnits | None) -> Threshold:
    curve = _Curve.from_units(units)
    if not len(curve.values):
        return curve.threshold(None, 1.0, delta, "No prediction has a finite uncertainty.")
    if goal.risk is not None:
        return _certify(curve, goal.risk, goal.method, delta, pilot)
    if goal.coverage is not None:
        count = math.ceil(goal.coverage * curve.total - 1e-9)
        index = min(int(np.searchsorted(curve.accepted, count)), len(curve.values) - 1)
        bound = float(risk_bound(curve.errors[index], curve.accepted[index], delta))
        reason = "The lowest threshold with this coverage."
        if curve.accepted[index] < count:
            finite = int(curve.accepted[-1])
            reason = f"Only {finite} of {curve.total} predictions have an uncertainty: all of these are accepted."
        return curve.threshold(index, bound, delta, reason)
    error_cost, deferral_cost = float(goal.error_cost or 0), float(goal.deferral_cost or 0)
    costs = error_cost * curve.errors + deferral_cost * (curve.total - curve.accepted)
    best = int(len(costs) - 1 - np.argmin(costs[::-1]))
    if costs[best] > deferral_cost * curve.total:
        return curve.threshold(None, 1.0, delta, "Deferring every prediction costs least.")
    bound = float(risk_bound(curve.errors[best], curve.accepted[best], delta / len(costs)))
    if error_cost <= deferral_cost:
        reason = (
            "An error costs no more than a deferral, so that every prediction with an uncertainty is accepted: are the "
            "costs swapped?"
        )
        return curve.threshold(best, bound, delta, reason)
    reason = (
        f"The cost per prediction is {costs[best] / curve.total:.4g}; "
        f"accepting all predictions would cost {costs[-1] / curve.total:.4g}."
    )
    return curve.threshold(best, bound, delta, reason)


def _certify(curve: _Curve, risk: float, method: Method, delta: float, pilot: SelectionUnits | None) -> Threshold:
    """Make the certified threshold with the highest coverage, or one that accepts nothing and gives the reason."""
    is_planned = False
    if method == "sgr":
        index = _sgr(curve, risk, delta)
    elif pilot is None or not len(pilot):
        index = _several_sequences(curve, risk, delta)
    else:
        sizes = planned_sizes(pilot, curve.total, risk, delta)
        index, is_planned = _one_sequence(curve, sizes, risk, delta), True
    if index is None:
        return curve.threshold(None, 1.0, delta, _advice(curve, risk, delta, is_planned))
    planned = ", planned on the predictions of the fit" if is_planned else ""
    return curve.threshold(index, risk, delta, f"Certified by exact binomial tests ({method}{planned}).")


def _one_sequence(curve: _Curve, sizes: NDArray[np.int64], risk: float, delta: float) -> int | None:
    """Test thresholds that accept at least the given numbers of predictions, in this order, until a test fails."""
    from scipy.stats import binom

    tests = np.unique(np.minimum(np.searchsorted(curve.accepted, sizes), len(curve.accepted) - 1))
    passed = binom.cdf(curve.errors[tests], curve.accepted[tests], risk) <= delta
    count = len(tests) if passed.all() else int(passed.argmin())
    return int(tests[count - 1]) if count else None


def _starts(total: int, risk: float, delta: float) -> list[int]:
    """Numbers of accepted predictions at which sequences of tests start without a pilot: all, a half, a quarter …

    The last start is the smallest one that could still be certified if it contained no error.
    """
    starts = [total]
    while (1 - risk) ** (starts[-1] // 2) <= delta / (len(starts) + 1):
        starts.append(starts[-1] // 2)
    return starts


def _several_sequences(curve: _Curve, risk: float, delta: float) -> int | None:
    from scipy.stats import binom

    starts = _starts(curve.total, risk, delta)
    rejected = binom.cdf(curve.errors, curve.accepted, risk) <= delta / len(starts)
    first = np.minimum(np.searchsorted(curve.accepted, starts), len(rejected) - 1)
    not_rejected = np.append(np.flatnonzero(~rejected), len(rejected))  # a sequence ends before the next of these
    ends = [int(not_rejected[np.searchsorted(not_rejected, start)]) - 1 for start in first if rejected[start]]
    return max(ends, default=None)


def _sgr(curve: _Curve, risk: float, delta: float) -> int | None:
    steps = max(1, math.ceil(math.log2(len(curve.values) + 1)))
    low, high, certified = 0, len(curve.values) - 1, None
    for _ in range(steps):
        middle = (low + high + 1) // 2
        if float(risk_bound(curve.errors[middle], curve.accepted[middle], delta / steps)) <= risk:
            certified = middle if certified is None else max(certified, middle)
            low = middle
        else:
            high = max(middle - 1, 0)
    return certified


def _is_hopeless(curve: _Curve, risk: float) -> bool:
    """True if the risk is above a target however many predictions are accepted (Clopper and Pearson, 95%).

    Fewer accepted predictions than :data:`FEWEST_ACCEPTED`, or a twentieth of all, say nothing about it.
    """
    from scipy.special import betaincinv

    enough = curve.accepted >= max(FEWEST_ACCEPTED, curve.total / 20)
    errors, accepted = curve.errors[enough], curve.accepted[enough]
    lowest = np.where(errors > 0, betaincinv(np.maximum(errors, 1), accepted - errors + 1, 0.05), 0.0)
    return bool(len(lowest) and lowest.min() > risk)


def _advice(curve: _Curve, risk: float, delta: float, is_planned: bool) -> str:
    """Explain why no threshold could be certified, and estimate how many more labeled predictions are needed."""
    from scipy.special import betainc

    smoothed = (curve.errors + 0.5) / (curve.accepted + 1)
    below_target = np.flatnonzero(smoothed < risk)
    if not len(below_target):
        enough = curve.accepted >= min(max(FEWEST_ACCEPTED, curve.total / 20), curve.accepted.max())
        lowest = (curve.errors / curve.accepted)[enough].min()  # none of very few says nothing
        problem = f"No threshold could be certified: the lowest observed risk is {lowest:.3g}"
        if _is_hopeless(curve, risk):
            return f"{problem}, so more labeled predictions would not help. Choose a higher risk, or a better score."
        return (
            f"{problem}, and {curve.total} labeled predictions are too few to tell if more would help. Label more of "
            "them, or choose a higher risk."
        )
    share, expected_risk = curve.accepted[below_target] / curve.total, smoothed[below_target]
    total = curve.total
    while total < 1e9:
        total = math.ceil(1.05 * total)
        accepted = np.floor(share * total)
        level = delta if is_planned else delta / len(_starts(total, risk, delta))
        errors = expected_risk * accepted
        # True where risk_bound(errors, accepted, level) <= risk, without the search for the bound.
        if (betainc(errors + 1, np.maximum(accepted - errors, 1e-9), risk) >= 1 - level).any():
            break
    additional = f"{float(f'{total - curve.total:.2g}'):,.0f}"
    if total > MOST_ADVISED * curve.total:
        return (
            f"No threshold could be certified with {curve.total} labeled predictions; about {additional} more would be "
            "needed. Choose a higher risk: alien threshold lists those that can be certified, in Python reachable()."
        )
    return (
        f"No threshold could be certified with {curve.total} labeled predictions; about {additional} more of the same "
        "distribution would be enough if they are wrong as often; label more than that, since chance decides."
    )
