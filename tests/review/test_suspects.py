"""Suspect labels: injected errors of labels come first."""

from dataclasses import replace

import numpy as np
import pytest

from aligned_entropy import DataError, LabeledTexts, UncertainClassifier
from aligned_entropy.features.arrays import Features
from aligned_entropy.review import suspects as module
from aligned_entropy.review.suspects import suspect_labels, suspect_rows
from aligned_entropy.selective import class_probabilities

NAMES = ["a", "b", "c"]


def labeled(count=900, flipped=0.06, seed=0):
    """Three classes that the model knows well but for a confused pair, and which labels were flipped."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 3, count)
    logits = rng.normal(0, 1.2, (count, 3)) + 4.0 * np.eye(3)[true]
    wrong = rng.random(count) < flipped
    labels = np.where(wrong, (true + rng.integers(1, 3, count)) % 3, true)
    logits = logits.astype(np.float32)
    return Features(logits, logits, labels, hashes=rng.integers(0, 2**62, count)), wrong


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    settings = module.FitConfig
    monkeypatch.setattr(module, "FitConfig", lambda seed: settings(folds=3, betas=(), views=False, seed=seed))


def test_injected_errors_come_first():
    features, wrong = labeled()
    suspects = suspect_labels(UncertainClassifier.from_outputs(NAMES), features)
    first = suspects.rows[: wrong.sum()]
    precision = wrong[first].mean()
    at_random = wrong.mean()
    assert precision > 0.75 > 5 * at_random
    assert wrong[suspects.rows[:20]].mean() >= 0.9
    assert wrong[suspects.rows].sum() > 0.85 * wrong.sum(), "few are missed"
    assert np.all(np.diff(suspects.probability[suspects.rows]) >= 0)


def test_the_probabilities_do_not_depend_on_the_label_itself():
    features, _ = labeled()
    suspects = suspect_labels(UncertainClassifier.from_outputs(NAMES), features)
    assert suspects.class_probability.sum(1) == pytest.approx(np.ones(900))
    row = int(suspects.rows[0])
    changed = features.labels.copy()
    changed[row] = features.predictions[row]
    other = suspect_labels(UncertainClassifier.from_outputs(NAMES), replace(features, labels=changed))
    assert other.class_probability[row] == pytest.approx(suspects.class_probability[row], abs=0.05)
    expected = class_probabilities(features.logits, features.predictions, suspects.error_probability)
    assert suspects.probability == pytest.approx(expected[np.arange(900), features.labels])


def test_rows_for_review_show_the_given_label():
    features, _ = labeled()
    suspects = suspect_labels(UncertainClassifier.from_outputs(NAMES), features)
    texts = LabeledTexts([f"text {number}" for number in range(900)], features.labels, NAMES)
    rows = suspect_rows(suspects, texts, features, "text-classification")
    first = int(suspects.rows[0])
    assert [row.text for row in rows] == [f"text {number}" for number in suspects.rows]
    assert rows[0].given == NAMES[features.labels[first]]
    assert rows[0].alternatives[rows[0].given] == pytest.approx(suspects.probability[first])
    assert rows[0].inclusion is None
    assert rows[0].facts["given"] == rows[0].given
    with pytest.raises(DataError, match="no label looks wrong"):
        suspect_rows(replace(suspects, rows=suspects.rows[:0]), texts, features, "text-classification")
