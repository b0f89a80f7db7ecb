"""Warnings where another order of the labels would be far better, and where the model is useless; none elsewhere."""

import warnings
from itertools import permutations

import numpy as np
import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.evaluation.label_warnings import warn_of_labels
from aligned_entropy.features.arrays import Features
from fixtures import sentiment


def features(truth, predicted, classes):
    return Features(np.zeros((len(truth), 1), np.float32), np.eye(classes, dtype=np.float32)[predicted], truth)


def predicted_with(truth, accuracy, classes, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < accuracy, truth, rng.integers(0, classes, len(truth)))


def warns(rows, names):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_labels(rows, names)
    return [str(warning.message) for warning in caught]


def test_two_classes_in_the_other_order():
    truth = np.arange(160) % 2
    rows = features(1 - predicted_with(truth, 0.5, 2), truth, 2)
    correct = (rows.labels == rows.predictions).mean()
    (message,) = warns(rows, ["negative", "positive"])
    assert f"the accuracy is {correct:.1%}, but {1 - correct:.1%} if the labels were in another order" in message
    assert "(negative → positive, positive → negative)" in message


@pytest.mark.parametrize("order", [order for order in permutations(range(4)) if order != (0, 1, 2, 3)])
def test_the_order_that_is_named_is_the_right_one(order):
    """Rows whose class ``order[i]`` is stored as ``i``."""
    predicted = np.arange(400) % 4
    truth = np.argsort(order)[predicted_with(predicted, 0.7, 4)]
    (message,) = warns(features(truth, predicted, 4), list("abcd"))
    moved = [f"{'abcd'[i]} → {'abcd'[j]}" for i, j in enumerate(order) if i != j]
    assert f"({', '.join(moved)})" in message
    best = max((np.array(p)[truth] == predicted).mean() for p in permutations(range(4)))
    assert f"but {best:.1%} if" in message


def test_two_exchanged_classes_among_many():
    truth = np.arange(77 * 30) % 77
    predicted = predicted_with(truth, 0.9, 77)
    names = [f"class {number}" for number in range(77)]
    assert warns(features(truth, predicted, 77), names) == []
    exchanged = np.where(truth == 5, 9, np.where(truth == 9, 5, truth))
    (message,) = warns(features(exchanged, predicted, 77), names)
    assert "(class 5 → class 9, class 9 → class 5)" in message


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("classes", "rows"), [(2, 10), (2, 200), (5, 50), (20, 400)])
def test_a_model_that_guesses_is_not_in_another_order(classes, rows, seed):
    truth = np.random.default_rng(seed).integers(0, classes, rows)
    predicted = np.random.default_rng(seed + 1000).integers(0, classes, rows)
    found = warns(features(truth, predicted, classes), [str(number) for number in range(classes)])
    assert not any("another order" in warning for warning in found)
    assert found or rows < 400, "it is called useless where the labels are many enough"


@pytest.mark.parametrize("scale", [2, 100])
def test_a_model_that_predicts_one_class_is_not_in_another_order(scale):
    truth = np.repeat([0, 1, 2], [50 * scale, 30 * scale, 20 * scale])
    (warning,) = warns(features(truth, np.full(100 * scale, 2), 3), list("abc"))
    assert "right for 20.0% of these labels. By chance it would be for 20.0%" in warning
    assert "if it always predicted 'a', for 50.0%: it hardly tells these classes apart" in warning
    (warning,) = warns(features(np.zeros(100 * scale, int), np.full(100 * scale, 2), 3), list("abc"))
    assert "labels are 'a': check that the right column holds them" in warning


def test_few_rows_show_no_order():
    assert warns(features(np.array([0, 1, 0, 1]), np.array([1, 0, 1, 0]), 2), ["a", "b"]) == []


