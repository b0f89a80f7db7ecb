"""Tests of the parts of a report about classes and texts, with numbers that are known."""

import numpy as np
import pytest

from aligned_entropy.data import LabeledTexts, LabeledTokens
from aligned_entropy.features.texts import TextPair
from aligned_entropy.metrics import errors_found
from aligned_entropy.report import Rows, write_report
from aligned_entropy.report.found_errors import by_class, never_predicted, review_weights
from aligned_entropy.report.lists import TEXT_LENGTH, surest_wrong_texts, uncertain_texts
from aligned_entropy.report.rows import _text_of
from aligned_entropy.stats import share_interval
from fixtures.evaluations import simulated
from fixtures.html_page import Page

ERRORS = np.array([1, 0, 1, 0, 0, 1, 0, 0, 0, 0], dtype=float)
UNCERTAINTY = np.array([0.9, 0.1, 0.05, 0.2, 0.3, 0.8, 0.4, 0.0, 0.5, 0.1])
CLASSES = ["a", "a", "a", "b", "b", "b", "b", "b", "b", "c"]


def test_classes_have_counts_rates_and_found_errors():
    b, a, c = sorted(by_class(CLASSES, ERRORS, UNCERTAINTY, UNCERTAINTY), key=lambda row: -row.count)
    assert [(row.name, row.count, row.errors) for row in (a, b, c)] == [("a", 3, 2), ("b", 6, 1), ("c", 1, 0)]
    assert a.error_rate == share_interval(2, 3)
    assert (a.expected, b.expected) == (pytest.approx(1.05 / 3), pytest.approx(2.2 / 6))
    # Two of ten are reviewed: the first row, and the sixth.
    assert (a.reviewed, b.reviewed, c.reviewed) == (pytest.approx(1 / 3), pytest.approx(1 / 6), 0)
    assert (a.errors_found, b.errors_found, c.errors_found) == (0.5, 1, None)
    assert [row.name for row in by_class(CLASSES, ERRORS, UNCERTAINTY, None)] == ["a", "b", "c"], "most errors first"
    assert by_class(CLASSES, ERRORS, UNCERTAINTY, None)[0].expected is None


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_a_review_reads_its_share_and_finds_what_the_measure_says(share):
    rng = np.random.default_rng(0)
    uncertainty = rng.integers(0, 5, 83).astype(float)  # with ties
    errors = (rng.random(83) < uncertainty / 6).astype(float)
    weights = review_weights(uncertainty, share)
    assert weights.sum() == pytest.approx(int(share * 83 + 1e-9))
    assert weights @ errors / errors.sum() == pytest.approx(errors_found(errors, uncertainty, share=share))
    assert weights.min() >= 0
    assert weights.max() <= 1


def test_the_lists_have_the_most_uncertain_and_the_surest_wrong_texts():
    texts = [f"text {i}" for i in range(9)] + ["x" * 5000]
    rows = Rows(CLASSES, CLASSES, list("ABCDEFGHIJ"), text_of=texts.__getitem__)
    first, second = uncertain_texts(rows, ERRORS, UNCERTAINTY, 2)
    assert (first.text, first.predicted, first.true, first.value, first.is_wrong) == ("text 0", "a", "A", "0.900", True)
    assert second.text == "text 5"
    assert [row.text for row in surest_wrong_texts(rows, ERRORS, UNCERTAINTY, 9)] == ["text 2", "text 5", "text 0"]
    listed = uncertain_texts(rows, ERRORS, UNCERTAINTY, 10)
    assert next(row.text for row in listed if row.predicted == "c") == f"{'x' * TEXT_LENGTH} …"


@pytest.mark.parametrize(("examples", "texts"), [(3, True), (0, True), (3, False)])
def test_a_page_contains_only_the_texts_that_it_may(tmp_path, examples, texts):
    evaluation = simulated()
    answers = ["sport"] * 400
    rows = Rows(answers, answers, answers, text_of="secret {}".format if texts else None)
    path = write_report(tmp_path / "page.html", "A page", evaluation, {}, rows, examples)
    page = Page(path.read_text(encoding="utf-8"))
    shown = [text for text in page.texts_in("p") if text.startswith("secret")]
    assert len(shown) == (2 * examples if texts else 0)
    assert ("secret" in page.all_text) == bool(shown)
    assert ("Surest wrong texts" in page.texts_in("h2")) == bool(shown)
    assert "Which classes are wrong?" in page.texts_in("h2")


def test_rows_of_words_and_of_labels_have_their_texts():
    words = LabeledTokens([["a", "b"], ["c"]], np.array([0, 1, 0]), ["O", "X"])
    assert [_text_of(words, 2)(row) for row in range(3)] == ["a — a b", "b — a b", "c — c"]
    labels = LabeledTexts(["one", "two"], np.zeros((2, 3), int), ["x", "y", "z"])
    assert [_text_of(labels, 3)(row) for row in range(6)] == ["one"] * 3 + ["two"] * 3
    pairs = LabeledTexts([TextPair("one", "two")], np.zeros(1, int), ["x", "y"])
    assert _text_of(pairs, 2)(0) == "one\ntwo"


def test_labels_that_are_never_predicted_are_counted():
    assert never_predicted(["a", "b", "a", "a"], ["c", "b", "d", "d"]) == "d (2), c (1)"
    assert not never_predicted(["a", "b"], ["b", "a"])
