"""Compute measures and risk control of other libraries on stored arrays, in an environment of their own.

    PYTHON benchmarks/peers/peer_measures.py ARRAYS.npz OUT.json

measures.py runs this script. The arrays of every case ``c``: ``errors_c`` ``[N]`` and ``uncertainty_c`` ``[N]`` in
[0, 1]; of every test of risk control ``t``: ``errors_t`` and ``uncertainty_t`` ``[R, n]`` of R sets of labeled
predictions, with ``pilot_errors_t`` and ``pilot_uncertainty_t`` ``[P]``, and ``target_t``. The output holds measures by
case, library and name, and for every test the lowest confidences ``[R]`` that MAPIE accepts, NaN for none.
"""

import importlib.util
import json
import sys
import types
import warnings

import numpy as np
import torch

LEVEL = 0.95  # probability of the guarantee


def without_start(*names):
    """Register packages without running their ``__init__``: that of torch-uncertainty imports torchvision."""
    for name in names:
        package = types.ModuleType(name)
        package.__path__ = list(importlib.util.find_spec(name).submodule_search_locations)
        sys.modules[name] = package


def polygraph(errors, uncertainty):
    from lm_polygraph import ue_metrics as ue
    from lm_polygraph.ue_metrics.ue_metric import get_random_scores, normalize_metric

    correct = 1 - errors

    def prr(share):
        area = ue.PredictionRejectionArea(share)  # normalized as in UEManager.eval_ue
        random = get_random_scores(area, correct)
        return normalize_metric(area(uncertainty, correct), area(-correct, correct), random)

    confidence = 1 - uncertainty
    return {
        "ROC-AUC": ue.ROCAUC()(uncertainty, errors),
        "PR-AUC": ue.PRAUC()(uncertainty, errors),
        "PRR": prr(1.0),
        "PRR, half": prr(0.5),
        "AURC": ue.RiskCoverageCurveAUC()(uncertainty, correct),
        "ECE": ue.ECE(n_bins=15)(-confidence, correct),
        "ECE, default": ue.ECE()(-confidence, correct),
    }


def torch_uncertainty(errors, uncertainty):
    from torch_uncertainty.metrics import classification as tu

    def computed(metric, *arrays):
        metric.set_dtype(torch.float64)
        metric.update(*arrays)
        return float(metric.compute())

    wrong = torch.from_numpy(errors).long()
    u = torch.from_numpy(uncertainty)
    # The first of two classes is always the more probable one, in the order of the confidence.
    ranked = torch.stack([1 - u / 2, u / 2], dim=1)
    # The first class is the most probable one, with the confidence 1 - u; the other ones share the rest.
    capped, others = u.clip(max=0.999)[:, None], 1000
    probabilities = torch.cat([1 - capped, (capped / others).expand(-1, others)], dim=1)
    classes = {"task": "multiclass", "num_classes": others + 1}
    return {
        "FPR at 95% TPR": computed(tu.FPR95(pos_label=1), u, wrong),
        "AURC": computed(tu.AURC(), ranked, wrong),
        "AUGRC": computed(tu.AUGRC(), ranked, wrong),
        "risk at 80% coverage": computed(tu.RiskAt80Cov(), ranked, wrong),
        "coverage at 5% risk": computed(tu.CovAt5Risk(), ranked, wrong),
        "ECE": computed(tu.CalibrationError(**classes, num_bins=15), probabilities, wrong),
        "ECE, default": computed(tu.CalibrationError(**classes), probabilities, wrong),
        "adaptive ECE": computed(tu.CalibrationError(**classes, adaptive=True, num_bins=15), probabilities, wrong),
        "Brier score": computed(tu.BrierScore(others + 1, top_class=True), probabilities, wrong),
        "log-likelihood": computed(tu.CategoricalNLL(), torch.stack([1 - u, u], dim=1).clip(1e-7), wrong),
    }


def mapie(errors, uncertainty):
    from mapie.metrics.calibration import expected_calibration_error

    correct, confidence = (1 - errors).astype(int), 1 - uncertainty
    return {
        # num_bins is the number of edges
        "ECE": expected_calibration_error(correct, confidence, num_bins=16, split_strategy="uniform"),
        "ECE, default": expected_calibration_error(correct, confidence),
    }


def thresholds(errors, uncertainty, pilot_errors, pilot_uncertainty, target):
    """Lowest accepted confidence in each of R sets, of three variants of MAPIE; *split* learns on the pilot."""
    from mapie.risk_control import BinaryClassificationController

    quantiles = np.unique(1 - np.quantile(pilot_uncertainty, np.linspace(0.01, 1, 100)))
    variants = {
        "default": {},
        "Bonferroni": {"fwer_method": "bonferroni"},
        "split": {"fwer_method": "split_fixed_sequence", "list_predict_params": quantiles},
    }
    found = {}
    for name, options in variants.items():
        control = BinaryClassificationController(
            lambda u: np.stack([u, 1 - u], axis=1), "precision", 1 - target, confidence_level=LEVEL, **options
        )
        if name == "split":
            control.learn_fixed_sequence_order(pilot_uncertainty, (pilot_errors == 0).astype(int), binary=True)
        lowest = []
        for e, u in zip(errors, uncertainty, strict=True):
            best = control.calibrate(u, (e == 0).astype(int)).best_predict_param
            lowest.append(np.nan if best is None else float(best))
        found[name] = lowest
    return found


def main():
    warnings.filterwarnings("ignore")
    without_start("torch_uncertainty", "torch_uncertainty.metrics")
    arrays = np.load(sys.argv[1])
    libraries = {"lm-polygraph": polygraph, "torch-uncertainty": torch_uncertainty, "MAPIE": mapie}
    result = {"measures": {}, "thresholds": {}}
    for case in arrays["cases"].tolist():
        pair = arrays[f"errors_{case}"], arrays[f"uncertainty_{case}"]
        result["measures"][case] = {
            library: {name: float(value) for name, value in compute(*pair).items()}
            for library, compute in libraries.items()
        }
    names = ("errors", "uncertainty", "pilot_errors", "pilot_uncertainty")
    for test in arrays["tests"].tolist():
        result["thresholds"][test] = thresholds(
            *(arrays[f"{name}_{test}"] for name in names), float(arrays[f"target_{test}"])
        )
    with open(sys.argv[2], "w") as file:
        json.dump(result, file)


main()
