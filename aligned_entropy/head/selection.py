"""Which candidate a fit takes: what is measured here, weighed against what was seen on other data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..stats import paired_auc
from .calibration_set import CalibrationSet
from .candidates import Scored, flat, rank


@dataclass(frozen=True)
class GainPrior:
    """What a trained candidate is expected to gain in ROC-AUC over an untrained score before a text has been seen.

    Normal; a few hundred texts know a gain to a hundredth or two, which is about as much as there is to gain, so that
    what was seen on other data sets counts. With thousands of texts it no longer does.
    """

    mean: float
    standard_deviation: float

    def posterior_mean(self, gain: float, deviation: float) -> float:
        """The expected gain when this much was measured, with a standard error."""
        if deviation == 0:
            return gain
        weight, own = self.standard_deviation**-2, deviation**-2
        return (weight * self.mean + own * gain) / (weight + own)

    def minimum(self, deviation: float) -> float:
        """What has to be measured, with a standard error, for the prior to count.

        No loss of a standard error; and where texts are so few that the error is over twice the prior's own, a gain of
        one: a model that is fitted on them may be worse than those that the prior comes from.
        """
        return deviation if deviation > 2 * self.standard_deviation else -deviation

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.standard_deviation:.3f}"


DEVELOPMENT_PRIOR = GainPrior(0.01, 0.01)  # on development splits, see benchmarks/LOG.md


def choose_base(scored: Sequence[Scored], data: CalibrationSet, required: float) -> Scored:
    """The first of several untrained scores, or the best one if it ranks better by enough standard errors."""
    best = max(scored, key=rank)
    gain, deviation = _gain(best, scored[0], data)
    return best if gain > required * deviation else scored[0]


def choose(
    scored: Sequence[Scored], before: Scored, data: CalibrationSet, gain_prior: GainPrior, steady: Sequence[Scored] = ()
) -> tuple[Scored, str]:
    """The candidate that is expected to gain most over the untrained score, or that score if none is; and why.

    Where texts are too few for these, the steady ones are looked at, which ask only training texts and not the few
    themselves: those gained on development data with a hundred texts.
    """
    found = _best(scored, before, data, gain_prior)
    if found is None:
        return before, "There is no other candidate; the untrained score is kept, and calibrated."
    best, gain, deviation, expected, facts = found
    bar = gain_prior.minimum(deviation)
    if expected > 0 and gain > bar:
        return best, f"{facts}."
    other = _best(steady, before, data, gain_prior) if bar > 0 else None
    if other is not None and other.expected > 0 and other.gain > -other.deviation:
        return other.one, f"Too few texts to ask them; with the training texts alone {other.facts}."
    return before, f"The best other candidate, {best.candidate.name}, is not taken ({facts}); the score is kept."


class _Judged(NamedTuple):
    one: Scored
    gain: float
    deviation: float
    expected: float
    facts: str


def _best(scored: Sequence[Scored], before: Scored, data: CalibrationSet, gain_prior: GainPrior) -> _Judged | None:
    """The one that is expected to gain most, measured and expected gain, and both in words."""
    judged = [(gain_prior.posterior_mean(*_gain(one, before, data)), one) for one in scored]
    if not judged:
        return None
    expected, best = max(judged, key=lambda pair: pair[0])
    gain, deviation = _gain(best, before, data)
    facts = (
        f"ROC-AUC {gain:+.4f} ± {deviation:.4f} against {before.candidate.name}, cross-validated; "
        f"with {gain_prior} on other data sets that is {expected:+.4f} expected"
    )
    return _Judged(best, gain, deviation, expected, facts)


def _gain(one: Scored, other: Scored, data: CalibrationSet) -> tuple[float, float]:
    return paired_auc(flat(data.errors), flat(one.ranked), flat(other.ranked), data.error_clusters)
