"""Selection of a fit's candidate by its gain on the calibration set, combined with a prior from other data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..stats import paired_auc
from .calibration_set import CalibrationSet
from .candidates import ScoredCandidate, cross_validated_auc, flat_array


@dataclass(frozen=True)
class GainPrior:
    """Normal prior on the ROC-AUC gain of a trained candidate over the untrained score.

    With a few hundred texts the standard error of a measured gain is about as large as the gain, so the prior matters.
    With thousands of texts it no longer does.

    Attributes:
        mean: mean of the gain.
        standard_deviation: standard deviation of the gain.
    """

    mean: float
    standard_deviation: float

    def posterior_mean(self, gain: float, standard_error: float) -> float:
        """Compute the expected gain after a measurement.

        Args:
            gain: measured gain.
            standard_error: standard error of the measured gain.
        """
        if standard_error == 0:
            return gain
        prior_precision, precision = self.standard_deviation**-2, standard_error**-2
        return (prior_precision * self.mean + precision * gain) / (prior_precision + precision)

    def minimum(self, standard_error: float) -> float:
        """Compute the measured gain below which a candidate is rejected, whatever the prior says.

        A loss must be smaller than one standard error. If the texts are so few that the standard error is over twice
        the prior's standard deviation, the gain must be larger than two standard errors: a model that is fitted on so
        few texts may be worse than the models that the prior comes from.

        Args:
            standard_error: standard error of the measured gain.
        """
        return 2 * standard_error if standard_error > 2 * self.standard_deviation else -standard_error

    def __str__(self) -> str:
        return f"{100 * self.mean:+.1f} ± {100 * self.standard_deviation:.1f}"


DEVELOPMENT_PRIOR = GainPrior(0.01, 0.01)  # measured on development splits, see benchmarks/LOG.md


def choose_base_score(
    candidates: Sequence[ScoredCandidate], data: CalibrationSet, required_gain: float
) -> ScoredCandidate:
    """Choose the first of several untrained candidates, or the best one if it is better and finds errors.

    Args:
        candidates: untrained candidates, the preferred one first.
        data: calibration set.
        required_gain: number of standard errors by which the best candidate must be better than the first.
    """
    best = max(candidates, key=cross_validated_auc)
    gain, standard_error = _measured_gain(best, candidates[0], data)
    return best if gain > required_gain * standard_error and _finds_errors(best, data) else candidates[0]


def choose_candidate(
    candidates: Sequence[ScoredCandidate],
    untrained: ScoredCandidate,
    data: CalibrationSet,
    gain_prior: GainPrior,
    fallbacks: Sequence[ScoredCandidate] = (),
) -> tuple[ScoredCandidate, str]:
    """Choose the candidate with the largest expected gain, or the untrained one if no gain is expected.

    A candidate must also find errors better than chance, by :data:`CLEAR` standard errors, or by :data:`CLEARER` ones
    where the untrained score itself does not by :data:`ABOVE_CHANCE`. Otherwise labels that have nothing to do with the
    texts, such as permuted ones, would replace a score that is good by itself with noise.

    Args:
        candidates: trained candidates; the neighbors of their error models, if any, include calibration texts.
        untrained: untrained candidate, with which the others are compared.
        data: calibration set.
        gain_prior: prior on the gain.
        fallbacks: candidates whose error models have no neighbors among calibration texts. They are considered only
            where the calibration texts are too few for the other candidates. On development data with one and two
            hundred texts they raised the ROC-AUC, and by more than the others.

    Returns:
        Chosen candidate, and the reason in a sentence.
    """
    best = _largest_expected_gain(candidates, untrained, data, gain_prior)
    if best is None:
        return untrained, "There is no other candidate: the untrained score is kept and calibrated."
    minimum = gain_prior.minimum(best.standard_error)
    required = CLEAR if _finds_errors(untrained, data, ABOVE_CHANCE) else CLEARER
    is_better = best.expected > 0 and best.measured > minimum and _finds_errors(best.scored, data, required)
    fallback = _largest_expected_gain(fallbacks, untrained, data, gain_prior) if minimum > 0 else None
    if (
        fallback is not None
        and fallback.expected > (best.expected if is_better else 0)
        and fallback.measured > -fallback.standard_error
        and _finds_errors(fallback.scored, data, required)
    ):
        return (
            fallback.scored,
            "The calibration texts are too few to serve as neighbors, so the error model does without them. "
            f"{fallback.evidence}.",
        )
    if is_better:
        return best.scored, f"{best.evidence}."
    if best.expected <= 0:
        problem = "No gain is expected from the best other candidate"
    elif best.measured <= minimum:
        problem = "The measured gain of the best other candidate is too small"
    else:
        problem = f"The best other candidate does not clearly find errors (ROC-AUC {best.scored.candidate.roc_auc})"
    name = best.scored.candidate.name
    return untrained, f"{problem} ({name}): the untrained score is kept and calibrated. {best.evidence}."


# Standard errors by which a ROC-AUC must be above chance: that of the untrained score, so that the labels are in no
# doubt; that of a candidate; and that of a candidate where they are (benchmarks/LOG.md).
ABOVE_CHANCE, CLEAR, CLEARER = 2.0, 4.0, 5.0


class _Gain(NamedTuple):
    """ROC-AUC gain of a candidate over the untrained one: measured, and expected after the prior is considered."""

    scored: ScoredCandidate
    measured: float
    standard_error: float
    expected: float
    evidence: str  # sentence with these numbers, without its full stop


def _largest_expected_gain(
    candidates: Sequence[ScoredCandidate], untrained: ScoredCandidate, data: CalibrationSet, gain_prior: GainPrior
) -> _Gain | None:
    """Find the candidate with the largest expected gain; None if there are no candidates."""
    gains = [_gain(candidate, untrained, data, gain_prior) for candidate in candidates]
    return max(gains, key=lambda gain: gain.expected, default=None)


def _gain(candidate: ScoredCandidate, untrained: ScoredCandidate, data: CalibrationSet, gain_prior: GainPrior) -> _Gain:
    measured, standard_error = _measured_gain(candidate, untrained, data)
    expected = gain_prior.posterior_mean(measured, standard_error)
    evidence = (
        f"The gain over ({untrained.candidate.name}) is {100 * measured:+.1f} ± {100 * standard_error:.1f} points of "
        f"ROC-AUC by cross-validation. For the choice, it is averaged with the gain on other data sets, {gain_prior}, "
        f"to {100 * expected:+.1f}"
    )
    return _Gain(candidate, measured, standard_error, expected, evidence)


def _measured_gain(candidate: ScoredCandidate, baseline: ScoredCandidate, data: CalibrationSet) -> tuple[float, float]:
    """Measure the gain in ROC-AUC of a candidate over a baseline candidate, and the gain's standard error."""
    rankings = flat_array(candidate.ranking), flat_array(baseline.ranking)
    return paired_auc(flat_array(data.errors), *rankings, data.error_clusters)


def _finds_errors(candidate: ScoredCandidate, data: CalibrationSet, required: float = CLEAR) -> bool:
    """True if the out-of-fold ROC-AUC of a candidate is above chance by a number of standard errors."""
    errors = flat_array(data.errors)
    above, standard_error = paired_auc(errors, flat_array(candidate.ranking), 0 * errors, data.error_clusters)
    return above > required * standard_error
