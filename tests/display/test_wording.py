"""Words of messages: nouns after numbers, articles before types, and values that are cut."""

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier
from sklearn.svm import OneClassSVM

from aligned_entropy.classifier import UncertainOutputs
from aligned_entropy.display.wording import counted, cut, type_name


@pytest.mark.parametrize(
    ("number", "plural", "words"),
    [(0, "errors", "0 errors"), (1, "errors", "1 error"), (1, "entities", "1 entity"), (1, "classes", "1 class"),
     (1200, "texts", "1,200 texts")],
)  # fmt: skip
def test_a_number_has_its_noun(number, plural, words):
    assert counted(number, plural) == words


@pytest.mark.parametrize(
    ("value", "name"),
    [(1, "an int"), ("a", "a str"), (np.int64(1), "an int64"), (None, "a NoneType"), (np.zeros(1), "an ndarray"),
     (MLPClassifier(), "an MLPClassifier"), (OneClassSVM(), "a OneClassSVM"),
     (type("UnionType", (), {})(), "a UnionType"),
     (UncertainOutputs.__new__(UncertainOutputs), "an UncertainOutputs")],
)  # fmt: skip
def test_a_type_has_its_article(value, name):
    assert type_name(value) == name


@pytest.mark.parametrize(
    ("value", "length", "shown"),
    [("a text", 6, "'a text'"), ("a longer text", 9, "'a longer…'"), ("it's", 10, '"it\'s"'), (None, 4, "None"),
     ([1, 2, 3], 9, "[1, 2, 3]"), ([1, 2, 3], 5, "[1, 2…")],
)  # fmt: skip
def test_a_value_that_is_cut_shows_it(value, length, shown):
    assert cut(value, length) == shown
