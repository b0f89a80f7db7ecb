"""Computations of the comparison with what a user with a CSV of tickets could take instead."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def tickets():
    path = Path(__file__).parents[2] / "benchmarks" / "peers" / "tickets.py"
    specification = importlib.util.spec_from_file_location("tickets", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_rule_is_chosen_on_one_sample_and_measured_on_the_other(tickets):
    result = {
        "chosen_uncertainty": [0.4, 0.1, 0.2, 0.3],
        "chosen_errors": [1, 0, 1, 0],
        "uncertainty": [0.05, 0.25, 0.3, 0.31, 0.9],
        "errors": [0, 1, 0, 1, 1],
    }
    assert tickets.routed_by_rule(result, 0.4) == pytest.approx((2 / 5, 1 / 3))  # the threshold is 0.3
    assert tickets.routed_by_rule(result, 0.1) == pytest.approx((4 / 5, 0))
    share, rate = tickets.routed_by_rule(result | {"chosen_errors": [1, 1, 1, 1]}, 0.1)
    assert share == 1
    assert np.isnan(rate)


def test_errors_and_uncertainty_of_probabilities(tickets):
    found = tickets.of_probabilities(np.array([[0.7, 0.3], [0.4, 0.6]]), ["no", "yes"], ["no", "no"])
    assert found["errors"].tolist() == [0, 1]
    np.testing.assert_allclose(found["uncertainty"], [0.3, 0.4])


def test_texts_with_the_same_words_are_equal(tickets):
    assert tickets.words("Hello, [NAME] the World!") == tickets.words("hello the world") == ("hello", "the", "world")
