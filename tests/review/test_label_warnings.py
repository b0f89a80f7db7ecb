"""Labels from people that have the marks of a mistake are warned of, and plausible ones are not."""

import warnings

import numpy as np
import pytest

from aligned_entropy.review.label_warnings import warn_of_reviews

NAMES = np.array(["law", "sports", "trade"])


def reviewed(rows=200, error_rate=0.25, seed=0):
    """Error probabilities, predictions and true labels of rows that are wrong as often as the head expects."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(1, 1 / error_rate - 1, rows)
    predicted = rng.choice(3, rows)
    true = np.where(rng.random(rows) < probability, (predicted + rng.integers(1, 3, rows)) % 3, predicted)
    return probability, NAMES[predicted], NAMES[true]


def warn(probability, predicted, labels, has_labels=True):
    wrong = predicted != labels
    warn_of_reviews(wrong, probability, labels.tolist() if has_labels else [], predicted.tolist() if has_labels else [])


def test_a_copy_of_the_predictions():
    probability, predicted, _ = reviewed()
    message = f"all 200 labels are the predicted ones, where the head expects {probability.sum():.0f} errors"
    for has_labels in (True, False):  # without them, people wrote yes or no, or a text has several labels
        with pytest.warns(UserWarning, match=message):
            warn(probability, predicted, predicted, has_labels)


def test_a_column_of_labels_that_was_sorted_alone():
    probability, predicted, true = reviewed()
    labels = np.sort(true)
    with pytest.warns(UserWarning, match=f"{(labels != predicted).sum()} of 200 labels differ from the prediction"):
        warn(probability, predicted, labels)


def warnings_of(*arguments):
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        warn(*arguments)
    return [str(warning.message) for warning in given]


@pytest.mark.parametrize("seed", range(40))
def test_labels_as_the_head_expects_them(seed):
    assert warnings_of(*reviewed(rows=20 + 5 * seed, seed=seed)) == []


def test_texts_of_another_kind_and_hard_texts():
    """A model that is more often wrong than the head expects, or whose deferred texts are decided by chance."""
    rng = np.random.default_rng(3)
    probability, predicted, _ = reviewed()
    drifted = np.where(rng.random(200) < 0.5, predicted, NAMES[rng.choice(3, 200)])
    even = rng.choice(NAMES[:2], 200), rng.choice(NAMES[:2], 200)
    collapsed = np.full(200, "law")
    assert warnings_of(probability, predicted, drifted) == []
    assert warnings_of(np.full(200, 0.5), *even) == []
    assert warnings_of(np.full(200, 0.1), collapsed, even[1]) == []  # moved labels would agree as often
    assert warnings_of(np.full(200, 0.01), predicted, predicted) == []  # a model that is nearly always right
    assert warnings_of(probability[:19], predicted[:19], predicted[:19]) == []
