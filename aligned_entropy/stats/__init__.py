"""Statistical inference for measures: intervals, paired tests on one data set, tests across data sets."""

from .auc import auc_interval, paired_auc
from .bootstrap import bootstrap, bootstrap_scores, paired_bootstrap, resampled_counts
from .comparisons import averaging_weights, holm, mean_ranks, two_sided_p, wilcoxon_p
from .intervals import Interval, finite, share_interval, share_of_rows

__all__ = [
    "Interval",
    "auc_interval",
    "averaging_weights",
    "bootstrap",
    "bootstrap_scores",
    "finite",
    "holm",
    "mean_ranks",
    "paired_auc",
    "paired_bootstrap",
    "resampled_counts",
    "share_interval",
    "share_of_rows",
    "two_sided_p",
    "wilcoxon_p",
]
