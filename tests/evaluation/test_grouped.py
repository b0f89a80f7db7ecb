"""Evaluations of groups: levels, keys and aggregations in text, JSON and CSV."""

import csv
import json

import numpy as np
import pytest

from aligned_entropy.evaluation.evaluation import compare
from aligned_entropy.evaluation.fitted_scores import ScoreValues
from aligned_entropy.evaluation.grouped import GroupedEvaluation, group_values
from aligned_entropy.evaluation.groups import Groups


@pytest.fixture(scope="module")
def grouped():
    rng = np.random.default_rng(0)
    uncertainty, distance = rng.random(60), 3 * rng.random(60)
    errors = (rng.random(60) < uncertainty / 2).astype(float)
    values = {"entropy": ScoreValues(uncertainty, True), "energy": ScoreValues(distance, False)}
    groups = Groups.from_clusters(np.arange(60) // 3, errors)
    single = compare(errors, values, skipped={}, resamples=5, unit="predictions")
    aggregated = group_values(values, groups, aggregations=("max", "product"))
    texts = compare(groups.errors, aggregated, skipped={}, resamples=5)
    return GroupedEvaluation(single, {"texts": texts}, {"texts": "product"})


def test_every_aggregation_that_applies_is_measured(grouped):
    assert set(grouped.groups["texts"].table) == {"entropy, max", "entropy, product", "energy, max"}


def test_stored_levels_keep_their_names(grouped, tmp_path):
    described = json.loads(json.dumps(grouped.to_dict(), allow_nan=False))
    assert list(described) == ["answers", "texts"]
    grouped.write_csv(tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["level"] for row in rows)) == ["answers", "texts"]


def test_the_text_shows_one_aggregation(grouped):
    text = str(grouped)
    assert "errors in 60 predictions" in text
    assert "errors in 20 texts" in text
    assert "entropy, product" in text
    assert "entropy, max" not in text
