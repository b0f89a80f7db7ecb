"""Estimate accuracy with NannyML's CBPE on stored arrays; runs in an environment of its own, for estimated_accuracy.py.

    PYTHON benchmarks/cbpe.py ARRAYS.npz OUT.json

The arrays: ``probabilities`` ``[M, C]``, ``predicted`` and ``labels`` of the reference, and for every size ``n`` the
rows of the chunks, ``probabilities_n`` ``[R n, C]`` and ``predicted_n``. The output holds estimates and bounds of the R
chunks by size.
"""

import json
import sys

import nannyml as nml
import numpy as np
import pandas as pd


def frame(probabilities, predicted):
    columns = {f"p{index}": probabilities[:, index] for index in range(probabilities.shape[1])}
    return pd.DataFrame(columns | {"y_pred": predicted})


def main():
    arrays = np.load(sys.argv[1])
    classes = arrays["probabilities"].shape[1]
    reference = frame(arrays["probabilities"], arrays["predicted"]).assign(y_true=arrays["labels"])
    is_binary = classes == 2
    if is_binary:
        problem, probability = "classification_binary", "p1"
    else:
        problem, probability = "classification_multiclass", {index: f"p{index}" for index in range(classes)}
    result = {}
    for size in arrays["sizes"].tolist():
        estimator = nml.CBPE(
            problem_type=problem,
            y_pred_proba=probability,
            y_pred="y_pred",
            y_true="y_true",
            metrics=["accuracy"],
            chunk_size=size,
        )
        estimator.fit(reference)
        analysis = frame(arrays[f"probabilities_{size}"], arrays[f"predicted_{size}"])
        table = estimator.estimate(analysis).filter(period="analysis").to_df(multilevel=False)
        names = ("value", "lower_confidence_boundary", "upper_confidence_boundary")
        result[size] = [table[f"accuracy_{name}"].tolist() for name in names]
    with open(sys.argv[2], "w") as file:
        json.dump(result, file)


main()
