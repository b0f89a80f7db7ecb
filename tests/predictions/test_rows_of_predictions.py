"""Rows of all kinds of predictions have the same attributes, so that no other code has to tell the kinds apart."""

import json
from pathlib import Path

import numpy as np
import pytest

from aligned_entropy import NotFittedError, UncertainClassifier
from aligned_entropy.predictions import MultiLabelPrediction, Prediction, TokenPrediction

STORED = Path(__file__).parents[1] / "fixtures" / "stored"
TEXTS = ["the film is good", "bad", "a great story"]
KINDS = {"texts": Prediction, "labels": MultiLabelPrediction, "tokens": TokenPrediction}


def load(kind: str, with_head: bool = True) -> UncertainClassifier:
    return UncertainClassifier.from_pretrained(
        STORED / kind / "model", head=STORED / kind / "head" if with_head else None
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_same_attributes(kind: str) -> None:
    predictions = load(kind).predict(TEXTS)
    for row in predictions:
        assert isinstance(row, KINDS[kind])
        assert row.is_finite
        assert 0 <= row.uncertainty <= 1
        columns = row.columns()
        prediction, *_ = columns.values()
        assert prediction == row.predicted == json.loads(json.dumps(row.predicted))
        assert columns["uncertainty"] == row.uncertainty
        assert columns["error_probability"] == row.error_probability
        for uncertainty, accepted in row.selection_units:
            assert 0 <= uncertainty <= 1
            assert accepted in (True, False)


def test_a_row_of_token_classification_is_accepted_if_all_its_entities_are() -> None:
    rows = list(load("tokens").predict([*TEXTS, "one two three four five six seven eight nine ten red blue"]))
    assert any(row.entities for row in rows)
    for row in rows:
        accepted = [entity.accepted for entity in row.entities]
        assert row.selection_units == [(entity.uncertainty, entity.accepted) for entity in row.entities]
        assert row.accepted is (all(accepted) if accepted else None)


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_head_has_an_uncertainty_and_nothing_else(kind: str) -> None:
    predictions = load(kind, with_head=False).predict(TEXTS)
    for row in predictions:
        assert (row.error_probability, row.accepted) == (None, None)
        assert list(row.columns())[1:] == ["uncertainty"]
        assert {accepted for _, accepted in row.selection_units} <= {None}
    with pytest.raises(NotFittedError, match="error probability"):
        _ = predictions.error_probability


def test_single_error_probabilities_are_those_of_every_prediction() -> None:
    texts, labels = load("texts").predict(TEXTS), load("labels").predict(TEXTS)
    assert np.array_equal(texts.single_error_probabilities, texts.error_probability)
    assert np.array_equal(labels.single_error_probabilities, labels.label_uncertainty.reshape(-1))
    assert len(labels.single_error_probabilities) == len(TEXTS) * len(labels.label_names)
