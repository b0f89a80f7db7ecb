"""Measures of an uncertainty score: how well it ranks errors first, and how well it estimates their probability.

Every measure is ``measure(errors_N, uncertainty_N) -> float``. Errors (1 = the model is wrong) are the positive class,
and a higher score means less certain. Ranking measures take any real scores; calibration measures take scores in
[0, 1]. Rows with equal scores are a tie: they are counted together and their errors are spread evenly, so the order of
the rows never matters. An undefined measure (no errors, or only errors) is NaN.

To compute several measures, or to compute them again with other row weights, sort the rows once:
``sample = Sample.from_arrays(errors, uncertainty)``, then ``measure.compute(sample)``. With many sets of weights,
``sample.weighted(counts_RN)``, each measure computes all R values at once.
"""

from .calibration import adaptive_ece, brier, ece, nll, reliability, smooth_ece
from .ranking import (
    augrc,
    aurc,
    coverage_at_risk,
    e_aurc,
    errors_found,
    errors_found_10,
    errors_found_20,
    fpr_at_95_tpr,
    pr_auc,
    prr,
    prr_50,
    risk_at_coverage,
    risk_coverage,
    roc_auc,
)
from .sample import Measure, Sample

__all__ = [
    "CALIBRATION",
    "LOWER_IS_BETTER",
    "RANKING",
    "Measure",
    "Sample",
    "adaptive_ece",
    "augrc",
    "aurc",
    "brier",
    "coverage_at_risk",
    "e_aurc",
    "ece",
    "errors_found",
    "errors_found_10",
    "errors_found_20",
    "fpr_at_95_tpr",
    "nll",
    "pr_auc",
    "prr",
    "prr_50",
    "reliability",
    "risk_at_coverage",
    "risk_coverage",
    "roc_auc",
    "smooth_ece",
]

RANKING: dict[str, Measure] = {
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
    "fpr_at_95_tpr": fpr_at_95_tpr,
    "aurc": aurc,
    "e_aurc": e_aurc,
    "augrc": augrc,
    "prr": prr,
    "prr_50": prr_50,
    "errors_found_10": errors_found_10,
    "errors_found_20": errors_found_20,
}
"""Measures of the order, by name."""
CALIBRATION: dict[str, Measure] = {
    "ece": ece,
    "adaptive_ece": adaptive_ece,
    "smooth_ece": smooth_ece,
    "brier": brier,
    "nll": nll,
}
"""Measures of scores in [0, 1] as probabilities, by name."""
LOWER_IS_BETTER = frozenset({"fpr_at_95_tpr", "aurc", "e_aurc", "augrc", *CALIBRATION})
"""Names of measures of which less is better."""
