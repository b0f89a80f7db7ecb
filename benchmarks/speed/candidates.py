"""Measure the parts of a fit, and test if one fold is enough to reject an aligned copy.

    python benchmarks/speed/candidates.py

Fits on the validation splits of the classifiers that `alien bench benchmarks/configs/core.yaml` leaves in
`benchmarks/runs`. A copy whose gain in ROC-AUC on the first fold is below zero by two standard errors could be rejected
before the other folds are fitted. Prints a table and one JSON line. Needs the data sets in the folder of ALIEN_DATA.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aligned_entropy import FitConfig, UncertainClassifier
from aligned_entropy.data import data_folder, load_data
from aligned_entropy.head.aligned_copies import aligned_candidates
from aligned_entropy.head.calibration_set import calibration_set
from aligned_entropy.head.candidates import flat_array, untrained_candidate, with_error_model
from aligned_entropy.head.head import AlignedEntropyHead
from aligned_entropy.head.reference_features import calibration_set_features
from aligned_entropy.head.selection import choose_base_score
from aligned_entropy.stats import paired_auc

RUNS = Path(__file__).parents[1] / "runs"
CASES = {
    "minilm-sst2-0": "sst2",
    "minilm-cola-0": "cola",
    "minilm-frozen-sst5-0": "sst5",
    "minilm-frozen-goemotions-0": "goemotions",
    "minilm-frozen-20newsgroups-0": "20newsgroups",
}


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Call a function; return its result and its CPU seconds."""
    began = time.process_time()
    return function(*arguments), time.process_time() - began


def main() -> None:
    config, facts = FitConfig(), {}
    print(
        "| | texts | classes | CPU s | copies | neighbors | error model | gain of the copies on one fold, hundredths |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for run, data_name in CASES.items():
        classifier = UncertainClassifier.from_pretrained(RUNS / run)
        features = classifier.features(load_data(data_folder() / data_name, "validation"))
        module = classifier.backbone.copy_classification_module()
        arrays = features.hidden, features.labels, features.logits
        data = calibration_set(AlignedEntropyHead(module), *arrays, config.folds, config.seed)
        simple = [untrained_candidate(module, base, data) for base in config.bases]
        start = choose_base_score(simple, data, config.required_gain)
        copies, first = timed(aligned_candidates, module, start, data, config.betas, config.seed)
        near, second = timed(calibration_set_features, data, config.seed)
        _, third = timed(with_error_model, copies[-1], "neighbors", [near], data, config.seed)
        total = first + second + third
        shares = [part / total for part in (first, second, third)]
        fold = (data.fold == 0).numpy()
        errors, before = flat_array(data.errors)[fold], flat_array(start.ranking)[fold]
        gains = [[100 * v for v in paired_auc(errors, flat_array(copy.ranking)[fold], before)] for copy in copies[:-1]]
        facts[data_name] = {"seconds": total, "shares": shares, "gains": gains}
        gain_column = ", ".join(f"{gain:+.2f} ± {standard_error:.2f}" for gain, standard_error in gains)
        parts = " | ".join(f"{share:.0%}" for share in shares)
        print(
            f"| {data_name} | {len(features)} | {features.logits.shape[1]} | {total:.1f} | {parts} | {gain_column} |",
            flush=True,
        )
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