def test_several_labels_in_another_order():
    rng = np.random.default_rng(0)
    truth = (rng.random((300, 4)) < [0.5, 0.4, 0.3, 0.2]).astype(np.int64)
    noisy = np.where(rng.random(truth.shape) < 0.1, 1 - truth, truth)
    logits = (2 * noisy - 1).astype(np.float32)
    hidden = np.zeros((300, 1), np.float32)
    assert warns(Features(hidden, logits, truth), list("abcd")) == []
    (message,) = warns(Features(hidden, logits, truth[:, [1, 2, 0, 3]]), list("abcd"))
    assert "(a → b, b → c, c → a)" in message


@pytest.mark.parametrize(("count", "is_noticed"), [(19, False), (20, True)])
def test_labels_of_one_class_are_noticed(count, is_noticed):
    """A column with the same entry in all rows, or a file of one class, measures nothing but this class."""
    found = warns(features(np.ones(count, int), np.arange(count) % 2, 2), ["good", "bad"])
    assert found == (["all 20 labels are 'bad': check that the right column holds them."] if is_noticed else [])


def test_a_model_that_predicts_one_class_is_noticed_and_one_that_finds_a_rare_class_is_not():
    truth = np.repeat([0, 1], [980, 20])
    (warning,) = warns(features(truth, np.zeros(1000, int), 2), ["ham", "spam"])
    assert (
        "right for 98.0% of these labels. By chance it would be for 98.0%, and if it always predicted 'ham'" in warning
    )
    finds = np.repeat([0, 1, 0, 1], [956, 24, 4, 16])  # right for fewer than a model that always predicts ham
    assert warns(features(truth, finds, 2), ["ham", "spam"]) == []


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("rows", "accuracy"), [(20, 0.4), (100, 0.3), (400, 0.3)])
def test_a_moderate_model_is_not_called_useless(rows, accuracy, seed):
    truth = np.random.default_rng(seed).integers(0, 3, rows)
    assert not any(
        "hardly tells" in warning
        for warning in warns(features(truth, predicted_with(truth, accuracy, 3, seed), 3), list("abc"))
    )


def test_labels_that_belong_to_other_texts_are_noticed():
    """Eight classes, of which the model has three quarters right, and the same labels moved on by one row."""
    truth = np.random.default_rng(0).integers(0, 8, 600)
    predicted = predicted_with(truth, 0.7, 8)
    assert warns(features(truth, predicted, 8), list("abcdefgh")) == []
    (warning,) = warns(features(np.roll(truth, 1), predicted, 8), list("abcdefgh"))
    assert "or the labels do not belong to their texts, as after one column was sorted alone" in warning


def test_exchanged_labels_of_a_mediocre_model_are_noticed():
    """Of eight classes, two pairs are exchanged; the model has half of all texts right."""
    truth = np.random.default_rng(1).integers(0, 8, 800)
    predicted = predicted_with(truth, 0.45, 8)
    (warning,) = warns(features(np.array([1, 0, 3, 2, 4, 5, 6, 7])[truth], predicted, 8), list("abcdefgh"))
    assert "(a → b, b → a, c → d, d → c)" in warning


@pytest.mark.parametrize(("copies", "is_noticed"), [(10, False), (11, True), (87, True)])
def test_copies_of_texts_are_noticed(copies, is_noticed):
    truth = np.arange(100) % 2
    rows, hashes = features(truth, predicted_with(truth, 0.8, 2), 2), np.minimum(np.arange(100), 99 - copies)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_labels(rows, ["a", "b"], hashes)
    assert [f"{copies} of 100 labeled texts are copies" in str(warning.message) for warning in caught] == [
        True
    ] * is_noticed


@pytest.mark.parametrize("kind", ["model", "outputs"])
def test_copies_are_noticed_through_every_door(kind, tmp_path):
    texts, labels = sentiment.texts(60, 0)
    rows = {"text": texts * 3, "label": [sentiment.NAMES[label] for label in labels] * 3}
    if kind == "model":
        sentiment.save(tmp_path)
        classifier = UncertainClassifier.from_pretrained(tmp_path)
    else:
        classifier, rows = UncertainClassifier.from_outputs(sentiment.NAMES), rows | {"logits": [[0.0, 1.0]] * 180}
    with pytest.warns(UserWarning, match=r"of 180 labeled texts are copies of others"):
        classifier.features(rows)
