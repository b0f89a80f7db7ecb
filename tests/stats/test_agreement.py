"""Cohen's kappa against scikit-learn's, and its standard error by simulation."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from aligned_entropy.stats.agreement import chance_agreement, cohens_kappa


def drawn(rng, rows=400):
    labels = rng.choice(3, rows, p=[0.5, 0.3, 0.2])
    return labels, np.where(rng.random(rows) < 0.6, labels, rng.choice(3, rows))


def test_kappa_and_its_standard_error():
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(300):
        labels, predictions = drawn(rng)
        kappa, error = cohens_kappa(labels, predictions)
        assert kappa == pytest.approx(cohen_kappa_score(labels, predictions))
        values.append(kappa)
        errors.append(error)
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.1)


def test_names_and_columns_of_one_class():
    names, numbers = np.array(["b", "a", "b", "a"]), np.array([1, 0, 1, 0])
    assert chance_agreement(names, names[::-1]) == chance_agreement(numbers, numbers[::-1]) == 0.5
    assert cohens_kappa(names, names) == (1, 0)
    assert np.isnan(cohens_kappa(numbers[:1], numbers[:1])).all()
    assert cohens_kappa(np.array(["a", "b"]), np.array(["a", "a"]))[0] == 0, "no more than by chance"
